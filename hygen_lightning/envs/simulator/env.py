"""The embedded simulator as a `BattleEnv`: many battles of one task, stepped together in torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.envs.simulator.formation import Start, attack_move_goals, new_battles
from hygen_lightning.envs.simulator.observation import battle_observation
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.switch import dynamics_for
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import Observation, TaskSpec, TimeStep
from hygen_lightning.tasks.battles import BattleTask, as_battle

PAIRS_WORTH_A_GPU = 60_000
"""Number of unit pairs (N x N x B) from which a GPU steps a batch faster than one CPU core. A step of
version 6 took an H100 29 ms whatever the batch; a core took as long for about this many pairs."""


class SimulatorEnv(BattleEnv):
    """B battles of one task, on any device. A battle that is over offers no-op only.

    `battles` is the whole state of the battles (units first, battles last).

    compiled: whether compiled code plays them, several times faster, or HYGEN_COMPILED decides (None); see
    switch.py.
    """

    name = "simulator"
    task_type = BattleTask
    task: BattleTask
    version = "8"
    restarts = True

    def __init__(
        self,
        task: TaskSpec,
        num_envs: int,
        device: str | torch.device = "cpu",
        compiled: bool | None = None,
    ) -> None:
        """UserError if the task is not a battle, or has units or a formation that cannot be simulated."""
        self.task = as_battle(task)
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.params = UnitParams.of(self.task, self.device)
        self.terrain = Terrain.of(self.task.terrain, self.device)
        self._start = Start.of(self.params, self.terrain)
        self.dynamics = dynamics_for(self.params, self.terrain, self.device, compiled)
        self.battles = self._new(torch.zeros(num_envs, dtype=torch.int64))
        self._available = torch.zeros(0)

    @classmethod
    def check_tasks(cls, tasks: Sequence[TaskSpec]) -> None:
        """Makes one battle of each."""
        for task in tasks:
            cls(task, 1)

    def reset(self, seeds: Tensor) -> Observation:
        self.battles = self._new(seeds)
        return self.observe()

    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        actions = actions.to(self.device)
        fresh = None if seeds is None else self._new(seeds)
        if not bool(self._available.gather(2, actions.unsqueeze(2)).all()):
            raise ValueError(f"{self.task.name}: an action was not available in the last observation")
        orders = actions.t().clone(memory_format=torch.contiguous_format)  # [A, B]
        self.battles, step = self.dynamics.step(self.params, self.terrain, self.battles, orders, fresh)
        self._available = step.observation.avail_actions
        return step

    def only(self, rows: Tensor) -> SimulatorEnv:
        part = copy.copy(self)
        part.num_envs = len(rows)
        part.battles = self.battles.columns(rows)
        part._available = self._available[rows]
        return part

    @classmethod
    def fastest_device(cls, task: TaskSpec, num_envs: int, device: torch.device) -> torch.device:
        pairs = (task.n_allies + task.n_enemies) ** 2 * num_envs
        return device if pairs >= PAIRS_WORTH_A_GPU else torch.device("cpu")

    def observe(self) -> Observation:
        """What the battles show now; call it after changing `battles` by hand."""
        observation = battle_observation(self.params, self.terrain, self.battles)
        self._available = observation.avail_actions
        return observation

    @property
    def clock(self) -> Tensor:
        return self.battles.step

    def placed(self, battles: BattleState) -> Observation:
        """Start from these positions, health and cooldowns [N, B]; the rest as after `reset`."""
        n = self.params.n_allies
        s = copy.copy(self.battles)
        s.x, s.y, s.health, s.shield = battles.x, battles.y, battles.health, battles.shield
        s.cooldown, s.energy = battles.cooldown, battles.energy
        s.goal_x, s.goal_y = attack_move_goals(self.task, s.x[n:], s.y[n:])
        self.battles = s
        return self.observe()

    def state_dict(self) -> dict[str, Tensor]:
        tensors = self.battles.tensors() | {"available": self._available}
        return {k: v.clone() for k, v in tensors.items()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        tensors = {k: v.to(self.device).clone() for k, v in saved.items()}
        self._available = tensors.pop("available")
        self.battles = BattleState(**tensors)

    def _new(self, seeds: Tensor) -> BattleState:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        return new_battles(self.params, self.terrain, self._start, seeds.to(self.device, torch.int64))
