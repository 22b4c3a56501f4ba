"""Recordings of scripted players in the embedded simulator, made once and kept in a cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock

from hygen_lightning.data.odis import write_run
from hygen_lightning.envs import environment_class, make_env
from hygen_lightning.rollouts.runner import Played, play
from hygen_lightning.rollouts.scripted import scripted_player
from hygen_lightning.seeding import battle_seeds, stream_generator
from hygen_lightning.specs import Episodes, TaskSpec

if TYPE_CHECKING:
    from hygen_lightning.policy import Policy

SCRIPTED_QUALITIES: dict[str, tuple[str, tuple[float, ...]]] = {
    "expert": ("focus_fire", (0.0, 0.1)),
    "medium": ("focus_fire", (0.0, 0.2, 0.4)),
}
"""Quality -> scripted player and the shares of random actions it plays with, in equal parts."""

_BATTLES_AT_ONCE = 256


def cache_dir() -> Path:
    """Where recordings of scripted players are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "hygen_lightning"


def scripted_recordings(tasks: Sequence[TaskSpec], quality: str, episodes: int) -> Path:
    """A dataset folder that holds `episodes` scripted battles of every task, recorded on first use.

    Only the first process records; the others wait for it. Folders appear whole or not at all.
    """
    player, shares = SCRIPTED_QUALITIES["expert" if quality == "expert" else "medium"]
    mixture = "-".join(f"{share:g}" for share in shares)
    root = cache_dir() / f"simulator-{environment_class('simulator').version}-{player}-{mixture}-{episodes}"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):
        for task in tasks:
            folder = root / task.name / quality
            if not folder.exists():
                print(
                    f"recording {episodes} battles of {task.name} ({player} players) into {root}", flush=True
                )
                _record(folder, task, player, shares, episodes)
    return root


def _record(folder: Path, task: TaskSpec, player: str, shares: tuple[float, ...], episodes: int) -> None:
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    per_share = -(-episodes // len(shares))
    parts = [
        record(task, scripted_player(player), per_share, share, "simulator", seed=index).episodes
        for index, share in enumerate(shares)
    ]
    write_run(unfinished / "scripted", Episodes.cat(parts)[:episodes], task)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def record(task: TaskSpec, policy: Policy, episodes: int, epsilon: float, env: str, seed: int) -> Played:
    """Play `episodes` battles with a policy and a share of random actions (0..1)."""
    generator = stream_generator(seed, "recording", task.name)
    seeds = battle_seeds(episodes, seed, "recording", task.name)
    batches = []
    for part in seeds.split(_BATTLES_AT_ONCE):
        battles = make_env(env, task, len(part))
        batches.append(play(battles, policy, part, epsilon, generator))
        battles.close()
    return Played(
        Episodes.cat([b.episodes for b in batches]),
        torch.cat([b.won for b in batches]),
        torch.cat([b.returns for b in batches]),
    )
