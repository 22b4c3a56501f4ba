"""Battles without exploration that measure a policy: one record per battle, never only a mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from hygen_lightning.rollouts.runner import Rollout, play

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import TaskSpec

EnvFactory = Callable[["TaskSpec", int], "BattleEnv"]
"""(task, number of battles) -> environment."""


@dataclass(frozen=True)
class BattleRecord:
    """One battle without exploration: its seed and what came of it. length in environment steps."""

    task: str
    seed: int
    success: bool
    ret: float
    length: int
    allies_left: int
    enemies_left: int

    def row(self) -> dict[str, object]:
        """The record as one flat row of a table."""
        return asdict(self)


def battle_records(task: TaskSpec, seeds: torch.Tensor, played: Rollout) -> list[BattleRecord]:
    """One record per battle of a played batch. seeds [B] int64."""
    allies, enemies = played.survivors()
    columns = (seeds, played.success, played.returns, played.lengths, allies, enemies)
    return [BattleRecord(task.name, *values) for values in zip(*(c.tolist() for c in columns))]


def evaluate(
    policy: Policy, tasks: Iterable[TaskSpec], make_env: EnvFactory, seeds_of: Callable[[str], torch.Tensor]
) -> list[BattleRecord]:
    """Battles of every task without exploration, one per seed of `seeds_of(task name)` [B] int64."""
    records = []
    for task in tasks:
        seeds = seeds_of(task.name)
        with closing(make_env(task, len(seeds))) as env:
            records += battle_records(task, seeds, play(env, policy, seeds))
    return records
