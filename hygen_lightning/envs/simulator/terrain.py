"""Where units may stand: cells of a terrain, from the cliff levels of the SMAC map files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.tasks.maps import terrain_levels

PLAYABLE_FROM, PLAYABLE_TO = 2, 30
"""Playable area of every map in both directions. The recordings confirm x < 30 and the 28 units
by which SMAC scales positions; the rest is an assumption that holds for all spawn points."""
VOID = "0"
"""Cliff level that no unit enters."""
CENTRE, EXTENT = 16.0, 28.0
"""SMAC's state holds (position - CENTRE) / EXTENT (map size / 2, playable size)."""


@dataclass(frozen=True)
class Terrain:
    """Walkable cells. open [H, W] bool, row y, column x."""

    name: str
    open: Tensor

    @classmethod
    def of(cls, name: str, device: torch.device) -> Terrain:
        levels = terrain_levels(name)
        inside = range(PLAYABLE_FROM, PLAYABLE_TO)
        grid = [
            [level != VOID and x in inside and y in inside for x, level in enumerate(row)]
            for y, row in enumerate(levels)
        ]
        return cls(name, torch.tensor(grid, device=device))

    def walkable(self, x: Tensor, y: Tensor) -> Tensor:
        """Whether the cells that hold these points are open; False outside of the map."""
        height, width = self.open.shape
        column, row = x.floor().long(), y.floor().long()
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        cell = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        return self.open.flatten()[cell] & inside
