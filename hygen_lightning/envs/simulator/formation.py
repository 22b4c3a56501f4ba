"""Where units stand when a battle begins.

In the recordings of 3m the first Marine stands on the spawn point and the others 0.6885 south and
east of it: the game packs units around the point at 0.918 of the sum of their radii. Larger teams
continue this pattern on a square lattice, nearest places first (an assumption). Enemies have walked
one game loop along their attack-move when the first observation is taken.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.calibration import PACKING
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.units import UNITS
from hygen_lightning.specs import UserError
from hygen_lightning.tasks.battles import BattleTask

LATTICE = 0.6885 / 2
"""Places are tried on this lattice."""
REACH = 24
"""Places up to this many lattice steps from the spawn point are tried."""


def formation(task: BattleTask, terrain: Terrain) -> tuple[Tensor, Tensor]:
    """x, y [N] float32 at the start, allies sorted as SMAC does (unit type, x, y)."""
    allies = _packed(task.ally_units, task.ally_spawns, terrain)
    enemies = _packed(task.enemy_units, task.enemy_spawns, terrain)
    order = sorted(range(len(allies)), key=lambda i: (task.ally_units.index(task.ally_units[i]), allies[i]))
    places = [allies[i] for i in order] + enemies
    return torch.tensor([p[0] for p in places]), torch.tensor([p[1] for p in places])


def _packed(
    units: tuple[str, ...], spawns: tuple[tuple[float, float], ...], terrain: Terrain
) -> list[tuple[float, float]]:
    """One place per unit, each the nearest free one to its spawn point."""
    offsets = _offsets()
    open_cells = terrain.open.tolist()
    taken: list[tuple[float, float, float]] = []
    for unit, (x0, y0) in zip(units, spawns):
        radius = UNITS[unit].footprint
        for dx, dy in offsets:
            x, y = x0 + dx, y0 + dy
            free = all(math.hypot(x - u, y - v) > PACKING * (radius + r) - 1e-6 for u, v, r in taken)
            if free and open_cells[int(y)][int(x)]:
                taken.append((x, y, radius))
                break
        else:
            raise UserError(f"no room for {len(units)} units around {spawns[0]} on terrain {terrain.name!r}")
    return [(x, y) for x, y, _ in taken]


def _offsets() -> list[tuple[float, float]]:
    """Lattice places, nearest first; of equally near ones south, east, north, west."""
    steps = range(-REACH, REACH + 1)
    cells = [(i, j) for i in steps for j in steps]
    cells.sort(
        key=lambda c: (
            c[0] ** 2 + c[1] ** 2,
            math.atan2(c[1], c[0]) + math.pi / 2 < 0,
            math.atan2(c[1], c[0]),
        )
    )
    return [(i * LATTICE, j * LATTICE) for i, j in cells]
