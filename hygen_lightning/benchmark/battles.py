"""Seconds of an evaluation and of a rollout, with battles uncompiled and compiled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hygen_lightning.benchmark.timing import check_above_zero, set_threads, timed
from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import expand

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import TaskSpec, TimeStep

WAYS = {"plain": False, "compiled": True}


def battles(
    tasks: list[str] | None = None,
    policy: str = "nearest_attack",
    episodes: int = 32,
    rollout_episodes: int = 64,
    threads: int | None = None,
    json: bool = False,
) -> int:
    """Time whole battles: an evaluation of tasks, and a rollout of the first of them.

    Both ways play the same battles one after the other, task by task. The share of the simulator says
    what is left for the policy and for keeping the episodes. What is compiled or loaded before the first
    battle is counted apart.

    Args:
        tasks: tasks, or task sets for all that they train and evaluate (if not given, marine-hard)
        policy: a scripted policy or a checkpoint
        episodes: battles of each task in the evaluation, at once
        rollout_episodes: battles of the first task in the rollout, at once
        threads: CPU threads of torch (as many as it takes, if not given)
        json: one JSON object on stdout, instead of a table
    """
    from hygen_lightning.envs.simulator.switch import compiler, compiler_name

    check_above_zero(episodes=episodes, rollout_episodes=rollout_episodes, threads=threads)
    settings = {"policy": policy, "threads": set_threads(threads)}
    if compiler() is None:
        raise UserError(f"battles cannot be compiled here: no C++ compiler ({compiler_name()}) found")
    specs = expand(tasks or ("marine-hard",))
    jobs = {
        f"evaluation: {len(specs)} tasks x {episodes} battles": [(spec, episodes) for spec in specs],
        f"rollout: {rollout_episodes} battles of {specs[0].name}": [(specs[0], rollout_episodes)],
    }
    ready_s = {spec.name: _ready_s(spec) for spec in specs}
    found = {name: _measured(job, policy) for name, job in jobs.items()}
    if json:
        print_json({**settings, "ready_s": ready_s, "jobs": found})
        return 0
    rows = [
        [name, way, f"{row[way]['seconds']:.3g}", f"{row[way]['share']:.0%}", f"{row['ratio']:.2f}"]
        for name, row in found.items()
        for way in WAYS
    ]
    for row in rows[:: len(WAYS)]:
        row[-1] = ""  # it stands beside the compiled battles
    print_table(f"Battles by {policy}", ["", "way", "seconds", "simulator", "ratio"], rows)
    slowest = max(ready_s, key=lambda name: ready_s[name])
    print(
        f"compiled or loaded in {sum(ready_s.values()):.1f} s, the most for {slowest}: {ready_s[slowest]:.1f}"
    )
    return 0


def _ready_s(task: TaskSpec) -> float:
    """Seconds until compiled battles of a task can begin."""
    from hygen_lightning.envs.simulator.env import SimulatorEnv

    return timed(lambda: SimulatorEnv(task, 2, compiled=True))


def _measured(job: list[tuple[TaskSpec, int]], policy: str) -> dict[str, Any]:
    """Seconds of each way, the simulator's share (0..1) of them, and the ratio."""
    import torch

    from hygen_lightning.rollouts.policies import named_policy
    from hygen_lightning.rollouts.runner import play

    found: dict[str, Any] = {way: {"seconds": 0.0, "stepping": 0.0} for way in WAYS}
    for task, n in job:
        for way, compiled in WAYS.items():
            env = _timed_env(task, n, compiled)
            player = named_policy(policy, task, "simulator", 0)
            found[way]["seconds"] += timed(lambda: play(env, player, torch.arange(n)))  # noqa: B023
            found[way]["stepping"] += env.stepping_s[0]
    for row in found.values():
        row["share"] = row.pop("stepping") / row["seconds"]
    return found | {"ratio": found["plain"]["seconds"] / found["compiled"]["seconds"]}


def _timed_env(task: TaskSpec, num_envs: int, compiled: bool) -> Any:
    """A simulator that adds up the seconds of its steps in `stepping_s[0]`, those of its parts included."""
    from hygen_lightning.envs.simulator.env import SimulatorEnv

    class Timed(SimulatorEnv):
        stepping_s: list[float]

        def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
            start = time.perf_counter()
            step = super().step(actions, seeds)
            self.stepping_s[0] += time.perf_counter() - start
            return step

    env = Timed(task, num_envs, compiled=compiled)
    env.stepping_s = [0.0]
    return env
