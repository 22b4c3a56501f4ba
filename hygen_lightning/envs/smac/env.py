"""StarCraft II as a `BattleEnv`: one game per battle, all of them stepped at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv, Check
from hygen_lightning.envs.smac import installation
from hygen_lightning.envs.smac.game import Arrays, Game, GameLostError, SmacOptions, answers
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks.battles import NO_OP, BattleTask
from hygen_lightning.tasks.maps import registry_row

LARGEST_SEED = 2**31
STARTS = 2
"""Games that are tried for a battle before giving up."""


def _smac_version() -> str:
    try:
        return installed_version("smac")
    except PackageNotFoundError:
        return "1"


class SmacEnv(BattleEnv):
    """B battles of one task in StarCraft II, played by the `smac` package with its default options.

    Every battle has its own game in its own process. StarCraft II takes a seed only when it starts, so
    battles with equal seeds are not equal. A battle that is over offers no-op only. A game that dies or
    hangs is started anew, and its battle is lost.
    """

    name = "smac"
    task_type = BattleTask
    version = _smac_version()
    reproducible = False
    restarts = True
    options: ClassVar[SmacOptions] = SmacOptions()

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        """Raises UserError where the package, the game or the map is missing, or has other sizes."""
        self.check_installed()
        self.task, self.num_envs, self.device = task, num_envs, torch.device(device)
        self._games = [Game(self.options) for _ in range(num_envs)]
        self._seen: list[Arrays] = []
        self._over = np.ones(num_envs, dtype=bool)
        self._clock = np.zeros(num_envs, dtype=np.int64)
        self._available = np.zeros((num_envs, 0, 0), dtype=bool)
        try:
            self._check_task(self._games[0], task)
        except BaseException:
            self.close()
            raise

    @classmethod
    def configured(cls, options: Mapping[str, Any]) -> type[BattleEnv]:
        return type(cls.__name__, (cls,), {"options": SmacOptions.of(options)})

    @classmethod
    def checks(cls, tasks: Sequence[TaskSpec], thorough: bool = True) -> list[Check]:
        return installation.checks(cls.options, tasks, thorough)

    @classmethod
    def check_tasks(cls, tasks: Sequence[TaskSpec]) -> None:
        """Compares sizes with the package's own, without starting StarCraft II."""
        if tasks:
            with closing(Game(cls.options)) as game:
                for task in tasks:
                    cls._check_task(game, task)

    @classmethod
    def _check_task(cls, game: Game, task: TaskSpec) -> None:
        request = _request(task, cls.options)
        (sizes,) = answers([game], "sizes", [request])
        if isinstance(sizes, GameLostError):
            raise UserError(f"{task.name}: SMAC's package does not tell its sizes ({sizes})")
        _check_sizes(task, sizes[0])
        for check in installation.map_checks([task]):
            check.require()

    @classmethod
    def most_at_once(cls) -> int:
        return cls.options.most_games

    def reset(self, seeds: Tensor) -> Observation:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        self._check_open()
        self._seen = [{}] * self.num_envs
        self._begin(range(self.num_envs), seeds)
        self._over = np.zeros(self.num_envs, dtype=bool)
        return self._observation()

    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        """A battle is lost where StarCraft II died or did not answer in time; its game is started anew."""
        self._check_open()
        if not self._seen:
            raise ValueError(f"{self.task.name}: a step before the first reset")
        chosen = actions.cpu().numpy()
        if not np.take_along_axis(self._available, chosen[:, :, None], axis=2).all():
            raise ValueError(f"{self.task.name}: an action was not available in the last observation")
        told = np.zeros((self.num_envs, 5))  # reward, terminated, truncated, success, lost
        played = (~self._over).nonzero()[0].tolist()
        replays = {"replays": self.options.replays}
        orders = [{"actions": chosen[i].tolist(), **replays} for i in played]
        for i, answer in zip(played, answers([self._games[i] for i in played], "step", orders)):
            if isinstance(answer, GameLostError):
                self._games[i].renew()
            if isinstance(answer, GameLostError) or answer[0] is None:
                told[i] = 0, 1, 1, 0, 1
            else:
                told[i, :4], self._seen[i] = answer
        self._clock = self._clock + ~self._over
        ended = self._over | (told[:, 1] > 0)
        if seeds is not None:
            self._begin(ended.nonzero()[0].tolist(), seeds)
            self._over = ended = np.zeros_like(ended)
        observation = self._observation()  # the last one of a battle has SMAC's available actions
        self._over = ended
        result = torch.from_numpy(told).to(self.device, torch.float32)
        terminated, truncated, success, lost = (result[:, 1:] > 0).unbind(1)
        return TimeStep(observation, result[:, 0], terminated, truncated, success, lost)

    @property
    def clock(self) -> Tensor:
        return torch.from_numpy(self._clock).to(self.device)

    def only(self, rows: Tensor) -> SmacEnv:
        kept = rows.tolist()
        part = copy.copy(self)
        part.num_envs = len(kept)
        part._games = [self._games[i] for i in kept]
        part._seen = [self._seen[i] for i in kept] if self._seen else []
        part._over, part._clock = self._over[kept], self._clock[kept]
        part._available = self._available[kept]
        return part

    def close(self) -> None:
        for game in self._games:
            game.closing()
        for game in self._games:
            game.close()
        self._games = []

    def _check_open(self) -> None:
        if not self._games:
            raise ValueError(f"{self.task.name}: this environment is closed")

    def _begin(self, rows: Iterable[int], seeds: Tensor) -> None:
        """Start new battles of these rows; seeds [B]. UserError where a game does not start."""
        waiting, request, loss = list(rows), _request(self.task, self.options), ""
        self._clock[waiting] = 0
        for _ in range(STARTS):
            games = [self._games[i] for i in waiting]
            started = answers(
                games, "reset", [{**request, "seed": int(seeds[i]) % LARGEST_SEED} for i in waiting]
            )
            for i, answer in zip(waiting, started):
                if isinstance(answer, GameLostError):
                    loss = str(answer)
                    self._games[i].renew()
                else:
                    self._seen[i] = answer[1]
            waiting = [i for i, answer in zip(waiting, started) if isinstance(answer, GameLostError)]
            if not waiting:
                return
        raise UserError(f"StarCraft II could not be started on {self.task.name}: {loss}")

    def _observation(self) -> Observation:
        """The last observation of every battle; in those that are over, only no-op is available."""
        obs, state, available = (np.stack([seen[name] for seen in self._seen]) for name in _FIELDS)
        nothing = np.arange(available.shape[2]) == NO_OP
        self._available = np.where(self._over[:, None, None], nothing, available)
        return Observation(*(torch.from_numpy(x).to(self.device) for x in (obs, state, self._available)))


_FIELDS = ("obs", "state", "avail_actions")


def _request(task: TaskSpec, options: SmacOptions) -> dict[str, Any]:
    """Which map a request is about, and how SMAC's registry describes it."""
    params = registry_row(task.name)
    if params is None:
        raise UserError(f"{task.name}: StarCraft II has no map for it; play it in its own environment")
    return {"map": task.name, "params": params, "replays": options.replays}


def _check_sizes(task: TaskSpec, sizes: dict[str, Any]) -> None:
    layout = task.layout
    ours = {
        "n_agents": layout.n_allies,
        "n_actions": layout.n_actions,
        "obs_shape": layout.obs_dim,
        "state_shape": layout.state_dim,
        "episode_limit": task.episode_limit_env_steps,
    }
    wrong = [
        f"{name} {sizes.get(name)} (here {number})"
        for name, number in ours.items()
        if sizes.get(name) != number
    ]
    if wrong:
        raise UserError(
            f"{task.name}: this SMAC gives {', '.join(wrong)}; it plays another version of the task"
        )
