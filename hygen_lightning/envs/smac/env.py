"""StarCraft II as a `BattleEnv`: one game per battle, all of them stepped at once."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv, BattleLostError
from hygen_lightning.envs.smac.game import Game, GameObservation, GameStep, answers
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks.battles import NO_OP, BattleTask

GAMES_VARIABLE = "HYGEN_SMAC_GAMES"
MOST_GAMES = 8
"""Default number of games at once, but no more than CPU cores (the authors' parallel runner: 8). Each needs
about a gigabyte of memory."""
LARGEST_SEED = 2**31


def _smac_version() -> str:
    try:
        return installed_version("smac")
    except PackageNotFoundError:
        return "not installed"


class SmacEnv(BattleEnv):
    """B battles of one task in StarCraft II, played by the `smac` package with its default options.

    Every battle has its own game in its own process. StarCraft II takes a seed only when it starts, so
    battles with equal seeds are not equal. A battle that is over offers no-op only.
    """

    name = "smac"
    task_type = BattleTask
    version = _smac_version()
    reproducible = False
    restarts = True

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        """Raises UserError where the package, the game or the map is missing, or has other sizes."""
        self.check_installed()
        self.task, self.num_envs, self.device = task, num_envs, torch.device(device)
        self._games = [Game(task.name) for _ in range(num_envs)]
        self._last: list[GameObservation] = []
        self._over = np.ones(num_envs, dtype=bool)
        self._clock = np.zeros(num_envs, dtype=np.int64)
        self._available = np.zeros((num_envs, 0, 0), dtype=bool)
        try:
            _check_sizes(task, answers(self._games[:1], "sizes", [task.name])[0])
            _check_map(task)
        except BaseException:
            self.close()
            raise

    @classmethod
    def check_installed(cls) -> None:
        cls.most_at_once()
        package = find_spec("smac")  # not imported: SMAC3, of the same name, is slow to import
        if package is None or PathFinder.find_spec("env", package.submodule_search_locations) is None:
            raise UserError(
                "the environment 'smac' needs SMAC's package: run pip install '.[smac]' in this project's "
                "folder (`pip install smac` brings another project); 'simulator' needs nothing"
            )
        if sys.platform == "linux" and not (_game_folder() / "Versions").is_dir():
            raise UserError(
                f"the environment 'smac' needs StarCraft II, but {_game_folder()} holds no folder Versions; "
                "set SC2PATH to the folder of StarCraft II 4.10, or play in the environment 'simulator'"
            )

    @classmethod
    def check_tasks(cls, tasks: Sequence[TaskSpec]) -> None:
        """Compares sizes with the package's own, without starting StarCraft II."""
        if not tasks:
            return
        game = Game(tasks[0].name)
        try:
            for task in tasks:
                _check_sizes(task, answers([game], "sizes", [task.name])[0])
                _check_map(task)
        finally:
            game.close()

    @classmethod
    def most_at_once(cls) -> int:
        value = os.environ.get(GAMES_VARIABLE)
        if value is None:
            return min(MOST_GAMES, os.cpu_count() or 1)
        if not value.isdecimal() or int(value) < 1:
            raise UserError(f"{GAMES_VARIABLE} is {value!r}; give the number of games to play at once")
        return int(value)

    def reset(self, seeds: Tensor) -> Observation:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        self._check_open()
        self._last = self._begun(range(self.num_envs), seeds)
        self._over = np.zeros(self.num_envs, dtype=bool)
        self._clock = np.zeros(self.num_envs, dtype=np.int64)
        return self._observation()

    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        """Raises BattleLostError where StarCraft II stopped answering; `reset` starts it anew."""
        self._check_open()
        if not self._last:
            raise ValueError(f"{self.task.name}: a step before the first reset")
        chosen = actions.cpu().numpy()
        if not np.take_along_axis(self._available, chosen[:, :, None], axis=2).all():
            raise ValueError(f"{self.task.name}: an action was not available in the last observation")
        played = [i for i in range(self.num_envs) if not self._over[i]]
        games, orders = [self._games[i] for i in played], [chosen[i].tolist() for i in played]
        steps = [GameStep(observation) for observation in self._last]
        for i, step in zip(played, answers(games, "step", orders)):
            steps[i] = step
        observations = [step.observation for step in steps if step.observation is not None]
        if len(observations) < self.num_envs:
            raise BattleLostError(f"StarCraft II stopped answering on {self.task.name}")
        self._last, self._clock = observations, self._clock + ~self._over
        ended = self._over | np.array([s.terminated for s in steps])
        if seeds is not None:
            rows = ended.nonzero()[0].tolist()
            for i, begun in zip(rows, self._begun(rows, seeds)):
                self._last[i], self._clock[i] = begun, 0
            self._over = ended = np.zeros_like(ended)
        observation = self._observation()  # the last one of a battle still has SMAC's available actions
        self._over = ended
        return TimeStep(
            observation=observation,
            reward=torch.tensor([s.reward for s in steps], dtype=torch.float32, device=self.device),
            terminated=torch.tensor([s.terminated for s in steps], device=self.device),
            truncated=torch.tensor([s.truncated for s in steps], device=self.device),
            success=torch.tensor([s.success for s in steps], device=self.device),
        )

    @property
    def clock(self) -> Tensor:
        return torch.from_numpy(self._clock).to(self.device)

    def only(self, rows: Tensor) -> SmacEnv:
        kept = rows.tolist()
        part = copy.copy(self)
        part.num_envs = len(kept)
        part._games = [self._games[i] for i in kept]
        part._last = [self._last[i] for i in kept] if self._last else []
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

    def _begun(self, rows: Sequence[int], seeds: Tensor) -> list[GameObservation]:
        """What new battles of these rows show; seeds [B]."""
        games = [self._games[i] for i in rows]
        return answers(games, "reset", [int(seeds[i]) % LARGEST_SEED for i in rows])

    def _observation(self) -> Observation:
        """The last observation of every battle; in those that are over, only no-op is available."""
        names = ("obs", "state", "avail_actions")
        obs, state, available = (np.stack([getattr(x, name) for x in self._last]) for name in names)
        nothing = np.arange(available.shape[2]) == NO_OP
        self._available = np.where(self._over[:, None, None], nothing, available)
        return Observation(*(torch.from_numpy(x).to(self.device) for x in (obs, state, self._available)))


def _game_folder() -> Path:
    """Where StarCraft II's client looks for the game."""
    return Path(os.environ.get("SC2PATH", "~/StarCraftII")).expanduser()


def _check_map(task: TaskSpec) -> None:
    path = _game_folder() / "Maps/SMAC_Maps" / f"{task.name}.SC2Map"
    if sys.platform == "linux" and not path.is_file():
        raise UserError(
            f"{task.name}: no map at {path}; copy the SMAC_Maps of the smac package to Maps there"
        )


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
        f"{name} {sizes[name]} (here {number})" for name, number in ours.items() if sizes[name] != number
    ]
    if wrong:
        raise UserError(
            f"{task.name}: this SMAC gives {', '.join(wrong)}; it plays another version of the task"
        )
