"""An environment as a user writes it outside of the package: a chase on a line."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.specs import EntityLayout, Observation, TaskSpec, TimeStep
from hygen_lightning.tasks import register_task

SIZE, LIMIT = 9, 20
"""Cells of the line; environment steps."""


def line_task(n: int) -> TaskSpec:
    """`line-n`: n agents chase n targets that run away."""
    layout = EntityLayout.of(
        n,
        n,
        own=["x", "caught"],
        enemy=["dx", "free"],
        ally=["dx"],
        state_ally=["x", "caught"],
        state_enemy=["x", "free"],
        base_actions=["left", "right", "wait"],
        has_targets=True,
        obs_order=("enemies", "own", "allies"),
        state_order=("enemies", "allies"),
    )
    return TaskSpec(f"line-{n}", LIMIT, layout)


class LineEnv(BattleEnv):
    """Agents walk on a line and catch targets within one cell; success when all are caught."""

    name, version = "line", "1"

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        self.task, self.num_envs, self.device = task, num_envs, torch.device(device)

    def reset(self, seeds: Tensor) -> Observation:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        seeds = seeds.to(self.device)
        column = torch.arange(self.task.n_allies, device=self.device)
        self.agents = (seeds.unsqueeze(1) % 3 + column) % SIZE
        self.targets = SIZE - 1 - (seeds.unsqueeze(1) // 3 % 3 + column) % SIZE
        self.free = torch.ones_like(self.targets, dtype=torch.bool)
        self.caught = torch.zeros_like(self.agents)
        self.over = torch.zeros_like(seeds, dtype=torch.bool)
        self.steps = torch.zeros_like(seeds)
        return self._observation()

    def step(self, actions: Tensor) -> TimeStep:
        actions, going = actions.to(self.device), ~self.over
        if not bool(self._available().gather(2, actions.unsqueeze(2))[going].all()):
            raise ValueError("an action was not available in the last observation")
        moves = (actions == 1).long() - (actions == 0).long()
        hits = torch.nn.functional.one_hot(actions, self.task.layout.n_actions)[..., 3:] * going.view(
            -1, 1, 1
        )
        self.agents = torch.where(going.unsqueeze(1), self.agents + moves, self.agents)
        newly = self.free & hits.any(1)
        self.free, self.caught = self.free & ~newly, self.caught + hits.sum(2)
        self.steps = self.steps + going
        success = going & ~self.free.any(1)
        truncated = going & ~success & (self.steps >= LIMIT)
        self.over = self.over | success | truncated
        reward = torch.where(going, newly.sum(1).float(), 0.0)
        return TimeStep(self._observation(), reward, success | truncated, truncated, success)

    def only(self, battles: Tensor) -> LineEnv:
        part = LineEnv(self.task, len(battles), self.device)
        for name in ("agents", "targets", "free", "caught", "over", "steps"):
            setattr(part, name, getattr(self, name)[battles])
        return part

    def _available(self) -> Tensor:
        """[B, A, K]: no step off the line; free targets within one cell."""
        inside = torch.stack([self.agents > 0, self.agents < SIZE - 1, self.agents >= 0], dim=2)
        near = (self.agents.unsqueeze(2) - self.targets.unsqueeze(1)).abs() <= 1
        return torch.cat([inside, near & self.free.unsqueeze(1)], dim=2)

    def _observation(self) -> Observation:
        agents, targets = self.agents.float() / SIZE, self.targets.float() / SIZE
        free, own = self.free.float(), torch.stack([agents, self.caught.float()], dim=2)
        gap = targets.unsqueeze(1) - agents.unsqueeze(2)
        enemies = torch.stack([gap, free.unsqueeze(1).expand_as(gap)], dim=3).flatten(2)
        n = self.task.n_allies
        others = torch.stack([agents[:, [j for j in range(n) if j != i]] for i in range(n)], dim=1)
        return Observation(
            obs=torch.cat([enemies, own, others - agents.unsqueeze(2)], dim=2),
            state=torch.cat([torch.stack([targets, free], dim=2).flatten(1), own.flatten(1)], dim=1),
            avail_actions=self._available(),
        )


for n in (1, 2):
    register_task(line_task(n))
