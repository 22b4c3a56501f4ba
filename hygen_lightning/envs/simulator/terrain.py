"""Where units may stand and how they get there, from the cliff levels of the SMAC map files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.calibration import WALL_MARGIN
from hygen_lightning.envs.simulator.paths import way_table
from hygen_lightning.tasks.maps import terrain_levels

if TYPE_CHECKING:
    from hygen_lightning.envs.simulator.unit_params import UnitParams

PLAYABLE_FROM, PLAYABLE_TO = 2, 30
"""Playable area of every map in both directions. The recordings confirm x < 30 and the 28 units
by which SMAC scales positions; the rest is an assumption that holds for all spawn points."""
VOID = "0"
"""Cliff level that no unit enters."""
RAMP = "r"
"""A cell that joins two levels."""
CENTRE, EXTENT = 16.0, 28.0
"""SMAC's state holds (position - CENTRE) / EXTENT (map size / 2, playable size)."""


@dataclass(frozen=True)
class Terrain:
    """Walkable cells of one terrain.

    open [H, W] bool, row y, column x. level [H, W] float: cliff level, ramps half way, -9 for void.
    box: x0, x1, y0, y1 of the open cells if they form a rectangle of one level, else None.
    ways [C, C] int16 or None: from cell to cell, the cell to walk to next (see paths.py); None where
    every straight line between open cells is free. Cliff walkers need none: on the map where they
    fight, every straight line is free for them.
    """

    name: str
    open: Tensor
    level: Tensor
    box: tuple[float, float, float, float] | None
    ways: Tensor | None

    @classmethod
    def of(cls, name: str, device: torch.device) -> Terrain:
        levels = terrain_levels(name)
        inside = range(PLAYABLE_FROM, PLAYABLE_TO)
        grid = torch.tensor(
            [
                [level != VOID and x in inside and y in inside for x, level in enumerate(row)]
                for y, row in enumerate(levels)
            ]
        )
        heights = sorted({level for row in levels for level in row} - {VOID, RAMP})
        middle = sum(float(h) for h in heights) / len(heights)
        level = torch.tensor([[middle if v == RAMP else float(v) for v in row] for row in levels])
        level = torch.where(grid, level, -9.0)
        box = _box(grid) if len(heights) == 1 else None
        ways = None if box else way_table(name, level)
        return cls(
            name=name,
            open=grid.to(device),
            level=level.to(device),
            box=box,
            ways=None if ways is None else ways.to(device),
        )

    def walkable(self, x: Tensor, y: Tensor) -> Tensor:
        """Whether the cells that hold these points are open; False outside of the map."""
        if self.box is not None:
            x0, x1, y0, y1 = self.box
            return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        cell, inside = self._cell(x, y)
        return self.open.flatten()[cell] & inside

    def waypoint(
        self, params: UnitParams, x: Tensor, y: Tensor, to_x: Tensor, to_y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where to walk next, on the way from x, y to to_x, to_y."""
        if self.ways is None:
            return to_x, to_y
        width = self.open.shape[1]
        here, _ = self._cell(x, y)
        there, _ = self._cell(to_x, to_y)
        via = self.ways[here, there].long()
        direct = (via == there) | params.flying | params.cliff_walking
        return (
            torch.where(direct, to_x, via % width + 0.5),
            torch.where(direct, to_y, torch.div(via, width, rounding_mode="floor") + 0.5),
        )

    def kept_inside(
        self, params: UnitParams, x: Tensor, y: Tensor, to_x: Tensor, to_y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The step from x, y to to_x, to_y, stopped at walls and cliffs; units slide along them."""
        if self.box is not None:
            x0, x1, y0, y1 = self.box
            m = WALL_MARGIN
            return to_x.clamp(x0 + m, x1 - m), to_y.clamp(y0 + m, y1 - m)
        free_x = self._passable(params, x, y, to_x, y)
        new_x = torch.where(free_x, to_x, x)
        free_y = self._passable(params, new_x, y, new_x, to_y)
        return new_x, torch.where(free_y, to_y, y)

    def _passable(self, params: UnitParams, x: Tensor, y: Tensor, to_x: Tensor, to_y: Tensor) -> Tensor:
        """Whether a unit may step between these points: no void, no cliff without a ramp."""
        flat = self.level.flatten()
        here, there = flat[self._cell(x, y)[0]], flat[self._cell(to_x, to_y)[0]]
        on_map = (
            (to_x >= PLAYABLE_FROM) & (to_x < PLAYABLE_TO) & (to_y >= PLAYABLE_FROM) & (to_y < PLAYABLE_TO)
        )
        climbs = (there - here).abs() <= 0.5
        return on_map & (params.flying | ((there > 0) & (climbs | params.cliff_walking)))

    def _cell(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the cell that holds a point, clamped to the map, and whether it is on the map."""
        height, width = self.open.shape
        column, row = x.floor().long(), y.floor().long()
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside


def _box(grid: Tensor) -> tuple[float, float, float, float] | None:
    """The rectangle that the open cells fill, or None."""
    rows, columns = grid.any(1).nonzero().flatten(), grid.any(0).nonzero().flatten()
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    filled = bool(grid[y0:y1, x0:x1].all())
    return (float(x0), float(x1), float(y0), float(y1)) if filled else None
