"""How an on-policy algorithm plays and learns, and how many battles each training task gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS = 8
"""An even split is cut into so many parts; tasks get whole parts."""
LEAST_PARTS = 2
"""A quarter of an even split: a policy forgets tasks that are no longer played."""


@dataclass(frozen=True)
class ChunkPlan:
    """num_envs battles of every task side by side, env_steps steps of each (0: whole battles), learned from
    in `epochs` passes of `minibatches` optimiser steps.

    by_defeats: battles follow each task's share of defeats in the last chunk, num_envs per task on average;
    only with env_steps 0. candidate_battles: battles of every task with each of the algorithm's `candidates`,
    before the first chunk.
    """

    num_envs: int
    env_steps: int
    epochs: int
    minibatches: int
    by_defeats: bool = False
    candidate_battles: int = 0

    @property
    def optimiser_steps(self) -> int:
        """Optimiser steps between two chunks."""
        return self.epochs * self.minibatches

    @property
    def least_battles(self) -> int:
        """The fewest battles that a task gets."""
        if not self.by_defeats:
            return self.num_envs
        return LEAST_PARTS * (self.num_envs // PARTS) + self.num_envs % PARTS

    def battles(self, defeats: Mapping[str, float]) -> dict[str, int]:
        """Battles of each task in the next chunk.

        defeats: share (0..1) of its last battles that each task has lost. An even split where these do not
        count, and where no task has lost a battle.
        """
        total = sum(defeats.values())
        if not self.by_defeats or total == 0:
            return dict.fromkeys(defeats, self.num_envs)
        free = (PARTS - LEAST_PARTS) * len(defeats)
        wished = {task: free * share / total for task, share in defeats.items()}
        parts = {task: int(wish) for task, wish in wished.items()}
        by_rest = sorted(defeats, key=lambda task: parts[task] - wished[task])
        for task in by_rest[: free - sum(parts.values())]:
            parts[task] += 1
        part = self.num_envs // PARTS
        return {task: self.least_battles + extra * part for task, extra in parts.items()}
