"""An algorithm of one's own: a clone whose network embeds every entity and sums.

python -m hygen_lightning fit --model algorithm.PooledClone --trainer.max_steps 300
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from hygen_lightning import (
    EntityLayout,
    EntityWidths,
    Episodes,
    MultiTaskAlgorithm,
    Observation,
    PolicyOutput,
    TaskSpec,
)
from hygen_lightning.losses import action_cross_entropy, masked_mean


class PooledNetwork(nn.Module):
    """obs [..., obs_dim] of any task of a family -> logits [..., K]."""

    def __init__(self, widths: EntityWidths, width: int) -> None:
        super().__init__()
        self.own, self.enemy, self.ally = (
            nn.Linear(n, width) for n in (widths.own, widths.enemy, widths.ally)
        )
        self.base, self.target = nn.Linear(width, widths.base_actions), nn.Linear(width, 1)

    def forward(self, layout: EntityLayout, obs: Tensor) -> Tensor:
        own, enemies, allies = layout.split_obs(obs)
        enemy, ally = self.enemy(enemies).relu(), self.ally(allies).relu()  # [..., E, D], [..., A - 1, D]
        seen = (self.own(own) + enemy.sum(-2) + ally.sum(-2)).relu()  # [..., D]
        if not layout.has_targets:
            return self.base(seen)
        return torch.cat([self.base(seen), self.target(enemy + seen.unsqueeze(-2)).squeeze(-1)], dim=-1)


class PooledClone(MultiTaskAlgorithm):
    """Cross-entropy of the recorded actions.

    Args:
        widths: entity features of the task family; follows from the tasks
        width: embedding width of every entity
        lr: learning rate of Adam
    """

    def __init__(self, widths: EntityWidths | dict[str, Any], width: int = 64, lr: float = 1e-3) -> None:
        super().__init__(widths, lr, lr_schedule="constant", ema_decay=0.0, compile=False)
        self.network = PooledNetwork(self.widths, width)
        self.keep_average()

    @property
    def offline_phase_steps(self) -> int:
        return sys.maxsize  # it never learns from what it plays

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.network(episodes.task.layout, episodes.obs)  # [B, T, A, K]
        # [B, T]: the last stored step has an action, but none that mattered
        return masked_mean(action_cross_entropy(logits, episodes.actions), episodes.mask), {}

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> None:
        return None

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        logits = self.acting(task.layout, observation.obs).masked_fill(~observation.avail_actions, -torch.inf)
        return PolicyOutput(logits.argmax(dim=-1), hidden)
