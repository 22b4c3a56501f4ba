"""SMAC's environment as the worker uses it, without a game: battle k of a game with seed s has number s + k.

What an agent sees tells the battle's number (below 1 000), the step and the agent, divided by `UNIT`; a
battle of number n lasts 4 + n % 5 steps, is won if n is odd, and runs into the limit if n % 5 is 4.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from smac.env.starcraft2.maps.smac_maps import get_smac_map_registry

UNIT = 2**14
"""Whole numbers divided by it are of a size that networks take, and exact in float32."""


class SC2LaunchError(Exception):
    """The name that pysc2 gives to a game that does not start."""


class StarCraft2Env:
    """One battle at a time. FAKE_SMAC says what goes wrong (`_goes_wrong`)."""

    def __init__(self, map_name, seed, continuing_episode, replay_dir=""):
        assert continuing_episode
        self.map_name, self.first_seed, self.replay_dir = map_name, seed, replay_dir
        self.params = get_smac_map_registry()[map_name]
        self.battles = self.steps = self.force_restarts = 0
        self.ended = True

    def get_env_info(self):
        a, e = self.params["n_agents"], self.params["n_enemies"]
        return {
            "state_shape": 4 * a + 3 * e + a * (6 + e) + _goes_wrong("sizes"),
            "obs_shape": 4 + 5 * e + 5 * (a - 1) + 1,
            "n_actions": 6 + e,
            "n_agents": a,
            "episode_limit": self.params["limit"],
            "agent_features": ["health"],
        }

    def reset(self):
        print("StarCraft II talks")
        if _goes_wrong("launch"):
            raise SC2LaunchError("No SC2 binary\nfound")
        if _goes_wrong("map"):
            raise ValueError("Map 3m not found")
        if _goes_wrong("error"):
            raise ZeroDivisionError("a mistake")
        if _goes_wrong("restart"):
            self.force_restarts += 1  # as SMAC does, it leaves the view of another game
        if _goes_wrong("hang at start"):
            time.sleep(600)
        assert self.ended, "SMAC's rewards are wrong after a battle left open"
        self.number = (self.first_seed + self.battles) % 1000
        self.battles += 1
        self.steps, self.ended = 0, False

    def step(self, actions):
        self.steps += 1
        available = self.get_avail_actions()
        assert all(available[agent][action] for agent, action in enumerate(actions))
        if self.steps == 3:
            if _goes_wrong("break"):
                return 0, True, {}
            if _goes_wrong("hang"):
                time.sleep(600)
            if _goes_wrong("die"):
                os.kill(os.getpid(), signal.SIGKILL)
        self.ended = self.steps == 4 + self.number % 5
        info = {"battle_won": self.ended and self.number % 2 == 1}
        if self.ended and self.number % 5 == 4:
            info = {"battle_won": False, "episode_limit": True}
        return self.steps / 8, self.ended, info

    def get_obs(self):
        width = self.get_env_info()["obs_shape"]
        base = 100 * self.number + 10 * self.steps
        return [np.full(width, (base + agent) / UNIT) for agent in range(self.params["n_agents"])]

    def get_state(self):
        return np.full(self.get_env_info()["state_shape"], (100 * self.number + self.steps) / UNIT)

    def get_avail_actions(self):
        row = [0, 1, 1, 0, 1, 0] + [int(self.steps > 1)] * self.params["n_enemies"]
        return [row] * self.params["n_agents"]

    def save_replay(self):
        (Path(self.replay_dir) / f"{self.map_name}-{self.number}.SC2Replay").touch()

    def close(self):
        folder = os.environ.get("FAKE_SMAC_CLOSED")
        if folder:
            (Path(folder) / str(os.getpid())).touch()
        if _goes_wrong("hang at the end"):
            time.sleep(600)
        sys.stdout.flush()


def _goes_wrong(what):
    """FAKE_SMAC is "<what>:<how often, in all games together>"; each time leaves a file."""
    kind, _, often = os.environ.get("FAKE_SMAC", "").partition(":")
    if kind != what:
        return False
    for number in range(int(often)):
        try:
            (Path(os.environ["FAKE_SMAC_TROUBLES"]) / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False
