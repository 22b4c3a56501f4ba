"""Where units walk: towards targets, along orders, around one another, inside the walls."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.orders import Orders
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.terrain import Ground

TINY = 1e-6
FAR = 1e6
HEAD_ON = 1e-3
"""Sideways part of a step, in map units, below which two units meet head on; then both pass on
their right (measured in the first step of the recordings)."""


def wanted_velocity(
    roster: Roster,
    terrain: Ground,
    s: BattleState,
    orders: Orders,
    chasing: Tensor,
    standing: Tensor,
) -> tuple[Tensor, Tensor]:
    """vx, vy [N, B] in map units per loop, before anything is in the way.

    chasing [N, B]: walks to its target; standing [N, B]: does not walk. Others follow their order:
    allies a direction, enemies the way to the goal of their attack-move.
    """
    n = roster.n_allies
    index = s.target.clamp(min=0)
    aim_x = torch.where(chasing, s.x.gather(0, index), torch.cat([s.x[:n] + orders.east, s.goal_x]))
    aim_y = torch.where(chasing, s.y.gather(0, index), torch.cat([s.y[:n] + orders.north, s.goal_y]))
    aim_x, aim_y = terrain.waypoint(roster, s.x, s.y, aim_x, aim_y)
    dx, dy = aim_x - s.x, aim_y - s.y
    distance = torch.sqrt(dx * dx + dy * dy)
    pace = torch.minimum(roster.speed, distance) / distance.clamp(min=TINY)
    pace = torch.where(standing | ~s.alive, 0.0, pace)
    return dx * pace, dy * pace


def walk(roster: Roster, terrain: Ground, s: BattleState, vx: Tensor, vy: Tensor) -> None:
    """Move every unit by its velocity: around units in its way, apart from others, inside the walls.

    A unit whose way is blocked walks past at full speed, along the tangent (measured: units behind a
    standing front slide around it). Overlaps of more than CONTACT_SLACK are pushed apart by those who
    walk into the other; nobody gives way to one who comes from behind or from the side (measured in the
    first step of the recordings: of three Marines that meet, the one walking ahead keeps its line).
    """
    px = torch.where(s.alive, s.x, FAR)  # the dead are in nobody's way
    dx, dy = px.unsqueeze(0) - px.unsqueeze(1), s.y.unsqueeze(0) - s.y.unsqueeze(1)  # [i, j, B]: i to j
    distance = (dx * dx).add_(dy * dy).sqrt_()  # in place where nobody else looks: memory is what costs
    overlap = roster.apart - distance
    inverse = distance.clamp_(min=TINY).reciprocal_()
    nx, ny = dx.mul_(inverse), dy.mul_(inverse)
    towards, away = _along(vx, vy, nx, ny)
    meeting = (overlap + towards).sub_(away)
    weight = torch.where((towards > TINY) & (meeting > c.CONTACT_SLACK), meeting, 0.0)
    vx, vy = _around(vx, vy, _total(weight * nx), _total(weight * ny))
    towards, away = _along(vx, vy, nx, ny)
    moving = vx * vx + vy * vy > 0
    share = torch.where(moving, 1.0, 0.0).unsqueeze(1) * torch.where(moving, 0.5, 1.0).unsqueeze(0)
    comes, met = towards > c.WALKS_INTO_PER_LOOP, away < -c.WALKS_INTO_PER_LOOP
    share = torch.where(comes & ~met, 1.0, torch.where(met & ~comes, 0.0, share))
    push = overlap.add_(towards).sub_(away)
    push = torch.where(push > c.CONTACT_SLACK, push, 0.0).mul_(share)
    x, y = s.x + vx - _total(push * nx), s.y + vy - _total(push * ny)
    x, y = torch.where(s.alive, x, s.x), torch.where(s.alive, y, s.y)
    s.x, s.y = terrain.kept_inside(roster, s.x, s.y, x, y)


def _along(vx: Tensor, vy: Tensor, nx: Tensor, ny: Tensor) -> tuple[Tensor, Tensor]:
    """[i, j, B] each: how far i and how far j walks in the direction nx, ny from i to j."""
    towards = (vx.unsqueeze(1) * nx).add_(vy.unsqueeze(1) * ny)
    return towards, (vx.unsqueeze(0) * nx).add_(vy.unsqueeze(0) * ny)


def _total(pushes: Tensor) -> Tensor:
    """[N, N, B] -> [N, B], in an order of the terms that makes no difference: a battle does not depend
    on its place in the batch, nor on rows of units that are not there. The sum is taken in float64;
    code compiled for CPU adds one row after another anyway."""
    if torch.compiler.is_compiling():
        return pushes.sum(1)
    return pushes.sum(1, dtype=torch.float64).float()


def _around(vx: Tensor, vy: Tensor, bx: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """The velocity turned along the tangent of what blocks it. bx, by [N, B]: direction of the block."""
    speed = torch.sqrt(vx * vx + vy * vy)
    strength = torch.sqrt(bx * bx + by * by)
    blocked = strength > TINY
    scale = speed / strength.clamp(min=TINY)
    left = bx * vy - by * vx > HEAD_ON * strength
    turn = torch.where(left, scale, -scale)
    return torch.where(blocked, -by * turn, vx), torch.where(blocked, bx * turn, vy)
