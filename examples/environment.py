"""An environment of one's own: farmers on a grid harvest every crop before the time is over.

python -m hygen_lightning fit --rollouts.env environment:Harvest --data.train_tasks [harvest-2-3]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hygen_lightning import (
    BattleEnv,
    EntityLayout,
    Episodes,
    Observation,
    Policy,
    PolicyOutput,
    Side,
    TaskSpec,
    TimeStep,
    register_task,
)

SIZE = 5
MOVES = torch.tensor([[0, 0], [0, 1], [0, -1], [-1, 0], [1, 0]])
"""What the actions stay, north, south, west and east add to x and y."""


@dataclass(frozen=True)
class HarvestTask(TaskSpec):
    """What counts as success, and where pictures and scripted policies find everybody."""

    enemy_name: ClassVar[str] = "crop"

    def success(self, episodes: Episodes) -> Tensor:
        _, crops, _ = self.layout.split_state(episodes.final_state)
        return ~(crops[..., 2] > 0).any(dim=-1)

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        farmers, crops, _ = self.layout.split_state(state)
        standing = Side.always_alive(crops[..., :2])
        standing.alive = crops[..., 2] > 0
        return Side.always_alive(farmers), standing


def harvest(n_farmers: int, n_crops: int) -> HarvestTask:
    """`harvest-A-E`: the layout follows from the features and the order of the parts."""
    layout = EntityLayout.of(
        n_farmers,
        n_crops,
        own=("x", "y"),
        enemy=("dx", "dy", "ripe"),
        ally=("dx", "dy"),
        state_ally=("x", "y"),
        state_enemy=("x", "y", "ripe"),
        base_actions=("stay", "north", "south", "west", "east"),
        has_targets=False,
        obs_order=("own", "enemies", "allies"),
        state_order=("allies", "enemies"),
    )
    return HarvestTask(f"harvest-{n_farmers}-{n_crops}", 20, layout)


class Harvest(BattleEnv):
    """B fields at once. A crop is harvested, and pays 1, when a farmer stands on it."""

    name, version = "harvest", "1"

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        self.task, self.num_envs, self.device = task, num_envs, torch.device(device)

    @classmethod
    def scripted_policies(cls) -> dict[str, Callable[[int], Policy]]:
        return {"nearest_crop": NearestCrop}

    def reset(self, seeds: Tensor) -> Observation:
        cells = [
            torch.randperm(SIZE * SIZE, generator=torch.Generator().manual_seed(seed))
            for seed in seeds.tolist()
        ]
        n, places = self.task.n_allies, torch.stack(cells)[:, : self.task.n_allies + self.task.n_enemies]
        at = torch.stack([places % SIZE, places // SIZE], dim=-1).to(self.device)
        self.farmers, self.crops = at[:, :n], at[:, n:]  # [B, A, 2], [B, E, 2]
        self.ripe = torch.ones(self.crops.shape[:2], dtype=torch.bool, device=self.device)
        self.over = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self.steps = 0
        return self._observe()

    def step(self, actions: Tensor) -> TimeStep:
        moved = (self.farmers + MOVES.to(self.device)[actions]).clamp(0, SIZE - 1)
        self.farmers = torch.where(self.over[:, None, None], self.farmers, moved)
        stands_on = (self.farmers[:, :, None] == self.crops[:, None]).all(dim=-1).any(dim=1)  # [B, E]
        harvested = stands_on & self.ripe & ~self.over[:, None]
        self.ripe, self.steps = self.ripe & ~harvested, self.steps + 1
        success = ~self.over & ~self.ripe.any(dim=1)
        timed_out = ~self.over & ~success & (self.steps == self.task.episode_limit_env_steps)
        self.over = self.over | success | timed_out
        return TimeStep(
            self._observe(), harvested.sum(dim=1).float(), success | timed_out, timed_out, success
        )

    def _observe(self) -> Observation:
        b, n, ripe = self.num_envs, self.task.n_allies, self.ripe.float()[..., None]
        others = torch.tensor([[j for j in range(n) if j != i] for i in range(n)], dtype=torch.int64)
        to_crops = (self.crops[:, None] - self.farmers[:, :, None]) / SIZE  # [B, A, E, 2]
        to_allies = (self.farmers[:, others] - self.farmers[:, :, None]) / SIZE  # [B, A, A - 1, 2]
        seen = torch.cat([to_crops, ripe[:, None].expand(-1, n, -1, -1)], dim=-1)
        obs = torch.cat([self.farmers / SIZE, seen.flatten(2), to_allies.flatten(2)], dim=-1)
        state = torch.cat(
            [(self.farmers / SIZE).flatten(1), torch.cat([self.crops / SIZE, ripe], dim=-1).flatten(1)],
            dim=-1,
        )
        every = torch.ones(b, n, self.task.layout.n_actions, dtype=torch.bool, device=self.device)
        return Observation(obs, state, every)


class NearestCrop:
    """A teacher: every farmer walks to the ripe crop that is nearest."""

    def __init__(self, seed: int = 0) -> None:
        del seed  # it draws nothing

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> None:
        return None

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        farmers, crops = task.sides(observation.state)
        way = crops.position[:, None] - farmers.position[:, :, None]  # [B, A, E, 2]
        distance = way.abs().sum(dim=-1).masked_fill(~crops.alive[:, None], torch.inf)
        nearest = distance.argmin(dim=-1)[..., None, None].expand(-1, -1, 1, 2)
        scores = way.gather(2, nearest).squeeze(2) @ MOVES.T.to(
            way
        )  # [B, A, K]: how far each move leads there
        return PolicyOutput(scores.argmax(dim=-1), hidden)


for sizes in ((1, 2), (2, 3), (3, 4)):
    register_task(harvest(*sizes))
