"""Shots, damage, explosions, healing and regeneration."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.unit_params import UnitParams


def shooters(params: UnitParams, s: BattleState, in_range: Tensor) -> Tensor:
    """[N, B]: 1.0 for units that shoot in this loop. in_range [N, B]: 1.0 if the target is."""
    fires = torch.where((s.cooldown <= 0) & s.alive, in_range, 0.0)
    return fires * ~params.is_medivac if params.has_medivacs else fires


def fire(params: UnitParams, s: BattleState, fires: Tensor, chasing: Tensor, jitter: Tensor) -> None:
    """Set cooldowns, backswing and whose target was shot at. fires, chasing [N, B]: 1.0 if so.

    A weapon keeps the fraction of a loop by which it was ready early (measured: a shot falls on the
    first loop that starts with cooldown <= 0, and the next period counts from the exact time). A unit
    that walks to its target needs the wind-up again.
    """
    idle = torch.where(s.cooldown <= 0, 1.0, s.cooldown)
    waiting = torch.where(fires > 0, s.cooldown + params.period + jitter, idle) - 1
    s.cooldown = torch.where(chasing > 0, waiting.clamp(min=c.WIND_UP_LOOPS), waiting)
    s.backswing_left = (torch.where(fires > 0, params.backswing, s.backswing_left) - 1).clamp(min=0.0)
    s.not_shot_at = s.not_shot_at * (1.0 - fires[params.n_allies :])


def strike(params: UnitParams, s: BattleState, fires: Tensor, in_range: Tensor) -> None:
    """All damage and healing of one loop, then regeneration. fires, in_range [N, B]: 1.0 if so."""
    target = s.target.clamp(min=0)
    shoots = fires > 0
    raw = torch.zeros_like(s.health)
    harm = torch.zeros_like(s.health)
    single = shoots
    if params.line_splashers or params.bursters:
        single = shoots & ~(params.splashes_line | params.bursts)
    dealt = torch.where(single, params.of_target(params.damage, target), 0.0)
    harm.scatter_add_(0, target, dealt)
    if params.has_shields:
        raw.scatter_add_(0, target, torch.where(single, params.of_target(params.raw_damage, target), 0.0))
    for row in params.line_splashers:
        hit = _on_the_line(params, s, row, target[row]) & (shoots[row] & params.splashes_line[row])
        harm, raw = _spread(params, row, hit, harm, raw)
    if params.bursters:
        harm, raw = _explosions(params, s, shoots, harm, raw)
    _hurt(params, s, harm, raw)
    if params.has_medivacs:
        _heal(params, s, target, in_range > 0)
    if params.has_zerg:
        grown = torch.minimum(s.health + c.ZERG_HEALTH_PER_LOOP, params.health.expand_as(s.health))
        s.health = torch.where(params.zerg & s.alive, grown, s.health)


def _hurt(params: UnitParams, s: BattleState, harm: Tensor, raw: Tensor) -> None:
    """Take damage: shields first; what they do not absorb goes to health, less armour.

    Where a shield breaks, the share of the damage that passes it is taken from the damage after
    armour (approximates the game, where armour counts once per hit).
    """
    before = s.alive
    if params.has_shields:
        absorbed = torch.minimum(raw, s.shield)
        s.shield = s.shield - absorbed
        s.calm = torch.where(raw > 0, 0.0, s.calm + 1)
        grows = (s.calm > c.SHIELD_DELAY_LOOPS) & before
        grown = torch.minimum(s.shield + c.SHIELD_PER_LOOP, params.shield.expand_as(s.shield))
        s.shield = torch.where(grows, grown, s.shield)
        harm = harm * (1.0 - absorbed / raw.clamp(min=1e-6))
    s.health = (s.health - harm).clamp(min=0.0)
    if params.bursters:
        s.bursting = s.bursting | (params.bursts & before & ~s.alive)


def _on_the_line(params: UnitParams, s: BattleState, row: int, target: Tensor) -> Tensor:
    """[N, B] bool: opponents in the area across the shot of unit `row` at `target` [B]."""
    at = target.unsqueeze(0)
    tx, ty = s.x.gather(0, at), s.y.gather(0, at)
    sx, sy = tx - s.x[row], ty - s.y[row]
    length = torch.sqrt(sx * sx + sy * sy).clamp(min=1e-6)
    dx, dy = s.x - tx, s.y - ty
    along = (dx * sx + dy * sy).abs() / length
    across = (dx * sy - dy * sx).abs() / length
    hit = (along <= c.LINE_HALF_WIDTH + params.radius) & (across <= c.LINE_HALF_LENGTH + params.radius)
    return hit & params.can_shoot[row] & s.alive


def _spread(params: UnitParams, row: int, hit: Tensor, harm: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Damage of unit `row` to everybody in `hit` [N, B], added."""
    harm = harm + torch.where(hit, params.damage[row], 0.0)
    return harm, raw + torch.where(hit, params.raw_damage[row], 0.0)


def _explosions(
    params: UnitParams, s: BattleState, fires: Tensor, harm: Tensor, raw: Tensor
) -> tuple[Tensor, Tensor]:
    """Banelings that attack, and those that died in the loop before, hit every opponent around them."""
    dying = s.health.clone()
    for row in params.bursters:
        goes = (fires | s.bursting)[row] & params.bursts[row]
        dx, dy = s.x - s.x[row], s.y - s.y[row]
        near = torch.sqrt(dx * dx + dy * dy) <= c.BURST_RADIUS + params.radius
        hit = near & goes & params.can_shoot[row] & s.alive
        harm, raw = _spread(params, row, hit, harm, raw)
        dying[row] = torch.where(goes, 0.0, dying[row])
    s.health = dying
    s.bursting = torch.zeros_like(s.bursting)
    return harm, raw


def _heal(params: UnitParams, s: BattleState, target: Tensor, in_range: Tensor) -> None:
    """Medivacs heal their targets as long as they have energy, which grows slowly."""
    fields = params.of_target(params.can_heal, target)
    wound = (params.health - s.health).gather(0, target)
    heals = params.is_medivac & in_range & fields & s.alive & (wound > 0) & (s.energy > 0)
    amount = torch.minimum((s.energy * c.HEALTH_PER_ENERGY).clamp(max=c.HEAL_PER_LOOP), wound)
    amount = torch.where(heals & s.alive.gather(0, target), amount, 0.0)
    health = s.health.scatter_add(0, target, amount)
    s.health = torch.where(s.alive, torch.minimum(health, params.health.expand_as(health)), s.health)
    energy = s.energy - amount / c.HEALTH_PER_ENERGY + c.ENERGY_PER_LOOP
    energy = torch.minimum(energy, params.energy_max)
    s.energy = torch.where(params.is_medivac & s.alive, energy, s.energy)
