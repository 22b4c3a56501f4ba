"""One environment step: eight game loops, each a fixed sequence of phases."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.combat import fire, strike
from hygen_lightning.envs.simulator.movement import walk, wanted_velocity
from hygen_lightning.envs.simulator.orders import Orders, orders_of
from hygen_lightning.envs.simulator.randomness import uniform
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.targeting import choose_targets, first_look
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.specs import FIRST_TARGET

JITTER, NOTICE, SWITCH = 0, 1, 2
"""Independent streams of a battle's randomness; 3 shuffles the enemies at the start."""


def played(roster: Roster, terrain: Terrain, before: BattleState, actions: Tensor) -> BattleState:
    """The battles one step later. actions [A, B] int64. `before` is left as it is."""
    n = roster.n_allies
    s = copy.copy(before)
    orders = orders_of(roster, actions)
    low, high = c.COOLDOWN_JITTER_LOOPS
    jitter = low + (high - low) * uniform(s.seed, s.step, roster.n_units, JITTER)
    looks = (
        first_look(uniform(s.seed, s.step, roster.n_enemies, NOTICE), c.NOTICE_CHANCE_PER_LOOP),
        first_look(uniform(s.seed, s.step, roster.n_enemies, SWITCH), c.SWITCH_CHANCE_PER_LOOP),
    )
    new_attack = (actions != s.last_action) & (actions >= FIRST_TARGET)
    waiting = torch.where(new_attack, s.cooldown[:n].clamp(min=c.WIND_UP_LOOPS), s.cooldown[:n])
    s.cooldown = torch.cat([waiting, s.cooldown[n:]])
    for loop in torch.arange(c.LOOPS_PER_STEP, device=s.x.device).unbind():
        game_loop(roster, terrain, s, orders, looks, jitter, loop)
    s.last_action = actions
    s.step = before.step + 1
    return s


def game_loop(
    roster: Roster,
    terrain: Terrain,
    s: BattleState,
    orders: Orders,
    looks: tuple[Tensor, Tensor],
    jitter: Tensor,
    loop: Tensor,
) -> None:
    """Targets, movement, shots, damage: `s` one game loop later, in place."""
    choose_targets(roster, s, orders, looks, loop)
    has_target = s.target >= 0
    index = s.target.clamp(min=0)
    dx, dy = s.x.gather(0, index) - s.x, s.y.gather(0, index) - s.y
    in_range = has_target & (dx * dx + dy * dy <= roster.reach.gather(1, index).square())
    chasing = has_target & ~in_range
    vx, vy = wanted_velocity(roster, terrain, s, orders, chasing, in_range)
    walk(roster, terrain, s, vx, vy)
    fires = fire(roster, s, in_range, chasing, jitter)
    strike(roster, s, fires, in_range)


def first_loop(roster: Roster, terrain: Terrain, s: BattleState) -> BattleState:
    """New battles after the game loop in which the enemies set out (measured: the first recorded
    positions of 3m lie one loop of walking from the spawn point)."""
    walks = torch.arange(roster.n_units, device=s.x.device).unsqueeze(1) >= roster.n_allies
    idle = torch.zeros_like(s.x[: roster.n_allies])
    orders = Orders(target=s.last_action, east=idle, north=idle, menace=idle.unsqueeze(1))
    nothing = torch.zeros_like(s.x, dtype=torch.bool)
    vx, vy = wanted_velocity(roster, terrain, s, orders, nothing, ~walks.expand_as(s.x))
    s.x, s.y = s.x + vx, s.y + vy
    return s
