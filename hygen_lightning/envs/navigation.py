"""Cooperative navigation, the grid world of ODIS: many grids of one task, stepped together in torch.

Rules (github.com/LAMDA-RL/ODIS; every recorded step of its data sets follows them):
- walkers start in cells drawn without replacement; landmarks in others, beyond the reach of all walkers;
- all walk at once, one cell; who wants the same cell as another (one that stays wants its own) stays;
  two may change places, and one that was held up may be joined by another in its cell;
- a walker reaches a landmark up to `REACH` rows and columns away. The goal is reached, and pays 1,
  when walkers and landmarks can be paired so that each walker reaches its own.
Every walker sees everybody and every landmark: on all maps ODIS' range of sight spans the grid.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks import NavigationTask

if TYPE_CHECKING:
    from hygen_lightning.policy import Policy

MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""What the actions stay, north, south, west and east add to row and column."""
REACH = 2
"""Rows and columns up to which a walker reaches a landmark."""


class NavigationEnv(BattleEnv):
    """B grids of one task, on any device. One that is over stands still, whatever is done.

    walkers, landmarks [B, N, 2] int64: row and column, from 1. over [B] bool.
    """

    name = "navigation"
    version = "1"
    restarts = True
    task_type = NavigationTask
    task: NavigationTask

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        """UserError if the task is none of cooperative navigation."""
        self.task, self.num_envs, self.device = _as_navigation(task), num_envs, torch.device(device)
        self._moves = torch.tensor(MOVES, device=self.device)
        self.place(*_start(self.task, torch.zeros(num_envs, dtype=torch.int64)))

    @classmethod
    def scripted_policies(cls) -> dict[str, Callable[[int], Policy]]:
        return {"assigned": AssignedLandmarks}

    def reset(self, seeds: Tensor) -> Observation:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        return self.place(*_start(self.task, seeds))

    def place(self, walkers: Tensor, landmarks: Tensor) -> Observation:
        """Start from these cells [B, N, 2] int64."""
        self.walkers, self.landmarks = walkers.to(self.device), landmarks.to(self.device)
        self.over = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._clock = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        return self.observe()

    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        actions, going = actions.to(self.device), ~self.over
        if not bool(self._available().gather(2, actions[..., None]).all()):
            raise ValueError(f"{self.task.name}: an action was not available in the last observation")
        wanted = self.walkers + self._moves[actions] * going[:, None, None]
        alone = (wanted[:, :, None] == wanted[:, None]).all(-1).sum(-1) == 1
        self.walkers = torch.where(alone[..., None], wanted, self.walkers)
        self._clock = self._clock + going
        success = going & all_paired(within_reach(self.walkers, self.landmarks))
        truncated = going & ~success & (self._clock >= self.task.episode_limit_env_steps)
        self.over = self.over | success | truncated
        if seeds is not None:
            self._begin_anew(seeds)
        return TimeStep(self.observe(), success.float(), success | truncated, truncated, success)

    def _begin_anew(self, seeds: Tensor) -> None:
        """Start the grids that are over with their seeds [B]."""
        rows = self.over.nonzero()[:, 0]
        walkers, landmarks = _start(self.task, seeds.to(self.device)[rows])
        self.walkers = self.walkers.index_copy(0, rows, walkers.to(self.device))
        self.landmarks = self.landmarks.index_copy(0, rows, landmarks.to(self.device))
        self._clock, self.over = self._clock * ~self.over, torch.zeros_like(self.over)

    @property
    def clock(self) -> Tensor:
        return self._clock

    def observe(self) -> Observation:
        """What the grids show now."""
        n, walkers, landmarks = self.task.n_allies, self.walkers.float(), self.landmarks.float().flatten(1)
        others = torch.tensor([[j for j in range(n) if j != i] for i in range(n)], device=self.device)
        seen = (walkers, walkers[:, others].flatten(2), landmarks[:, None].expand(-1, n, -1))
        state = torch.cat([walkers.flatten(1), landmarks], dim=-1)
        return Observation(torch.cat(seen, dim=-1), state, self._available())

    def _available(self) -> Tensor:
        """[B, A, K] bool: no step off the grid."""
        after = self.walkers[:, :, None] + self._moves
        return ((after >= 1) & (after <= self.task.size)).all(-1)

    def only(self, rows: Tensor) -> NavigationEnv:
        part = copy.copy(self)
        part.num_envs = len(rows)
        part.walkers, part.landmarks = self.walkers[rows], self.landmarks[rows]
        part.over, part._clock = self.over[rows], self._clock[rows]
        return part

    def state_dict(self) -> dict[str, Tensor]:
        tensors = {"walkers": self.walkers, "landmarks": self.landmarks, "over": self.over}
        return {name: x.clone() for name, x in (tensors | {"clock": self._clock}).items()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        here = {name: x.to(self.device).clone() for name, x in saved.items()}
        self.walkers, self.landmarks = here["walkers"], here["landmarks"]
        self.over, self._clock = here["over"], here["clock"]


def within_reach(walkers: Tensor, landmarks: Tensor) -> Tensor:
    """Cells [B, N, 2] and [B, M, 2] -> [B, N, M] bool."""
    return ((walkers[:, :, None] - landmarks[:, None]).abs() <= REACH).all(-1)


def all_paired(reaches: Tensor) -> Tensor:
    """reaches [B, N, N] bool -> [B] bool: walkers and landmarks can be paired, each walker with one in reach.

    Walker by walker, which sets of landmarks the walkers so far can hold, one each: 2^N sets, number
    s holds landmark j if bit j of s is set. Only where everybody and every landmark has somebody in reach.
    """
    n = reaches.shape[1]
    paired = reaches.any(1).all(1) & reaches.any(2).all(1)
    rows = paired.nonzero()[:, 0]
    held = torch.zeros(len(rows), 2**n, dtype=torch.bool, device=reaches.device)
    held[:, 0] = True
    for walker in reaches[rows].unbind(1):
        more = torch.zeros_like(held)
        for j in range(n):
            without, joined = (x.view(-1, 2 ** (n - 1 - j), 2, 2**j) for x in (held, more))
            joined[:, :, 1] |= without[:, :, 0] & walker[:, j, None, None]
        held = more
    return paired.index_copy(0, rows, held[:, -1])


def _start(task: NavigationTask, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """seeds [b] int64 -> cells of walkers and landmarks, [b, N, 2] int64 each, on the CPU."""
    n, cells = task.n_allies, task.size**2
    every = torch.stack([torch.arange(cells) // task.size, torch.arange(cells) % task.size], dim=-1) + 1
    draws = torch.empty(len(seeds), 2, cells)
    for row, seed in enumerate(seeds.tolist()):
        torch.rand(2, cells, generator=torch.Generator().manual_seed(seed), out=draws[row])
    walkers = every[draws[:, 0].argsort(dim=1)[:, :n]]
    near = within_reach(walkers, every.expand(len(seeds), -1, -1)).any(1)
    order = draws[:, 1].masked_fill(near, 2.0).argsort(dim=1)
    landmarks = every[order[:, :n]]
    full = ((~near).sum(1) < n).nonzero()[:, 0]  # no room for the landmarks: draw again
    if len(full):
        walkers[full], landmarks[full] = _start(task, seeds.cpu()[full] + 1)
    return walkers, landmarks


def _as_navigation(task: TaskSpec) -> NavigationTask:
    if not isinstance(task, NavigationTask):
        raise UserError(f"{task.name} is no cooperative navigation; give a map such as cn-4")
    return task


class AssignedLandmarks:
    """A teacher: every walker goes to its own landmark, and the sum of squared ways left is the least.

    Walkers go around those that have arrived. Of several that want one cell the first goes, the others wait.
    """

    def __init__(self, seed: int = 0) -> None:
        del seed  # it draws nothing

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> None:
        """Nothing to remember; UserError for a task that is no cooperative navigation."""
        _as_navigation(task)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B grids; see `Policy.act`."""
        walkers, landmarks, _ = task.layout.split_state(observation.state)
        squares = _left(walkers[:, :, None], landmarks[:, None]).sum(-1).square().cpu().numpy()
        own = torch.stack([torch.from_numpy(linear_sum_assignment(costs)[1]) for costs in squares])
        goals = landmarks.gather(1, own.to(landmarks.device)[..., None].expand(-1, -1, 2))
        arrived = (_left(walkers, goals) == 0).all(-1)
        after = walkers[:, :, None] + torch.tensor(MOVES, device=walkers.device)  # [B, A, K, 2]
        left = _left(after, goals[:, :, None])
        costs = left.sum(-1) + 0.01 * left.square().sum(-1)  # rather along the longer way
        costs[..., 0] += torch.where(arrived, -0.5, 0.5)
        taken = (after[:, :, :, None] == walkers[:, None, None]).all(-1) & arrived[:, None, None]
        blocked = ~observation.avail_actions | taken.any(-1)
        blocked[..., 0] = False
        actions = costs.masked_fill(blocked, torch.inf).argmin(-1)
        wanted = after.gather(2, actions[..., None, None].expand(-1, -1, 1, 2)).squeeze(2)
        waits = (wanted[:, :, None] == wanted[:, None]).all(-1).tril(-1).any(-1)
        return PolicyOutput(torch.where(waits, 0, actions), hidden)


def _left(walkers: Tensor, landmarks: Tensor) -> Tensor:
    """Rows and columns [..., 2] that a walker has to go before the landmark is within its reach."""
    return ((landmarks - walkers).abs() - REACH).clamp(min=0)
