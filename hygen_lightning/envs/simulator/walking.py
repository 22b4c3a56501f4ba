"""How units walk: towards targets or along orders, around each other, inside the walls."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.state import BattleState, flag, root
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams

TINY = 1e-6
FAR = 1e6
LEFT_FROM = 1e-3
"""Map units by which the left edge has to be nearer (or the step has to lead left) for a unit to pass on its
left; else it passes on its right (measured in the first step of the recordings: two that meet both pass on
their right)."""


def wanted_velocity(
    params: UnitParams,
    terrain: Terrain,
    s: BattleState,
    heading: tuple[Tensor, Tensor],
    chasing: Tensor,
    standing: Tensor,
) -> tuple[Tensor, Tensor]:
    """vx, vy [N, B] in map units per loop, as if nothing were in the way.

    chasing [N, B]: 1.0 for units that walk to their target; standing [N, B]: 1.0 for those that do not
    walk. All others walk on: allies along their heading (east, north) [A, B], enemies towards their goal.
    """
    n, (east, north) = params.n_allies, heading
    index = s.target.clamp(min=0)
    aim_x = torch.where(chasing > 0, s.x.gather(0, index), torch.cat([s.x[:n] + east, s.goal_x]))
    aim_y = torch.where(chasing > 0, s.y.gather(0, index), torch.cat([s.y[:n] + north, s.goal_y]))
    aim_x, aim_y = terrain.waypoint(params, s.x, s.y, aim_x, aim_y)
    dx, dy = aim_x - s.x, aim_y - s.y
    distance = root(dx * dx + dy * dy)
    pace = torch.minimum(params.speed, distance) / distance.clamp(min=TINY)
    pace = torch.where((standing > 0) | ~s.alive, 0.0, pace)
    return dx * pace, dy * pace


def walk(params: UnitParams, terrain: Terrain, s: BattleState, vx: Tensor, vy: Tensor, lot: Tensor) -> None:
    """Move every unit by its velocity [N, B], around and apart from the others, inside the walls.

    - A unit blocked by a walking one passes along the tangent, at full speed.
    - A unit blocked by a standing one slides around it (SLIDE_TURN), past the nearer edge of all units
      that stand there.
    - Two allies that walk into each other turn aside (YIELD_TURN).
    - Overlaps above CONTACT_SLACK are pushed apart by whoever walks into the other: a unit does not give
      way to one that comes from behind or from the side (measured in the first step of the recordings: of
      three Marines that meet, the one ahead keeps its line), except in its first loop of standing, by lot
      (SHOVE_ODDS). lot [N, B]: `Plan.lot`.
    """
    px = torch.where(s.alive, s.x, FAR)  # the dead block nobody
    moves = vx * vx + vy * vy > 0
    walks, still = flag(moves), flag(s.alive & ~moves)
    soft = flag(s.alive & ~moves & (s.walked > 0) & _soft(lot))
    s.walked = walks
    speed = root(vx * vx + vy * vy).clamp(min=TINY)
    ux, uy = vx / speed, vy / speed
    px, walks, still, soft, vx, vy, ux, uy = (_written(x) for x in (px, walks, still, soft, vx, vy, ux, uy))
    dx, dy = px.unsqueeze(0) - px.unsqueeze(1), s.y.unsqueeze(0) - s.y.unsqueeze(1)  # [i, j, B]: i to j
    # In place where no other line reads the tensor: time goes into memory traffic.
    distance = root((dx * dx).add_(dy * dy)).clamp_(min=TINY)
    inverse = distance.reciprocal()
    nx, ny = dx.mul_(inverse), dy.mul_(inverse)
    overlap = params.apart - distance
    towards, away = _along(vx, vy, nx, ny)
    zero = torch.zeros((), device=vx.device)  # masks of pairs are numbers: compiled code reads bools slowly
    shoved = torch.where(towards > TINY, soft.unsqueeze(0), zero)  # [i, j, B]: i pushes j on
    meeting = (overlap + towards).sub_(away)
    blocked = torch.where((towards > TINY) & (meeting > c.CONTACT_SLACK), 1.0 - shoved, zero)
    facing = torch.where((towards > c.WALKS_INTO_PER_LOOP) & (away < -c.WALKS_INTO_PER_LOOP), blocked, zero)
    meets = facing * params.gives_way  # 1: i gives way, -1: i passes
    around = torch.where(meets < 0, blocked, blocked * still.unsqueeze(0))
    turn = _turn(s.target, around.amax(1), meets.amax(1))
    obstacle = torch.maximum(still.unsqueeze(0), meets.abs())
    ahead = torch.where((towards > 0) & (distance < c.SLIDE_AHEAD * params.apart), obstacle, zero)
    aside = (ux.unsqueeze(1) * ny).sub_(uy.unsqueeze(1) * nx).mul_(distance)  # j, to the left of i's way
    left = torch.where(ahead > 0, params.apart + aside, -FAR).amax(1)
    right = torch.where(ahead > 0, params.apart - aside, -FAR).amax(1)
    turn = _signed(turn, left, right)
    # Share of an overlap that i takes, where a rule fixes it (else -1): the rest where it pushes j on,
    # SHOVED_SHARE where it is pushed on, all where it gives way, nothing where it passes.
    forced = torch.where(towards > TINY, soft.unsqueeze(0) * (2.0 - c.SHOVED_SHARE) - 1.0, -1.0)
    forced = torch.where((away < -TINY) & (soft.unsqueeze(1) > 0), c.SHOVED_SHARE, forced)
    forced = torch.where(meets > 0, 1.0, torch.where(meets < 0, 0.0, forced))
    weight = blocked * meeting
    vx, vy = _turned(vx, vy, turn, *_around(vx, vy, _total(weight * nx), _total(weight * ny)))
    towards, away = _along(vx, vy, nx, ny)
    share = walks.unsqueeze(1) * (1.0 - 0.5 * walks.unsqueeze(0))
    comes, met = towards > c.WALKS_INTO_PER_LOOP, away < -c.WALKS_INTO_PER_LOOP
    share = torch.where(comes & ~met, 1.0, torch.where(met & ~comes, 0.0, share))
    share = torch.where(forced >= 0, forced, share)
    push = overlap.add_(towards).sub_(away)
    push = torch.where(push > c.CONTACT_SLACK, push, 0.0).mul_(share)
    x, y = s.x + vx - _total(push * nx), s.y + vy - _total(push * ny)
    x, y = torch.where(s.alive, x, s.x), torch.where(s.alive, y, s.y)
    s.x, s.y = terrain.kept_inside(params, s.x, s.y, x, y)


def _written(x: Tensor) -> Tensor:
    """The same tensor. Compiled code writes it to memory here, and does not compute it for every pair."""
    return x.as_strided(x.shape, x.stride()) if torch.compiler.is_compiling() else x


def _soft(lot: Tensor) -> Tensor:
    """lot [N, B] -> [N, B] bool: which units can be pushed in their first loop of standing."""
    return (lot * c.LOOPS_PER_STEP).remainder(1.0) < c.SHOVE_ODDS  # the integer part chose a look_loop


def _turn(target: Tensor, slides: Tensor, yields: Tensor) -> Tensor:
    """[N, B] radians by which a unit turns aside; 0 if nothing requires it.

    target [N, B] int64. slides [N, B]: above 0 where a unit that stands or gives way is ahead; yields
    [N, B]: above 0 where the unit itself gives way to an ally.
    """
    by = torch.where(target >= 0, c.SLIDE_TURN, c.AIMLESS_SLIDE_TURN)
    return torch.where(yields > 0, c.YIELD_TURN, torch.where(slides > 0, by, 0.0))


def _signed(turn: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """turn [N, B] with a sign: positive is left. To the nearer edge, to the right if they are equal.

    left, right [N, B]: map units that a unit must go aside to pass."""
    return torch.where(left < right - LEFT_FROM, turn, -turn)


def _turned(vx: Tensor, vy: Tensor, turn: Tensor, else_x: Tensor, else_y: Tensor) -> tuple[Tensor, Tensor]:
    """The velocity turned by `turn` radians (left is positive), or (else_x, else_y) where that is 0."""
    cos, sin = torch.cos(turn), torch.sin(turn)
    x, y = vx * cos - vy * sin, vx * sin + vy * cos
    return torch.where(turn == 0, else_x, x), torch.where(turn == 0, else_y, y)


def _along(vx: Tensor, vy: Tensor, nx: Tensor, ny: Tensor) -> tuple[Tensor, Tensor]:
    """[i, j, B] each: how far i and j walk along (nx, ny), the direction from i to j."""
    towards = (vx.unsqueeze(1) * nx).add_(vy.unsqueeze(1) * ny)
    return towards, (vx.unsqueeze(0) * nx).add_(vy.unsqueeze(0) * ny)


def _total(pushes: Tensor) -> Tensor:
    """[N, N, B] -> [N, B]: a sum that depends neither on the batch nor on who compiled it: in float64,
    rounded once."""
    return pushes.sum(1, dtype=torch.float64).float()


def _around(vx: Tensor, vy: Tensor, bx: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """The velocity turned along the tangent of what blocks it. bx, by [N, B]: direction of the obstacle."""
    speed = root(vx * vx + vy * vy)
    strength = root(bx * bx + by * by)
    blocked = strength > TINY
    scale = speed / strength.clamp(min=TINY)
    left = bx * vy - by * vx > LEFT_FROM * strength
    turn = torch.where(left, scale, -scale)
    return torch.where(blocked, -by * turn, vx), torch.where(blocked, bx * turn, vy)
