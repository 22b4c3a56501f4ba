"""One outline per unit type, so that types can be told apart without colours."""

from __future__ import annotations

import math

Point = tuple[float, float]


def _regular(corners: int, turn: float = 0.0) -> list[Point]:
    """A regular polygon in the unit circle; turn 0 has a corner at the top. y points down."""
    angles = [2 * math.pi * (k / corners + turn) for k in range(corners)]
    return [(math.sin(a), -math.cos(a)) for a in angles]


def _star(points: int, inner: float) -> list[Point]:
    """A star in the unit circle whose dents have radius `inner`."""
    outline = _regular(2 * points)
    return [(x, y) if k % 2 == 0 else (x * inner, y * inner) for k, (x, y) in enumerate(outline)]


def _cross(width: float) -> list[Point]:
    """A plus sign with arms of this half-width: three corners of one arm, turned four times."""
    arm, outline = [(-width, -1.0), (width, -1.0), (width, -width)], []
    for _ in range(4):
        outline += arm
        arm = [(-y, x) for x, y in arm]
    return outline


UNIT_SHAPES: dict[str, tuple[float, list[Point]]] = {
    "marine": (0.42, _regular(24)),
    "marauder": (0.6, _regular(4, 1 / 8)),
    "medivac": (0.72, _cross(0.38)),
    "stalker": (0.68, _regular(4)),
    "zealot": (0.6, _regular(3)),
    "colossus": (0.95, _regular(6)),
    "hydralisk": (0.6, _regular(5)),
    "zergling": (0.5, _regular(3, 1 / 2)),
    "baneling": (0.5, _star(8, 0.72)),
    "spinecrawler": (0.95, _star(5, 0.5)),
    "agent": (0.45, _regular(16)),
}
"""Radius in map units (about the unit's own) and outline within the unit circle."""


def shape_of(unit: str) -> tuple[float, list[Point]]:
    """Radius and outline of a unit type; a hexagon for one that has no shape of its own."""
    return UNIT_SHAPES.get(unit, (0.62, _regular(6)))
