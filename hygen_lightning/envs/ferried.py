"""Battles stepped on one device for a policy on another."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.specs import Observation, TimeStep


class FerriedEnv(BattleEnv):
    """The battles of an environment; what they show and bring arrives on `device`.

    Few battles are stepped faster on a CPU than on the GPU of the policy.
    """

    def __init__(self, env: BattleEnv, device: torch.device) -> None:
        self.env, self.device = env, device
        self.task, self.num_envs, self.reproducible = env.task, env.num_envs, env.reproducible
        self.name, self.version = env.name, env.version

    def reset(self, seeds: Tensor) -> Observation:
        return self.env.reset(seeds.cpu()).to(self.device)

    def step(self, actions: Tensor) -> TimeStep:
        step = self.env.step(actions.cpu())
        brought = (step.reward, step.terminated, step.truncated, step.success)
        return TimeStep(step.observation.to(self.device), *(x.to(self.device) for x in brought))

    def only(self, battles: Tensor) -> BattleEnv | None:
        part = self.env.only(battles.cpu())
        return None if part is None else FerriedEnv(part, self.device)

    def close(self) -> None:
        self.env.close()
