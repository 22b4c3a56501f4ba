"""Battles stepped on one device for a policy on another."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv, BattleStep, BattleView


class FerriedEnv(BattleEnv):
    """The battles of an environment; what they show and bring arrives on `device`.

    Few battles are stepped faster on a CPU than on the GPU of the policy.
    """

    def __init__(self, env: BattleEnv, device: torch.device) -> None:
        self.env, self.device = env, device
        self.task, self.n_battles, self.reproducible = env.task, env.n_battles, env.reproducible
        self.name, self.version = env.name, env.version

    def reset(self, seeds: Tensor) -> BattleView:
        return _seen(self.env.reset(seeds.cpu()), self.device)

    def step(self, actions: Tensor) -> BattleStep:
        step = self.env.step(actions.cpu())
        brought = (step.reward, step.terminated, step.truncated, step.won)
        return BattleStep(_seen(step.view, self.device), *(x.to(self.device) for x in brought))

    def only(self, battles: Tensor) -> BattleEnv | None:
        part = self.env.only(battles.cpu())
        return None if part is None else FerriedEnv(part, self.device)

    def close(self) -> None:
        self.env.close()


def _seen(view: BattleView, device: torch.device) -> BattleView:
    """The same view on this device."""
    return BattleView(*(x.to(device) for x in (view.obs, view.state, view.avail_actions)))
