"""Directions in which allies should walk: to the nearest enemy, or to a place in an arc around it."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.specs import Side

FAR = 50.0
"""Map units that stand for the distance to a dead enemy: beyond any map."""
ARC_SPACING, ARC_TOLERANCE = 0.8, 0.6
"""Map units between neighbours in an arc; and to one's place in it along x and y: nearer, one stays."""
SMALLEST_ARC = 5.5
"""Radius in map units to which an arc bends at most: just within the range of most weapons."""


def distances(allies: Side, enemies: Side) -> Tensor:
    """[B, A, E] map units from each ally to each enemy; `FAR` for dead enemies."""
    distance = (allies.position[:, :, None] - enemies.position[:, None]).norm(dim=-1)
    return distance.masked_fill(~enemies.alive[:, None], FAR)


def unit_vectors(vectors: Tensor) -> Tensor:
    """vectors [..., 2] scaled to length 1; zeros stay zeros."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def centre(side: Side) -> Tensor:
    """[B, 1, 2] mean position of the living units of a side."""
    return mean_of_living(side.position, side.alive)


def mean_of_living(points: Tensor, alive: Tensor) -> Tensor:
    """points [B, N, 2] of N units, alive [B, N] bool -> mean [B, 1, 2]; zeros where nobody lives."""
    total = torch.where(alive[..., None], points, 0.0).sum(dim=1, keepdim=True)
    return total / alive.sum(dim=1).clamp(min=1)[:, None, None]


def towards_nearest(allies: Side, enemies: Side, distance: Tensor) -> Tensor:
    """[B, A, 2] direction from each ally to its nearest living enemy, zeros where none lives."""
    nearest = distance.argmin(dim=-1)[..., None].expand(-1, -1, 2)
    heading = enemies.position.gather(1, nearest) - allies.position
    return unit_vectors(heading) * enemies.alive.any(dim=-1)[:, None, None]


def towards_arc(allies: Side, enemies: Side) -> Tensor:
    """[B, A, 2] way of each ally to its place in an arc around the enemy that comes first.

    All allies of an arc reach that enemy at the same time, and it meets all their weapons. The arc
    lies across the way between the teams and keeps the middle of the allies where it is; places are
    handed out in the order in which the allies already stand. Zeros for allies so near to their
    place that a step (1.125 map units for a Marine) would overshoot.
    """
    middle = centre(allies)
    front = unit_vectors(centre(enemies) - middle)
    along = torch.stack([-front[..., 1], front[..., 0]], dim=-1)
    offset = ((allies.position - middle) * along).sum(dim=-1)
    place = offset.masked_fill(~allies.alive, 2 * FAR).argsort(dim=1).argsort(dim=1)
    half_width = (allies.alive.sum(dim=1, keepdim=True) - 1) / 2
    to_enemies = (enemies.position - middle).norm(dim=-1).masked_fill(~enemies.alive, FAR)
    radius = to_enemies.min(dim=1).values.clamp(min=SMALLEST_ARC)[:, None, None]
    angle = (ARC_SPACING * (place - half_width))[..., None] / radius
    bend = along * torch.sin(angle) + front * (1 - torch.cos(angle))
    goal = middle + radius * (bend - mean_of_living(bend, allies.alive))
    way = goal - allies.position
    return unit_vectors(way) * (way.abs().amax(dim=-1, keepdim=True) > ARC_TOLERANCE)


def move_scores(heading: Tensor) -> Tensor:
    """heading [..., 2] -> [..., 4] its cosine with north, south, east and west."""
    x, y = heading.unbind(dim=-1)
    return torch.stack([y, -y, x, -x], dim=-1)
