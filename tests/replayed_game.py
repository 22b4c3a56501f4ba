"""SMAC's real package without a game: units, step by step, come from a file that the simulator filled.

Run by the interpreter of the games in place of the worker, whose path is its first argument: REPLAYED_GAME
names an .npz file with kinds, health_max, shield_max [N]; x, y, health, shield, energy, cooldown [T, N];
n_allies; pathing [X, Y].
"""

import os
import runpy
import sys
from types import SimpleNamespace

import numpy as np
from smac.env import StarCraft2Env

PLAYABLE = 28
"""Width and height of the playable area of SMAC's maps."""


class Controller:
    """What SMAC asks of a game: orders are taken and not followed, time goes on as recorded."""

    def __init__(self, game):
        self.game, self.now = game, 0

    def observe(self):
        units = [self.unit(number) for number in range(len(self.game["kinds"]))]
        raw = SimpleNamespace(units=[unit for unit in units if unit.health > 0])
        return SimpleNamespace(observation=SimpleNamespace(raw_data=raw))

    def unit(self, number):
        game, now = self.game, self.now
        told = ("health", "shield", "energy")
        numbers = {name: float(game[name][now, number]) for name in told}
        return SimpleNamespace(
            **numbers,
            tag=number + 1,
            owner=1 if number < int(game["n_allies"]) else 2,
            unit_type=int(game["kinds"][number]),
            pos=SimpleNamespace(x=float(game["x"][now, number]), y=float(game["y"][now, number])),
            health_max=float(game["health_max"][number]),
            shield_max=float(game["shield_max"][number]),
            weapon_cooldown=max(float(game["cooldown"][now, number]), 0.0),
        )

    def actions(self, request):
        """Orders, already made of protobuf messages."""

    def step(self, loops):
        self.now += 1


def launch(self):
    """In place of StarCraft2Env._launch."""
    game = dict(np.load(os.environ["REPLAYED_GAME"]))
    self._controller = Controller(game)
    self.pathing_grid = game["pathing"]
    self.map_x, self.map_y = self.pathing_grid.shape
    self.max_distance_x = self.max_distance_y = PLAYABLE


if __name__ == "__main__":
    StarCraft2Env._launch = launch
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
