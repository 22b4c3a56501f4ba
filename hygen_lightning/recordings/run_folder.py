"""One recorded run on the disk, part by part: begun, gone on with, and told of in provenance.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hygen_lightning import __version__
from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.data.files import files_below, write_whole
from hygen_lightning.data.hdf5 import find_parts, read_header, write_part
from hygen_lightning.data.summary import Summary
from hygen_lightning.envs import environment_class
from hygen_lightning.policy import Policy
from hygen_lightning.recordings.recipe import task_digest
from hygen_lightning.rollouts.policies import smoothed
from hygen_lightning.rollouts.recording import own_noise, record
from hygen_lightning.seeding import stream_generator, stream_seed
from hygen_lightning.specs import Episodes, TaskSpec, UserError

PROVENANCE = "provenance.json"
PACKAGES = ("torch", "numpy", "h5py")
"""Packages whose versions a recording names."""
_PART_EPISODES = 512
_PART_BYTES = 5e8
"""Most of one part in memory: of large tasks a part holds fewer episodes."""


@dataclass(frozen=True)
class Player:
    """Who plays a share of the battles. name: for people. about: for provenance.json, plain values.
    load: seed -> a fresh policy."""

    name: str
    about: dict[str, Any]
    load: Callable[[int], Policy]


@dataclass(frozen=True)
class Order:
    """What is wanted of a recorded run.

    policy: names who plays and all that it depends on. epsilon: share (0..1) of random actions; None:
    smoothed play (see `smoothed`). max_opening_env_steps: battles open with up to so many random
    steps that are not recorded.
    """

    task: TaskSpec
    quality: str
    policy: str
    episodes: int
    env: str
    seed: int
    epsilon: float | None = None
    max_opening_env_steps: int = 0

    def asked(self) -> dict[str, Any]:
        """Plain values; a run that was made with other ones is another run."""
        kind = environment_class(self.env)
        return {
            "task": self.task.name,
            "task_digest": task_digest(self.task),
            "quality": self.quality,
            "policy": self.policy,
            "episodes": self.episodes,
            "environment": self.env,
            "environment_version": kind.version,
            "seed": self.seed,
            "epsilon": self.epsilon,
            "max_opening_env_steps": self.max_opening_env_steps,
        }


@dataclass
class RunFolder:
    """`<dataset>/<task>/<quality>/<run>`: part_0.h5, part_1.h5, ..., and provenance.json beside them.

    Each part depends on the order and its own number only, and appears when it is whole.
    """

    folder: Path
    order: Order
    _facts: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """UserError where the folder holds something else than (a part of) this order."""
        if not self.folder.exists():
            return
        parts = find_parts(self.folder)
        for path in parts[:1]:
            task = read_header(path).about.get("task")
            if task is not None and task != self.order.task.name:
                raise UserError(f"{path}: was recorded on {task}; give another --run or --dataset_dir")
        facts = self.facts()
        if parts and not facts:
            raise UserError(f"{self.folder} holds recordings without {PROVENANCE}; give another --run name")
        asked = self.order.asked()
        for key, value in facts.get("asked", {}).items():
            if value != asked.get(key):
                raise UserError(
                    f"{self.folder} holds another recording: {key} {value}, not {asked.get(key)}; "
                    "give another --run name, or remove it"
                )

    def facts(self) -> dict[str, Any]:
        """What provenance.json tells; {} where there is none."""
        return facts_of(self.folder)

    @property
    def complete(self) -> bool:
        """Whether every part is there."""
        return bool(self.facts().get("complete"))

    def record(self, players: Sequence[Player], told: Callable[[int], None] = lambda episodes: None) -> None:
        """Play what is missing, equal shares by each player, in their order.

        told: called with the number of episodes of each part that is there. UserError where the disk
        is full: the parts that are there stay, and count on their own.
        """
        self._begin(players)
        for stray in self.folder.glob(".*.tmp"):
            stray.unlink(missing_ok=True)
        size = self._part_episodes()
        for number, start in enumerate(range(0, self.order.episodes, size)):
            rows = range(start, min(start + size, self.order.episodes))
            path = self.folder / f"part_{number}.h5"
            if not path.is_file():
                write_part(path, self._played(players, rows, number), self._about(players))
            told(len(rows))
        self._finish()

    def _part_episodes(self) -> int:
        layout, steps = self.order.task.layout, self.order.task.episode_limit_env_steps + 1
        per_agent = layout.obs_dim + 4 * layout.n_actions
        episode = 4.0 * steps * (layout.n_allies * per_agent + layout.state_dim)
        return int(max(32, min(_PART_EPISODES, _PART_BYTES / episode // 32 * 32)))

    def _played(self, players: Sequence[Player], rows: range, number: int) -> Episodes:
        """The episodes rows of the run: those of part `number`."""
        order, total = self.order, self.order.episodes
        parts = []
        for index, player in enumerate(players):
            first, last = index * total // len(players), (index + 1) * total // len(players)
            n = min(last, rows.stop) - max(first, rows.start)
            if n > 0:
                seed = stream_seed(order.seed, order.quality, self.folder.name, number, index)
                parts.append(self._battles(player, n, seed))
        return Episodes.cat(parts)

    def _battles(self, player: Player, n: int, seed: int) -> Episodes:
        order = self.order
        plays, share = player.load(seed), order.epsilon
        if share is None:
            plays, share = smoothed(plays)
        draw = stream_generator(seed, "openings", order.task.name)
        opening = torch.randint(order.max_opening_env_steps + 1, (n,), generator=draw)
        with own_noise(seed):
            return record(order.task, plays, torch.full((n,), share), opening, order.env, seed).episodes

    # What is told

    def _about(self, players: Sequence[Player]) -> dict[str, str | int | float]:
        """Attributes of every part."""
        order = self.order
        names = players[0].name if len(players) == 1 else f"{players[0].name} to {players[-1].name}"
        return {
            "policy": names,
            "environment": order.env,
            "environment_version": environment_class(order.env).version,
            "seed": order.seed,
            "asked_episodes": order.episodes,
        }

    def _begin(self, players: Sequence[Player]) -> None:
        versions = {"hygen_lightning": __version__, **{name: version(name) for name in PACKAGES}}
        about = [{"name": player.name, **player.about} for player in players]
        self._facts = {"asked": self.order.asked(), "players": about, "versions": versions}
        self._write({**self._facts, "complete": False})

    def _finish(self) -> None:
        """Read all parts again, check them, and tell what they hold."""
        parts = find_parts(self.folder)
        summary = Summary(self.order.task)
        problems = summary.read(parts)
        if problems:
            raise UserError(f"{problems[0]}; remove the file, the same command records it again")
        told = summary.to_dict()
        results = {
            "episodes": told["episodes"],
            "win_rate": told["win_rate"],
            "mean_return": told["return"]["mean"],
            "mean_length_env_steps": told["length"]["mean"] - 1,
        }
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in parts}
        self._write({**self._facts, "complete": True, "results": results, "sha256": digests})

    def _write(self, facts: dict[str, Any]) -> None:
        text = json.dumps(facts, indent=1) + "\n"
        write_whole(self.folder / PROVENANCE, text.encode("utf-8"))


def facts_of(folder: Path) -> dict[str, Any]:
    """What the provenance.json of a run folder tells; {} where there is none, UserError for a damaged one."""
    path = folder / PROVENANCE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path} is damaged; give another --run name, or remove the run") from error


def weights_digest(checkpoint: Path) -> str:
    """Names the weights of a checkpoint; what else the file holds does not count."""
    total = hashlib.sha256()
    for name, tensor in sorted(read_checkpoint(checkpoint, "state_dict")["state_dict"].items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Names the content of a file, or of all files in a folder; "" for none."""
    files = files_below(path, "*") if path.is_dir() else [path]
    if not all(file.is_file() for file in files):
        return ""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
