"""SMAC's environment as the adapter uses it. Battle number k of a game with seed s has seed s + k."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from hygen_lightning.envs import make_env
from hygen_lightning.tasks import load_task

torch.set_num_threads(1)


class SC2LaunchError(Exception):
    """The name that pysc2 gives to a game that does not start."""


class StarCraft2Env:
    """One battle at a time. FAKE_SMAC says what goes wrong (`_goes_wrong`)."""

    n_troubles = 0
    """How often something went wrong in this process."""

    def __init__(self, map_name: str, seed: int | None, continuing_episode: bool) -> None:
        assert continuing_episode
        self.task = load_task(map_name)
        self.first_seed = seed
        self.env = make_env("simulator", self.task, 1)
        self.battles = self.steps = self.force_restarts = 0

    def get_env_info(self) -> dict:
        layout = self.task.layout
        return {
            "state_shape": layout.state_dim + self._goes_wrong("sizes"),
            "obs_shape": layout.obs_dim,
            "n_actions": layout.n_actions,
            "n_agents": layout.n_allies,
            "episode_limit": self.task.episode_limit_env_steps,
            "agent_features": ["health"],
        }

    def reset(self) -> None:
        print("StarCraft II talks")
        if self._goes_wrong("launch"):
            raise SC2LaunchError("No SC2 binary\nfound")
        if self._goes_wrong("map"):
            raise ValueError("Map 3m not found")
        if self._goes_wrong("error"):
            raise ZeroDivisionError("a mistake")
        if self._goes_wrong("restart"):
            self.force_restarts += 1  # as SMAC does, it leaves the view of another game
        assert self.first_seed is not None
        assert not self.battles or self.ended, "SMAC's rewards are wrong after a battle left open"
        self.observation = self.env.reset(torch.tensor([self.first_seed + self.battles]))
        self.battles += 1
        self.ended = False
        self.steps = 0

    def step(self, actions: list[int]) -> tuple[float, bool, dict]:
        self.steps += 1
        if self.steps == 3 and self._goes_wrong("break"):
            return 0, True, {}
        step = self.env.step(torch.tensor([actions]))
        self.observation, self.ended = step.observation, bool(step.terminated)
        info: dict = {"battle_won": bool(step.success)}
        if bool(step.truncated):
            info["episode_limit"] = True
        return float(step.reward), bool(step.terminated), info

    def get_obs(self) -> list:
        return list(self.observation.obs[0].numpy())

    def get_state(self):
        return self.observation.state[0].numpy()

    def get_avail_actions(self) -> list:
        return self.observation.avail_actions[0].int().tolist()

    def close(self) -> None:
        folder = os.environ.get("FAKE_SMAC_CLOSED")
        if folder:
            (Path(folder) / str(os.getpid())).touch()
        sys.stdout.flush()

    def _goes_wrong(self, what: str) -> bool:
        """FAKE_SMAC is "<what>:<how often in a process>": launch, map, sizes, error, restart or break."""
        kind, _, often = os.environ.get("FAKE_SMAC", "").partition(":")
        if kind != what or StarCraft2Env.n_troubles >= int(often):
            return False
        StarCraft2Env.n_troubles += 1
        return True
