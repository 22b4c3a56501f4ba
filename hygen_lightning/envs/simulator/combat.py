"""Shots, damage, explosions, healing and regeneration."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState


def shooters(roster: Roster, s: BattleState, in_range: Tensor) -> Tensor:
    """[N, B]: 1.0 for units that shoot in this loop. in_range [N, B]: 1.0 if the target is."""
    fires = torch.where((s.cooldown <= 0) & s.alive, in_range, 0.0)
    return fires * ~roster.is_medivac if roster.has_medivacs else fires


def fire(roster: Roster, s: BattleState, fires: Tensor, chasing: Tensor, jitter: Tensor) -> None:
    """Set cooldowns, backswing and whose target was shot at. fires, chasing [N, B]: 1.0 if so.

    A weapon keeps the fraction of a loop by which it was ready early (measured: a shot falls on the
    first loop that starts with cooldown <= 0, and the next period counts from the exact time). A unit
    that walks to its target needs the wind-up again.
    """
    idle = torch.where(s.cooldown <= 0, 1.0, s.cooldown)
    waiting = torch.where(fires > 0, s.cooldown + roster.period + jitter, idle) - 1
    s.cooldown = torch.where(chasing > 0, waiting.clamp(min=c.WIND_UP_LOOPS), waiting)
    s.backswing_left = (torch.where(fires > 0, roster.backswing, s.backswing_left) - 1).clamp(min=0.0)
    s.not_shot_at = s.not_shot_at * (1.0 - fires[roster.n_allies :])


def strike(roster: Roster, s: BattleState, fires: Tensor, in_range: Tensor) -> None:
    """All damage and healing of one loop, then regeneration. fires, in_range [N, B]: 1.0 if so."""
    target = s.target.clamp(min=0)
    shoots = fires > 0
    raw = torch.zeros_like(s.health)
    harm = torch.zeros_like(s.health)
    single = shoots
    if roster.line_splashers or roster.bursters:
        single = shoots & ~(roster.splashes_line | roster.bursts)
    dealt = torch.where(single, roster.of_target(roster.damage, target), 0.0)
    harm.scatter_add_(0, target, dealt)
    if roster.has_shields:
        raw.scatter_add_(0, target, torch.where(single, roster.of_target(roster.raw_damage, target), 0.0))
    for row in roster.line_splashers:
        hit = _on_the_line(roster, s, row, target[row]) & (shoots[row] & roster.splashes_line[row])
        harm, raw = _spread(roster, row, hit, harm, raw)
    if roster.bursters:
        harm, raw = _explosions(roster, s, shoots, harm, raw)
    _hurt(roster, s, harm, raw)
    if roster.has_medivacs:
        _heal(roster, s, target, in_range > 0)
    if roster.has_zerg:
        grown = torch.minimum(s.health + c.ZERG_HEALTH_PER_LOOP, roster.health.expand_as(s.health))
        s.health = torch.where(roster.zerg & s.alive, grown, s.health)


def _hurt(roster: Roster, s: BattleState, harm: Tensor, raw: Tensor) -> None:
    """Take damage: shields first; what they do not absorb goes to health, less armour.

    Where a shield breaks, the share of the damage that passes it is taken from the damage after
    armour (approximates the game, where armour counts once per hit).
    """
    before = s.alive
    if roster.has_shields:
        absorbed = torch.minimum(raw, s.shield)
        s.shield = s.shield - absorbed
        s.calm = torch.where(raw > 0, 0.0, s.calm + 1)
        grows = (s.calm > c.SHIELD_DELAY_LOOPS) & before
        grown = torch.minimum(s.shield + c.SHIELD_PER_LOOP, roster.shield.expand_as(s.shield))
        s.shield = torch.where(grows, grown, s.shield)
        harm = harm * (1.0 - absorbed / raw.clamp(min=1e-6))
    s.health = (s.health - harm).clamp(min=0.0)
    if roster.bursters:
        s.bursting = s.bursting | (roster.bursts & before & ~s.alive)


def _on_the_line(roster: Roster, s: BattleState, row: int, target: Tensor) -> Tensor:
    """[N, B] bool: opponents in the area across the shot of unit `row` at `target` [B]."""
    at = target.unsqueeze(0)
    tx, ty = s.x.gather(0, at), s.y.gather(0, at)
    sx, sy = tx - s.x[row], ty - s.y[row]
    length = torch.sqrt(sx * sx + sy * sy).clamp(min=1e-6)
    dx, dy = s.x - tx, s.y - ty
    along = (dx * sx + dy * sy).abs() / length
    across = (dx * sy - dy * sx).abs() / length
    hit = (along <= c.LINE_HALF_WIDTH + roster.radius) & (across <= c.LINE_HALF_LENGTH + roster.radius)
    return hit & roster.can_shoot[row] & s.alive


def _spread(roster: Roster, row: int, hit: Tensor, harm: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Damage of unit `row` to everybody in `hit` [N, B], added."""
    harm = harm + torch.where(hit, roster.damage[row], 0.0)
    return harm, raw + torch.where(hit, roster.raw_damage[row], 0.0)


def _explosions(
    roster: Roster, s: BattleState, fires: Tensor, harm: Tensor, raw: Tensor
) -> tuple[Tensor, Tensor]:
    """Banelings that attack, and those that died in the loop before, hit every opponent around them."""
    dying = s.health.clone()
    for row in roster.bursters:
        goes = (fires | s.bursting)[row] & roster.bursts[row]
        dx, dy = s.x - s.x[row], s.y - s.y[row]
        near = torch.sqrt(dx * dx + dy * dy) <= c.BURST_RADIUS + roster.radius
        hit = near & goes & roster.can_shoot[row] & s.alive
        harm, raw = _spread(roster, row, hit, harm, raw)
        dying[row] = torch.where(goes, 0.0, dying[row])
    s.health = dying
    s.bursting = torch.zeros_like(s.bursting)
    return harm, raw


def _heal(roster: Roster, s: BattleState, target: Tensor, in_range: Tensor) -> None:
    """Medivacs heal their targets as long as they have energy, which grows slowly."""
    fields = roster.of_target(roster.can_heal, target)
    wound = (roster.health - s.health).gather(0, target)
    heals = roster.is_medivac & in_range & fields & s.alive & (wound > 0) & (s.energy > 0)
    amount = torch.minimum((s.energy * c.HEALTH_PER_ENERGY).clamp(max=c.HEAL_PER_LOOP), wound)
    amount = torch.where(heals & s.alive.gather(0, target), amount, 0.0)
    health = s.health.scatter_add(0, target, amount)
    s.health = torch.where(s.alive, torch.minimum(health, roster.health.expand_as(health)), s.health)
    energy = s.energy - amount / c.HEALTH_PER_ENERGY + c.ENERGY_PER_LOOP
    energy = torch.minimum(energy, roster.energy_max)
    s.energy = torch.where(roster.is_medivac & s.alive, energy, s.energy)
