"""What battles have brought so far, and within which limits that has to lie when they are won."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.unit_params import REWARD_PER_KILL, REWARD_SCALE
from hygen_lightning.specs import TimeStep


class TotalReward:
    """Of the battles of `env`: returns [B], and regrown [B], the health and shields that living
    enemies got back, in points."""

    def __init__(self, env: SimulatorEnv) -> None:
        self.env = env
        self.scale = REWARD_SCALE / env.params.max_reward
        self.returns = torch.zeros(env.num_envs, dtype=torch.float64)
        self.regrown = torch.zeros(env.num_envs, dtype=torch.float64)
        self.strength = self.enemies()

    def enemies(self) -> Tensor:
        """[E, B] health and shields of the enemies; the dead have none."""
        s, n = self.env.battles, self.env.params.n_allies
        return torch.where(s.alive[n:], s.health[n:] + s.shield[n:], 0.0).double()

    def most_per_step(self) -> float:
        """Points that the enemies of a battle can get back in one step, all together."""
        enemies = self.env.params.units[self.env.params.n_allies :]
        per_loop = sum(c.SHIELD_PER_LOOP * (u.shield > 0) + c.ZERG_HEALTH_PER_LOOP * u.zerg for u in enemies)
        healers = self.env.params.names[self.env.params.n_allies :].count("medivac")
        return c.LOOPS_PER_STEP * (per_loop + c.HEAL_PER_LOOP * healers)

    def add(self, step: TimeStep) -> None:
        """Count a step; no more grows back than shields, Zerg and Medivacs can give."""
        now = self.enemies()
        grown = (now - self.strength).clamp(min=0.0).sum(0)
        assert (grown <= self.most_per_step() + 1e-3).all()
        self.strength = now
        self.regrown += grown
        self.returns += step.reward

    def check(self, success: Tensor) -> None:
        """A won battle brings 20, less what a last Medivac is worth that did not have to fall (MMM maps
        only), and more by at most twice what grew back: SMAC rewards the absolute value of a step's
        change, so points count when they grow back and once more when they are shot again."""
        left = (self.strength + REWARD_PER_KILL * (self.strength > 0)).sum(0)[success]
        assert "medivac" in self.env.task.enemy_units or (left == 0).all()
        least = REWARD_SCALE - left * self.scale
        most = least + 2 * self.regrown[success] * self.scale
        assert (self.returns[success] >= least - 1e-3).all()
        assert (self.returns[success] <= most + 1e-3).all()

    def only(self, env: SimulatorEnv, stays: Tensor) -> TotalReward:
        """The same of the battles in `stays` [B] bool, which are those of `env`."""
        part = TotalReward(env)
        part.returns, part.regrown = self.returns[stays], self.regrown[stays]
        return part
