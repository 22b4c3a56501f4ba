"""Where units can stand, and the ways around walls, from the cliff levels of the SMAC map files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.constants import WALL_MARGIN
from hygen_lightning.tasks.maps import terrain_levels

if TYPE_CHECKING:
    from hygen_lightning.envs.simulator.unit_params import UnitParams

PLAYABLE_FROM, PLAYABLE_TO = 2, 30
"""Playable area of every map in both directions. The recordings confirm x < 30 and the 28 units
by which SMAC scales positions; the rest is an assumption that holds for all spawn points."""
VOID = "0"
"""Cliff level of cells that no unit enters."""
RAMP = "r"
"""A cell that joins two levels."""
NO_WAY = 1e6
"""Length of a way that does not exist."""
SAMPLES = 96
"""Points tested along a line of sight: closer together than half a cell on every map."""

_tables: dict[str, Tensor | None] = {}
"""Way tables computed so far, by terrain."""


@dataclass(frozen=True)
class Terrain:
    """Walkable cells of one terrain.

    open [H, W] bool, row y, column x. level [H, W] float: cliff level, ramps half way, -9 for void.
    box: x0, x1, y0, y1 of the open cells if they form a rectangle of one level, else None.
    ways [C, C] int16 or None: from cell to cell, the cell to walk to next (`way_table`); None where
    every straight line between open cells is free. Cliff walkers ignore it: on the only map that has
    them, every straight line is free for them.
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
        """Where a step from x, y to to_x, to_y ends: units stop at walls and cliffs and slide along them."""
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


def way_table(name: str, level: Tensor) -> Tensor | None:
    """[cells, cells] int16: the cell to walk to in a straight line, on the way from cell a to cell b.

    It is b itself where the line is free, else the corner of the shortest way, else (no way) b. None
    if every line between open cells is free. level [H, W]: cliff levels, negative for void; a line is
    free where the level never jumps by more than one half. Computed once per terrain.
    """
    if name not in _tables:
        _tables[name] = _way_table(level)
    return _tables[name]


def _way_table(level: Tensor) -> Tensor | None:
    height, width = level.shape
    cells = (level.flatten() > 0).nonzero().flatten()  # [C]
    sight = _line_of_sight(level, cells)
    if bool(sight.all()):
        return None
    x, y = (cells % width).float(), torch.div(cells, width, rounding_mode="floor").float()
    length = torch.hypot(x.unsqueeze(0) - x.unsqueeze(1), y.unsqueeze(0) - y.unsqueeze(1))
    edges = torch.where(sight, length, NO_WAY)
    total, via = edges, torch.arange(len(cells)).expand(len(cells), -1)
    for _ in range(6):  # each round doubles the corners of a way
        closer, corner = _shortest_by_one_corner(total)
        better = closer < total - 1e-4
        via = torch.where(better, via.gather(1, corner), via)
        total = torch.where(better, closer, total)
    table = torch.arange(height * width, dtype=torch.int16).expand(height * width, -1).clone()
    table[cells.unsqueeze(1), cells.unsqueeze(0)] = cells[via].to(torch.int16)
    return table


def _shortest_by_one_corner(total: Tensor) -> tuple[Tensor, Tensor]:
    """total [C, C] -> the shortest way over any one cell [C, C], and that cell."""
    rows = [(row.unsqueeze(1) + total).min(0) for row in total]
    return torch.stack([r.values for r in rows]), torch.stack([r.indices for r in rows])


def _line_of_sight(level: Tensor, cells: Tensor) -> Tensor:
    """[C, C] bool: whether the straight line between two cells is free."""
    width = level.shape[1]
    flat = level.flatten()
    x, y = cells % width + 0.5, torch.div(cells, width, rounding_mode="floor") + 0.5
    free = torch.ones(len(cells), len(cells), dtype=torch.bool)
    before = flat[cells].unsqueeze(1)
    for part in torch.linspace(0, 1, SAMPLES):
        px = x.unsqueeze(1) + (x.unsqueeze(0) - x.unsqueeze(1)) * part
        py = y.unsqueeze(1) + (y.unsqueeze(0) - y.unsqueeze(1)) * part
        now = flat[py.long() * width + px.long()]
        free &= (now - before).abs() <= 0.5
        before = now
    return free
