"""Ways around walls: for every pair of cells the corner to walk to next, computed once per terrain."""

from __future__ import annotations

import torch
from torch import Tensor

FAR = 1e6
SAMPLES = 96
"""Points tested along a line of sight: closer together than half a cell on every map."""

_tables: dict[str, Tensor | None] = {}
"""Tables found so far, by terrain."""


def way_table(name: str, level: Tensor) -> Tensor | None:
    """[cells, cells] int16: from cell a on the way to cell b, the cell to walk to in a straight line.

    It is b itself where the line is free, else the corner that makes the way shortest, else (no way
    at all) b. None where every line between open cells is free. level [H, W]: cliff levels, negative
    for void; a line is free where the level never jumps by more than one half.
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
    edges = torch.where(sight, length, FAR)
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
