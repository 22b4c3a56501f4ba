"""A game loop as phases: targets, movement, collisions, fire, damage, regeneration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.specs import EAST, FIRST_TARGET, NORTH, SOUTH, WEST

FAR = 1e6


@dataclass
class Orders:
    """What every unit is told during one step.

    target [N, B] int64: unit to attack or heal, -1 for none. move_x, move_y [N, B]: unit direction of
    a move, zero for none. automatic [N, B] bool: takes targets itself (enemies, stopped allies).
    """

    target: Tensor
    move_x: Tensor
    move_y: Tensor
    automatic: Tensor


def orders_of(roster: Roster, actions: Tensor, march: Tensor) -> Orders:
    """actions [A, B] int64; march [2]: direction of the enemies' attack-move (zero: they hold)."""
    n, e, b = roster.n_allies, roster.n_enemies, actions.shape[1]
    aimed = actions >= FIRST_TARGET
    first = torch.where(roster.is_medivac[:n], 0, n) - FIRST_TARGET
    target = torch.where(aimed, actions + first, -1)
    east = (actions == EAST).float() - (actions == WEST).float()
    north = (actions == NORTH).float() - (actions == SOUTH).float()
    stopped = ~aimed & (east == 0) & (north == 0)
    return Orders(
        target=torch.cat([target, target.new_full((e, b), -1)]),
        move_x=torch.cat([east, march[0].expand(e, b)]),
        move_y=torch.cat([north, march[1].expand(e, b)]),
        automatic=torch.cat([stopped, stopped.new_ones(e, b)]),
    )


def game_loop(roster: Roster, terrain: Terrain, s: BattleState, orders: Orders, jitter: Tensor) -> None:
    """One game loop, in place. jitter [N, B]: loops added to the period of a shot of this step."""
    choose_targets(roster, s, orders)
    has_target = s.target >= 0
    index = s.target.clamp(min=0)
    dx, dy = s.x.gather(0, index) - s.x, s.y.gather(0, index) - s.y
    distance = torch.sqrt(dx * dx + dy * dy).clamp(min=1e-6)
    reach = roster.weapon_range + roster.radius + roster.radius.expand_as(s.x).gather(0, index)
    in_range = has_target & (distance <= reach)
    move(roster, terrain, s, orders, has_target, in_range, dx / distance, dy / distance)
    fires = in_range & (s.cooldown <= 0) & s.alive
    s.cooldown = torch.where(fires, roster.period + jitter, (s.cooldown - 1).clamp(min=0))
    hurt(roster, s, fires, index)


def choose_targets(roster: Roster, s: BattleState, orders: Orders) -> None:
    """Ordered targets; else the target so far while it lives and is near; else the nearest opponent."""
    n = roster.n_allies
    alive = s.alive
    dx = s.x[:n].unsqueeze(1) - s.x[n:].unsqueeze(0)  # [A, E, B]
    dy = s.y[:n].unsqueeze(1) - s.y[n:].unsqueeze(0)
    distance = torch.sqrt(dx * dx + dy * dy)
    distance = torch.where(alive[:n].unsqueeze(1) & alive[n:].unsqueeze(0), distance, FAR)
    near_enemy, nearest_enemy = distance.min(1)  # of each ally
    near_ally, nearest_ally = distance.min(0)
    near = torch.cat([near_enemy, near_ally])
    nearest = torch.cat([nearest_enemy + n, nearest_ally])
    index = s.target.clamp(min=0)
    kept = (s.target >= 0) & alive.gather(0, index)
    found = torch.where(near <= c.ACQUIRE_RANGE, nearest, -1)
    automatic = torch.where(kept, s.target, found)
    s.target = torch.where(alive, torch.where(orders.automatic, automatic, orders.target), -1)
    dead_target = ~alive.gather(0, s.target.clamp(min=0))
    s.target = torch.where(dead_target, -1, s.target)


def move(
    roster: Roster,
    terrain: Terrain,
    s: BattleState,
    orders: Orders,
    has_target: Tensor,
    in_range: Tensor,
    to_x: Tensor,
    to_y: Tensor,
) -> None:
    """Walk towards the target or along the order, then push overlapping units apart."""
    speed = roster.speed * s.alive * ~in_range
    x = s.x + speed * torch.where(has_target, to_x, orders.move_x)
    y = s.y + speed * torch.where(has_target, to_y, orders.move_y)
    dx, dy = x.unsqueeze(1) - x.unsqueeze(0), y.unsqueeze(1) - y.unsqueeze(0)  # [N, N, B]
    distance = torch.sqrt(dx * dx + dy * dy).clamp(min=1e-3)
    apart = 0.918 * (roster.radius + roster.radius.t()).unsqueeze(2)
    both = (
        s.alive.unsqueeze(1)
        & s.alive.unsqueeze(0)
        & ~roster.flying.unsqueeze(1)
        & ~roster.flying.view(1, -1, 1)
    )
    push = torch.where(both, (apart - distance).clamp(min=0) / distance / 2, 0.0)
    x, y = x + (push * dx).sum(1), y + (push * dy).sum(1)
    free = terrain.walkable(x, y) & s.alive
    s.x, s.y = torch.where(free, x, s.x), torch.where(free, y, s.y)


def hurt(roster: Roster, s: BattleState, fires: Tensor, index: Tensor) -> None:
    """Damage of all shots of this loop: shields first, the rest to health."""
    shooter = torch.arange(s.x.shape[0], device=s.x.device).unsqueeze(1)
    flat = shooter * s.x.shape[0] + index
    blow = torch.where(fires, roster.damage.flatten()[flat], 0.0)
    damage = torch.zeros_like(s.health).scatter_add_(0, index, blow)
    absorbed = torch.minimum(damage, s.shield)
    s.shield = s.shield - absorbed
    s.health = (s.health - (damage - absorbed)).clamp(min=0)
    s.since_damage = torch.where(damage > 0, 0.0, s.since_damage + 1)
    grows = (s.since_damage > c.SHIELD_DELAY_LOOPS) & s.alive
    s.shield = torch.minimum(s.shield + c.SHIELD_PER_LOOP * grows, roster.shield.expand_as(s.shield))
