"""The embedded simulator as a `BattleEnv`: many battles of one task, stepped together in torch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.envs.simulator.formation import formation
from hygen_lightning.envs.simulator.observation import battle_observation
from hygen_lightning.envs.simulator.randomness import uniform
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.step import START_STREAM, Dynamics, concluded, first_loop
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import Observation, TaskSpec, TimeStep
from hygen_lightning.tasks.battles import BattleTask, as_battle

PAIRS_WORTH_A_GPU = 60_000
"""Number of unit pairs (N x N x B) from which a GPU steps a batch faster than one CPU core. A step of
version 6 took an H100 29 ms whatever the batch; a core took as long for about this many pairs."""


class SimulatorEnv(BattleEnv):
    """B battles of one task. See `BattleEnv` for the protocol.

    `battles` holds the whole state of the battles (units first, battles last); `dynamics` plays a step of
    them.

    compiled: fuse the operations with `torch.compile`: several times faster in large batches, after
    up to a minute of compiling at the first step; results may differ from the others in rounding.
    """

    name = "simulator"
    task: BattleTask
    version = "7"

    def __init__(
        self,
        task: TaskSpec,
        num_envs: int,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> None:
        self.task = as_battle(task)
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.params = UnitParams.of(self.task, self.device)
        self.terrain = Terrain.of(self.task.terrain, self.device)
        self._start_x, self._start_y = (
            p.to(self.device).unsqueeze(1) for p in formation(self.task, self.terrain)
        )
        self.battles = self._new_battles(torch.zeros(num_envs, dtype=torch.int64, device=self.device))
        self._available = torch.zeros(0)
        self.dynamics = Dynamics.compiled(dynamic=False) if compiled else Dynamics()
        self._concluded = torch.compile(concluded, dynamic=False) if compiled else concluded

    def reset(self, seeds: Tensor) -> Observation:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        self.battles = self._new_battles(seeds.to(self.device, torch.int64))
        return self._seen()

    def step(self, actions: Tensor) -> TimeStep:
        orders = self.checked(actions)
        return self.conclude(self.dynamics(self.params, self.terrain, self.battles, orders))

    def only(self, battles: Tensor) -> SimulatorEnv:
        part = copy.copy(self)
        part.num_envs = len(battles)
        part.battles = self.battles.columns(battles)
        part._available = self._available[battles]
        return part

    @classmethod
    def fastest_device(cls, task: TaskSpec, num_envs: int, device: torch.device) -> torch.device:
        pairs = (task.n_allies + task.n_enemies) ** 2 * num_envs
        return device if pairs >= PAIRS_WORTH_A_GPU else torch.device("cpu")

    def checked(self, actions: Tensor) -> Tensor:
        """actions [B, A] -> [A, B] int64; ValueError where one was not available in the last observation."""
        actions = actions.to(self.device)
        if not bool(self._available.gather(2, actions.unsqueeze(2)).all()):
            raise ValueError(f"{self.task.name}: an action was not available in the last observation")
        return actions.t().clone(memory_format=torch.contiguous_format)

    def conclude(self, after: BattleState) -> TimeStep:
        """End a step whose game loops led to `after`: who won, what it brought, what is seen."""
        self.battles, step = self._concluded(self.params, self.terrain, self.battles, after)
        self._available = step.observation.avail_actions
        return step

    def restart_finished(self, seeds: Tensor) -> Observation:
        """Start anew, with these seeds [B] int64, the battles that are over; the others go on."""
        over = self.battles.over
        new = self._new_battles(seeds.to(self.device, torch.int64))
        self.battles = self.battles.kept_where(over, new)
        return self._seen()

    def placed(self, battles: BattleState) -> Observation:
        """Start from these positions, health and cooldowns [N, B] instead; the rest as after `reset`."""
        n, goal = self.params.n_allies, self.task.enemy_attack_move_to
        s = copy.copy(self.battles)
        s.x, s.y, s.health, s.shield = battles.x, battles.y, battles.health, battles.shield
        s.cooldown, s.energy = battles.cooldown, battles.energy
        s.goal_x, s.goal_y = s.x[n:], s.y[n:]
        if goal is not None:
            s.goal_x, s.goal_y = s.x[n:] - s.x[n:].mean(0) + goal[0], s.y[n:] - s.y[n:].mean(0) + goal[1]
        self.battles = s
        return self._seen()

    def state_dict(self) -> dict[str, Tensor]:
        """The battles as tensors: enough to continue them to the same future."""
        return {k: v.clone() for k, v in self.battles.tensors().items()} | {
            "available": self._available.clone()
        }

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Continue the battles of `state_dict`."""
        tensors = {k: v.to(self.device).clone() for k, v in saved.items()}
        self._available = tensors.pop("available")
        self.battles = BattleState(**tensors)

    def _seen(self) -> Observation:
        observation = battle_observation(self.params, self.terrain, self.battles)
        self._available = observation.avail_actions
        return observation

    def _new_battles(self, seeds: Tensor) -> BattleState:
        r, b = self.params, self.num_envs
        n, total = r.n_allies, r.n_units
        order = self._unit_order(seeds)
        x, y = (
            self._start_x.expand(total, b).gather(0, order),
            self._start_y.expand(total, b).gather(0, order),
        )
        goal_x, goal_y = x[n:], y[n:]
        if self.task.enemy_attack_move_to is not None:
            to_x, to_y = self.task.enemy_attack_move_to
            goal_x = goal_x + (to_x - self._start_x[n:].mean())
            goal_y = goal_y + (to_y - self._start_y[n:].mean())
        battles = BattleState(
            x=x,
            y=y,
            health=r.health.expand(total, b).clone(),
            shield=r.shield.expand(total, b).clone(),
            energy=r.energy.expand(total, b).clone(),
            cooldown=torch.zeros(total, b, device=self.device),
            target=torch.full((total, b), -1, device=self.device),
            calm=torch.zeros(total, b, device=self.device),
            bursting=torch.zeros(total, b, dtype=torch.bool, device=self.device),
            look_loop=torch.zeros(r.n_enemies, b, dtype=torch.int64, device=self.device),
            backswing_left=torch.zeros(total, b, device=self.device),
            walked=torch.zeros(total, b, device=self.device),
            not_shot_at=torch.zeros(r.n_enemies, b, device=self.device),
            goal_x=goal_x,
            goal_y=goal_y,
            last_action=torch.full((n, b), -1, device=self.device),
            step=torch.zeros(b, dtype=torch.int64, device=self.device),
            seed=seeds,
            over=torch.zeros(b, dtype=torch.bool, device=self.device),
        )
        return first_loop(r, self.terrain, battles)

    def _unit_order(self, seeds: Tensor) -> Tensor:
        """[N, B] int64: which place each unit takes; enemies of one type are shuffled per battle."""
        total, n, names = self.params.n_units, self.params.n_allies, self.params.names
        kinds = torch.tensor([i if i < n else total + names.index(names[i], n) for i in range(total)])
        draw = uniform(seeds, torch.zeros_like(seeds), self.params.draw[:total], START_STREAM)
        order = (kinds.to(self.device).unsqueeze(1) + draw).argsort(dim=0)
        ranks = kinds.argsort(stable=True).to(self.device).unsqueeze(1)
        slots = torch.empty_like(order)
        return slots.scatter_(0, ranks.expand_as(order).contiguous(), order)
