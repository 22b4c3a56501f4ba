"""Recordings of scripted policies, made once and kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from torch import Tensor

from hygen_lightning.data.files import cache_dir
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs import environment_class, environment_for, make_env, own_environment
from hygen_lightning.rollouts.policies import smoothed
from hygen_lightning.rollouts.runner import Rollout, play
from hygen_lightning.rollouts.scripted import MELEE_UNITS, SCRIPTED_VERSION, scripted_policies
from hygen_lightning.seeding import battle_seeds, noise_states, restore_noise, stream_generator
from hygen_lightning.specs import Episodes, TaskSpec, UserError, zero_outside
from hygen_lightning.tasks.battles import BattleTask

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.policy import Policy


OPENING_SHARE = 0.5
"""Share (0..1) of scripted battles that open at random; the others begin as every evaluation does."""
_BATTLES_AT_ONCE = 256
_MAX_ROUNDS = 4
"""A team that keeps won battles only plays at most this many times the battles asked for."""


@dataclass(frozen=True)
class ScriptedTeam:
    """Who plays the recordings of one quality, in which environment.

    Each of `policies` plays an equal part, and each battle draws one of `epsilons` (share of random
    actions, 0..1). OPENING_SHARE of the battles open with 0..max_opening_env_steps steps of random
    actions, which `record` cuts off: so episodes begin in many states, as those of the exploring
    teachers behind the published data sets. won_only: keep won battles, if there are any.
    """

    env: str
    policies: tuple[str, ...]
    epsilons: tuple[float, ...]
    max_opening_env_steps: int = 8
    won_only: bool = False

    @property
    def label(self) -> str:
        """Says in the recordings who played them."""
        shares = "-".join(f"{share:g}" for share in self.epsilons)
        kept = "won" if self.won_only else "all"
        opening = f"{OPENING_SHARE:g}x{self.max_opening_env_steps}"
        return f"{'-'.join(self.policies)}-{shares}-{opening}-{kept}"


def scripted_team(task: TaskSpec, quality: str, env: str | None) -> ScriptedTeam:
    """Whose episodes stand in for recordings of a task.

    A task is played in its own environment; one without, in `env`. Battles of SMAC are played by
    `kiting` where a melee unit is among the allies, else by `pull_back`; others by the scripted policies
    of that environment, of which the first counts as the best; UserError where it has none.
    """
    env = own_environment(task) or environment_for([task], env)
    if isinstance(task, BattleTask):
        weaker = ["nearest_attack"]
        best = "kiting" if MELEE_UNITS & set(task.ally_units) else "pull_back"
    else:
        best, *weaker = [*environment_class(env).scripted_policies()] or [""]
    if not best:
        raise UserError(
            f"no recordings of {task.name}, and the environment {env} has no scripted policies to record; "
            "give --data.dataset_dir FOLDER, or --data.quality none to learn online"
        )
    if quality == "expert":
        return ScriptedTeam(env, (best,), (0.0, 0.05, 0.1), won_only=True)
    return ScriptedTeam(env, (best, *weaker), (0.0, 0.1, 0.2))


def scripted_recordings(
    tasks: Sequence[TaskSpec],
    quality: str,
    episodes: int,
    env: str | None = None,
    root: Path | None = None,
) -> Path:
    """A dataset folder that holds `episodes` scripted episodes of every task, recorded on first use.

    env: where tasks that have no environment of their own are played. One process records, the others
    wait for it. A folder appears when it is whole, and is recorded anew where its task has changed.
    root: where it lies, instead of the cache.
    """
    teams = [scripted_team(task, quality, env) for task in tasks]
    root = root or cache_dir() / cache_name(teams[0].env, "policies", episodes)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):
        for task, team in zip(tasks, teams):
            folder = root / task.name / quality
            if not (folder / _fingerprint(task)).exists():
                print(f"recording {episodes} scripted episodes of {task.name} in {team.env}", flush=True)
                _record(folder, task, team, episodes)
    return root


def cache_name(env: str, kind: str, episodes: int) -> str:
    """Folder of recordings that one version of environment and scripted policies made."""
    version = environment_class(env).version
    return f"{environment_class(env).name}-{version}-{kind}-{SCRIPTED_VERSION}-{episodes}"


def scripted_win_rate(task: TaskSpec, quality: str, env: str | None, battles: int) -> float:
    """How often (0..1) the best policy of the task's scripted team wins, with its random actions."""
    team = scripted_team(task, quality, env)
    epsilons = torch.tensor(team.epsilons).repeat(-(-battles // len(team.epsilons)))[:battles]
    plays = scripted_policies(task, team.env)[team.policies[0]](0)
    played = record(task, plays, epsilons, torch.zeros(battles, dtype=torch.int64), team.env, 0)
    return float(played.success.double().mean())


def _fingerprint(task: TaskSpec) -> str:
    """Name of an empty file beside the recordings of a task: another one, if the task is another."""
    return f".task-{hashlib.sha256(repr(task).encode()).hexdigest()[:16]}"


def _record(folder: Path, task: TaskSpec, team: ScriptedTeam, episodes: int) -> None:
    """Write one run of scripted episodes; the folder appears when it is whole."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    per_policy = -(-episodes // len(team.policies))
    parts = [_episodes_of(task, team, name, per_policy) for name in team.policies]
    played = Episodes.cat(parts)[:episodes]
    about: dict[str, str | int | float] = {
        "policy": team.label,
        "environment": team.env,
        "asked_episodes": episodes,
    }
    write_run(unfinished / "scripted", played, about=about)
    (unfinished / _fingerprint(task)).touch()
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def _episodes_of(task: TaskSpec, team: ScriptedTeam, name: str, episodes: int) -> Episodes:
    """`episodes` of one policy; of a team that keeps won ones, as many as a few rounds bring."""
    draw = stream_generator(0, "scripted team", task.name, name)
    epsilons, policies = torch.tensor(team.epsilons), scripted_policies(task, team.env)
    kept: list[Episodes] = []
    for number in range(_MAX_ROUNDS):
        chosen = epsilons[torch.randint(len(epsilons), (episodes,), generator=draw)]
        opening = torch.randint(team.max_opening_env_steps + 1, (episodes,), generator=draw)
        opening = opening * (torch.rand(episodes, generator=draw) < OPENING_SHARE)
        played = record(task, policies[name](0), chosen, opening, team.env, number)
        rows = played.success.nonzero()[:, 0] if team.won_only and bool(played.success.any()) else slice(None)
        kept.append(played.episodes[rows])
        if sum(map(len, kept)) >= episodes:
            break
    return Episodes.cat(kept)[:episodes]


def record(task: TaskSpec, policy: Policy, epsilon: Tensor, opening: Tensor, env: str, seed: int) -> Rollout:
    """Play one battle per entry of epsilon [N] (share of random actions) and opening [N] (steps).

    The episodes and their returns begin after the opening: nobody should learn to repeat it.
    `without_opening` says which ones it leaves whole.
    """
    generator = stream_generator(seed, "recording", task.name)
    seeds = battle_seeds(len(epsilon), seed, "recording", task.name)
    batches = []
    for rows in torch.arange(len(seeds)).split(_BATTLES_AT_ONCE):
        with closing(make_env(env, task, len(rows))) as battles:
            played = play(battles, policy, seeds[rows], epsilon[rows], opening[rows], generator)
        episodes = without_opening(task, played.episodes, opening[rows])
        batches.append(replace(played, episodes=episodes, returns=episodes.reward.double().sum(1)))
    return Rollout.cat(batches)


def smoothed_win_rate(policy: Policy, env: BattleEnv, battles: int, seed: int) -> float:
    """Share (0..1) of won battles, smoothed; a function of policy and seed, it disturbs no generator."""
    plays, epsilon = smoothed(policy)
    seeds = battle_seeds(battles, seed, "battles").to(getattr(policy, "device", "cpu"))
    with own_noise(seed):
        played = play(env, plays, seeds, epsilon, generator=stream_generator(seed, "smoothing"))
    return float(played.success.double().mean())


@contextmanager
def own_noise(seed: int) -> Iterator[None]:
    """Inside, torch's generators are freshly seeded; afterwards they are as before."""
    before = noise_states()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_noise(before)


def without_opening(task: TaskSpec, episodes: Episodes, opening: Tensor) -> Episodes:
    """The episodes from step opening [B] on, as if nobody had acted before.

    At least one step with a reward stays, and episodes that only the time limit ended stay whole:
    their length says so.
    """
    cut = torch.where(episodes.truncated.any(dim=1), 0, opening).minimum(episodes.length - 2)
    step = torch.arange(episodes.n_steps) + cut[:, None]
    inside = step < episodes.n_steps
    step = step.clamp(max=episodes.n_steps - 1)
    row = torch.arange(len(episodes))[:, None]

    later = episodes.map(lambda x: zero_outside(x[row, step], inside))
    done_before = task.layout.split_state(later.state[:, 0])[2]
    if done_before is not None:
        done_before.zero_()
    return later.trimmed()
