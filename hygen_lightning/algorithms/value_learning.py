"""What learners of action or skill values share: target networks, double-Q, returns, the mixer."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hygen_lightning.algorithms.base import LRSchedule, MultiTaskAlgorithm
from hygen_lightning.losses import ValueLoss, ValueTargets, value_loss
from hygen_lightning.specs import EntityWidths, Episodes, UserError

Conservative = Literal["off", "constant", "share"]


class ValueLearning(MultiTaskAlgorithm):
    """Values of the choices of each agent, mixed into the team's and learned by temporal differences.

    A learner builds its `network`, calls `keep_target` once it stands, fills in `value_networks`,
    and asks `value_loss` for the loss of its values.
    """

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        lr: float,
        lr_schedule: LRSchedule,
        ema_decay: float,
        compile: bool,
        gamma: float,
        td_lambda: float,
        conservative: Conservative,
        conservative_constant: float,
        alpha: float,
        target_update_interval: int,
    ) -> None:
        super().__init__(widths, lr, lr_schedule, ema_decay, compile)
        for name, factor in {"gamma": gamma, "td_lambda": td_lambda}.items():
            if not 0 <= factor <= 1:
                raise UserError(f"--model.{name} is {factor}; give a number between 0 and 1")
        if target_update_interval < 1:
            raise UserError(f"--model.target_update_interval is {target_update_interval}; give at least 1")
        self.gamma, self.td_lambda, self.alpha = gamma, td_lambda, alpha
        self.conservative, self.conservative_constant = conservative, conservative_constant
        self.target_update_interval = target_update_interval

    # What a learner of values fills in

    @abstractmethod
    def value_networks(self) -> dict[str, nn.Module]:
        """The networks that `target` holds a copy of, by name; "mixer" is one of them."""

    def value_steps(self) -> int:
        """Optimiser steps that values have been learned for; below 0 before they are."""
        return self.global_step

    # Target networks

    def keep_target(self) -> None:
        """From here on, `target` holds copies of the value networks."""
        self.target = copy.deepcopy(nn.ModuleDict(self.value_networks())).requires_grad_(False)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Copy the value networks every `target_update_interval` steps, from the first."""
        steps = self.value_steps()
        if steps >= 0 and steps % self.target_update_interval == 0:
            for name, module in self.value_networks().items():
                self.target[name].load_state_dict(module.state_dict())

    # The loss

    def value_loss(
        self,
        q: Tensor,
        target_q: Tensor,
        labels: Tensor,
        episodes: Episodes,
        offline_share: float,
        available: Tensor | None = None,
        window_env_steps: int = 1,
    ) -> tuple[ValueLoss, dict[str, Tensor]]:
        """TD loss and conservative term of values q, target_q [B, T, A, Z], and what to log of them.

        labels [B, T, A] int64: what was chosen. available [B, T, A, Z] bool: what can be; None: all.
        window_env_steps: environment steps between two of these steps, over which rewards are summed.
        """
        layout, state, filled, mask = episodes.task.layout, episodes.state, episodes.filled, episodes.mask
        with torch.no_grad():
            target_mix = self.target["mixer"].weights(layout, state, filled)  # type: ignore[operator]
        parts = value_loss(
            q,
            target_q,
            ValueTargets(labels, episodes.reward, episodes.terminated, episodes.truncated, mask, available),
            self.value_networks()["mixer"].weights(layout, state, filled),  # type: ignore[operator]
            target_mix,
            self.gamma**window_env_steps,
            self.td_lambda,
            self.conservative_weight(offline_share) * self.alpha,
        )
        metrics = {
            "td_loss": parts.td.detach(),
            "conservative_loss": parts.conservative.detach(),
            "q_tot": parts.q_tot.detach()[mask].mean(),
        }
        return parts, metrics

    def conservative_weight(self, offline_share: float) -> float:
        """c of HyGen: 0, a constant, or the current offline share."""
        return {"off": 0.0, "constant": self.conservative_constant, "share": offline_share}[self.conservative]
