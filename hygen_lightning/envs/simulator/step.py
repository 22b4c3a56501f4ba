"""One environment step of B battles, phase by phase.

    give_orders       the allies' actions, and the random draws of the step
    game_loop, 8 x    targets (targeting.py) -> shots -> walking (walking.py) -> damage -> healing
    conclude          outcome, reward, observation

Every phase takes a `BattleState` [N units, B battles]. What happens to a battle does not depend on the
other battles of the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.observation import battle_observation, outcome, reward
from hygen_lightning.envs.simulator.state import STEP_STREAM, BattleState, flag, root, uniform
from hygen_lightning.envs.simulator.targeting import Plan, choose_targets, penalties
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.envs.simulator.walking import walk, wanted_velocity
from hygen_lightning.specs import TimeStep
from hygen_lightning.tasks.battles import EAST, FIRST_TARGET, NORTH, SOUTH, WEST

FUSED: dict[str, Any] = {"realize_opcount_threshold": 60, "realize_reads_threshold": 8}
"""Options of torch.compile for a game loop: fewer intermediate results are written to memory (measured on
two CPU cores: 3.9 ms instead of 6.8 for a loop of 2 256 battles of 10m_vs_11m)."""
LOT_FOLDS = 997.0
"""frac(997 u) is uniform and nearly independent of u: one draw serves two uses."""


@dataclass(frozen=True)
class Dynamics:
    """The phases of a step, plain or compiled. Compiled results may differ in rounding."""

    give_orders: Callable[[UnitParams, BattleState, Tensor], tuple[BattleState, Plan]]
    game_loop: Callable[[UnitParams, Terrain, BattleState, Plan, Tensor], BattleState]
    conclude: Callable[..., tuple[BattleState, TimeStep]]

    @classmethod
    def plain(cls) -> Dynamics:
        return cls(give_orders, game_loop, conclude)

    @classmethod
    def compiled(cls, dynamic: bool) -> Dynamics:
        """Fused by `torch.compile`, in this process only: for GPUs, and for the copies of `fidelity`.
        dynamic: one compilation serves any number of battles."""
        return cls(
            torch.compile(give_orders, dynamic=dynamic),
            torch.compile(game_loop, dynamic=dynamic, options=FUSED),
            torch.compile(conclude, dynamic=dynamic),
        )

    def step(
        self,
        params: UnitParams,
        terrain: Terrain,
        before: BattleState,
        actions: Tensor,
        fresh: BattleState | None = None,
    ) -> tuple[BattleState, TimeStep]:
        """A whole environment step. actions [A, B] int64; fresh: see `conclude`. `before` is not changed."""
        after = self.advance(params, terrain, before, actions)
        return self.conclude(params, terrain, before, after, fresh)

    def advance(
        self, params: UnitParams, terrain: Terrain, before: BattleState, actions: Tensor
    ) -> BattleState:
        """The battles after the game loops of a step, before `conclude`."""
        s, plan = self.give_orders(params, before, actions)
        for loop in torch.arange(c.LOOPS_PER_STEP, device=s.x.device).unbind():
            s = self.game_loop(params, terrain, s, plan, loop)
        return s


def give_orders(params: UnitParams, before: BattleState, actions: Tensor) -> tuple[BattleState, Plan]:
    """Turn the actions [A, B] into orders, and draw the random numbers of the step.

    An ally that stops takes no target by itself (measured: none fired after its target had died, before
    the next order).
    """
    n, e = params.n_allies, params.n_enemies
    draws = uniform(before.seed, before.step, params.draw, STEP_STREAM)
    jitter, look = draws.split([params.n_units, e])
    low, high = c.COOLDOWN_JITTER_LOOPS
    first_unit = torch.where(params.is_medivac[:n], 0, n)  # Medivacs aim at allies, all others at enemies
    target = torch.where(actions >= FIRST_TARGET, actions + (first_unit - FIRST_TARGET), -1)
    plan = Plan(
        target=target,
        east=(actions == EAST).float() - (actions == WEST).float(),
        north=(actions == NORTH).float() - (actions == SOUTH).float(),
        penalty=penalties(target, n, e),
        look=(look * c.LOOPS_PER_STEP).long(),
        jitter=low + (high - low) * jitter,
        lot=(jitter * LOT_FOLDS).remainder(1.0),
    )
    s = copy.copy(before)
    new_attack = (actions != s.last_action) & (actions >= FIRST_TARGET)
    winding_up = torch.where(new_attack, s.cooldown[:n].clamp(min=c.WIND_UP_LOOPS), s.cooldown[:n])
    s.cooldown = torch.cat([winding_up, s.cooldown[n:]])
    s.last_action = actions
    s.step = before.step + 1
    return s, plan


def game_loop(
    params: UnitParams, terrain: Terrain, before: BattleState, plan: Plan, loop: Tensor
) -> BattleState:
    """The battles one game loop later. loop: its number in the step, int64."""
    s = copy.copy(before)
    ally_near = choose_targets(params, s, plan, loop)
    in_range, chasing = range_to_target(params, s)
    fires = shooters(params, s, in_range)
    halted = halted_by_shot(s, ally_near, fires[: params.n_allies])
    standing = flag((in_range > 0) | (s.backswing_left > 0) | halted)
    vx, vy = wanted_velocity(params, terrain, s, (plan.east, plan.north), chasing, standing)
    walk(params, terrain, s, vx, vy, plan.lot)
    reload(params, s, fires, chasing, plan.jitter)
    harm, raw_harm = damage(params, s, fires > 0)
    hurt(params, s, harm, raw_harm)
    if params.has_medivacs:
        heal(params, s, in_range > 0)
    if params.has_zerg:
        regenerate(params, s)
    return s


# Shots


def range_to_target(params: UnitParams, s: BattleState) -> tuple[Tensor, Tensor]:
    """in_range, chasing [N, B]: 1.0 if the target is in weapon range, or exists and is not."""
    has_target = s.target >= 0
    index = s.target.clamp(min=0)
    dx, dy = s.x.gather(0, index) - s.x, s.y.gather(0, index) - s.y
    in_range = has_target & (dx * dx + dy * dy <= params.of_target(params.reach, index).square())
    return flag(in_range), flag(has_target & ~in_range)


def shooters(params: UnitParams, s: BattleState, in_range: Tensor) -> Tensor:
    """[N, B]: 1.0 for units that shoot in this loop. in_range [N, B]: 1.0 if the target is."""
    fires = torch.where((s.cooldown <= 0) & s.alive, in_range, 0.0)
    return fires * ~params.is_medivac if params.has_medivacs else fires


def halted_by_shot(s: BattleState, ally_near: Tensor, fires: Tensor) -> Tensor:
    """[N, B] bool: enemies without a target that stop in the loop in which an ally shoots.

    ally_near [E, B]: 1.0 if an ally is in their weapon range; fires [A, B]: 1.0 for a shot. (Measured: in
    the step of the first shot, an idle enemy with an ally within 5.75 stops in the loop of the shot in
    95 % of 1 072 cases, else later.)
    """
    halted = (s.target[fires.shape[0] :] < 0) & (ally_near * fires.amax(0) > 0)
    return torch.cat([torch.zeros_like(fires, dtype=torch.bool), halted])


def reload(params: UnitParams, s: BattleState, fires: Tensor, chasing: Tensor, jitter: Tensor) -> None:
    """Set cooldown, backswing and `not_shot_at`. fires, chasing [N, B]: 1.0 or 0.0; jitter: `Plan.jitter`.

    A weapon keeps the fraction of a loop by which it was ready early (measured: a shot falls on the first
    loop that starts with cooldown <= 0, and the next period counts from the exact time). A unit that walks
    to its target has to wind up again.
    """
    unfired = torch.where(s.cooldown <= 0, 1.0, s.cooldown)
    cooldown = torch.where(fires > 0, s.cooldown + params.period + jitter, unfired) - 1
    s.cooldown = torch.where(chasing > 0, cooldown.clamp(min=c.WIND_UP_LOOPS), cooldown)
    s.backswing_left = (torch.where(fires > 0, params.backswing, s.backswing_left) - 1).clamp(min=0.0)
    s.not_shot_at = s.not_shot_at * (1.0 - fires[params.n_allies :])


# Damage


def damage(params: UnitParams, s: BattleState, fires: Tensor) -> tuple[Tensor, Tensor]:
    """What this loop's shots and explosions take from every unit: harm, raw_harm [N, B].

    raw_harm leaves armour out, which does not protect shields. fires [N, B] bool.
    """
    target = s.target.clamp(min=0)
    harm, raw_harm = torch.zeros_like(s.health), torch.zeros_like(s.health)
    single = fires
    if params.line_splashers or params.bursters:
        single = fires & ~(params.splashes_line | params.bursts)
    harm.scatter_add_(0, target, torch.where(single, params.of_target(params.damage, target), 0.0))
    if params.has_shields:
        raw_harm.scatter_add_(
            0, target, torch.where(single, params.of_target(params.raw_damage, target), 0.0)
        )
    for row in params.line_splashers:
        hit = _on_the_line(params, s, row, target[row]) & (fires[row] & params.splashes_line[row])
        harm, raw_harm = _spread(params, row, hit, harm, raw_harm)
    if params.bursters:
        harm, raw_harm = _explosions(params, s, fires, harm, raw_harm)
    return harm, raw_harm


def hurt(params: UnitParams, s: BattleState, harm: Tensor, raw_harm: Tensor) -> None:
    """Take damage: shields first; what they do not absorb goes to health, less armour.

    Where a shield breaks, the share of the damage that passes it is taken from the damage after armour
    (an approximation: in the game, armour counts once per hit).
    """
    was_alive = s.alive
    if params.has_shields:
        absorbed = torch.minimum(raw_harm, s.shield)
        s.shield = s.shield - absorbed
        s.calm = torch.where(raw_harm > 0, 0.0, s.calm + 1)
        grows = (s.calm > c.SHIELD_DELAY_LOOPS) & was_alive
        grown = torch.minimum(s.shield + c.SHIELD_PER_LOOP, params.shield.expand_as(s.shield))
        s.shield = torch.where(grows, grown, s.shield)
        harm = harm * (1.0 - absorbed / raw_harm.clamp(min=1e-6))
    s.health = (s.health - harm).clamp(min=0.0)
    if params.bursters:
        s.bursting = s.bursting | (params.bursts & was_alive & ~s.alive)


def _on_the_line(params: UnitParams, s: BattleState, row: int, target: Tensor) -> Tensor:
    """[N, B] bool: opponents in the area across the shot of unit `row` at target [B]."""
    at = target.unsqueeze(0)
    tx, ty = s.x.gather(0, at), s.y.gather(0, at)
    sx, sy = tx - s.x[row], ty - s.y[row]
    length = root(sx * sx + sy * sy).clamp(min=1e-6)
    dx, dy = s.x - tx, s.y - ty
    along = (dx * sx + dy * sy).abs() / length
    across = (dx * sy - dy * sx).abs() / length
    hit = (along <= c.LINE_HALF_WIDTH + params.radius) & (across <= c.LINE_HALF_LENGTH + params.radius)
    return hit & params.can_shoot[row] & s.alive


def _explosions(
    params: UnitParams, s: BattleState, fires: Tensor, harm: Tensor, raw_harm: Tensor
) -> tuple[Tensor, Tensor]:
    """Banelings that attack, and those that died in the loop before, hit every opponent around them."""
    health = s.health.clone()
    for row in params.bursters:
        explodes = (fires | s.bursting)[row] & params.bursts[row]
        dx, dy = s.x - s.x[row], s.y - s.y[row]
        near = root(dx * dx + dy * dy) <= c.BURST_RADIUS + params.radius
        hit = near & explodes & params.can_shoot[row] & s.alive
        harm, raw_harm = _spread(params, row, hit, harm, raw_harm)
        health[row] = torch.where(explodes, 0.0, health[row])
    s.health = health
    s.bursting = torch.zeros_like(s.bursting)
    return harm, raw_harm


def _spread(
    params: UnitParams, row: int, hit: Tensor, harm: Tensor, raw_harm: Tensor
) -> tuple[Tensor, Tensor]:
    """harm and raw_harm plus the damage of unit `row` to every unit where hit [N, B]."""
    harm = harm + torch.where(hit, params.damage[row], 0.0)
    return harm, raw_harm + torch.where(hit, params.raw_damage[row], 0.0)


# Healing


def heal(params: UnitParams, s: BattleState, in_range: Tensor) -> None:
    """Medivacs heal their targets in_range [N, B] bool while they have energy, which grows slowly."""
    target = s.target.clamp(min=0)
    can_heal = params.of_target(params.can_heal, target)
    wound = (params.health - s.health).gather(0, target)
    heals = params.is_medivac & in_range & can_heal & s.alive & (wound > 0) & (s.energy > 0)
    amount = torch.minimum((s.energy * c.HEALTH_PER_ENERGY).clamp(max=c.HEAL_PER_LOOP), wound)
    amount = torch.where(heals & s.alive.gather(0, target), amount, 0.0)
    health = s.health.scatter_add(0, target, amount)
    s.health = torch.where(s.alive, torch.minimum(health, params.health.expand_as(health)), s.health)
    energy = s.energy - amount / c.HEALTH_PER_ENERGY + c.ENERGY_PER_LOOP
    energy = torch.minimum(energy, params.energy_max)
    s.energy = torch.where(params.is_medivac & s.alive, energy, s.energy)


def regenerate(params: UnitParams, s: BattleState) -> None:
    """Zerg units regain health."""
    grown = torch.minimum(s.health + c.ZERG_HEALTH_PER_LOOP, params.health.expand_as(s.health))
    s.health = torch.where(params.zerg & s.alive, grown, s.health)


# The end of the step


def conclude(
    params: UnitParams,
    terrain: Terrain,
    before: BattleState,
    after: BattleState,
    fresh: BattleState | None = None,
    begins: Tensor | None = None,
) -> tuple[BattleState, TimeStep]:
    """The battles and the `TimeStep` after the game loops; battles that were over stay as they were.

    fresh: battles that take the place of those that are over now, before anybody looks. begins [] bool:
    whether they do (None: where `fresh` is given).
    """
    if begins is None:
        begins = torch.tensor(fresh is not None, device=before.over.device)
    over = before.over
    defeat, success = outcome(params, after)
    ended = defeat | success | ~after.alive.any(0)
    timed_out = ~ended & (after.step >= params.step_limit)
    gained = reward(params, before, after, success)
    after = copy.copy(after)
    after.x, after.y = on_grid(after.x), on_grid(after.y)
    after.over = ended | timed_out
    battles = after.kept_where(over, before)
    if fresh is not None:
        battles = battles.kept_where(battles.over & begins, fresh)
    return battles, TimeStep(
        observation=battle_observation(params, terrain, battles, over & ~begins),
        reward=torch.where(over, 0.0, gained),
        terminated=after.over & ~over,
        truncated=timed_out & ~over,
        success=success & ~over,
    )


def on_grid(position: Tensor) -> Tensor:
    """Positions as StarCraft II reports them: multiples of 1 / 4096 map units, within the same cell."""
    nearest = (position * c.POSITION_GRID).round() / c.POSITION_GRID
    return torch.minimum(nearest, position.floor() + (1.0 - 1.0 / c.POSITION_GRID))
