"""Who aims at whom: the allies at their ordered targets, the attack-moving enemies at targets they choose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.state import BattleState, flag
from hygen_lightning.envs.simulator.unit_params import UnitParams

NOT_ATTACKING = 1000.0
"""Penalty, added to the squared distance of an ally who does not attack the enemy that chooses a target."""
FAR = 1e6
"""Score of what cannot be a target."""


@dataclass
class Plan:
    """The allies' orders for one step, and the random draws of the step.

    target [A, B] int64: the unit to attack or heal, -1 for none.
    east, north [A, B]: direction of a move; zeros for none.
    penalty [A, E, B]: 0 where an ally is ordered to attack an enemy, else NOT_ATTACKING: enemies prefer
        targets that attack them (measured).
    look [E, B] int64: the loop in which an enemy without a target in range looks for one.
    jitter [N, B] game loops: added to a weapon's period by a shot.
    lot [N, B] in [0, 1): one draw per unit for several choices: which of several shooters an enemy turns
        to, its `look_loop` if its first target is out of range, whether a unit that just stopped is pushed.
    """

    target: Tensor
    east: Tensor
    north: Tensor
    penalty: Tensor
    look: Tensor
    jitter: Tensor
    lot: Tensor


def penalties(target: Tensor, n_allies: int, n_enemies: int) -> Tensor:
    """target [A, B] int64, the unit that an ally is ordered to attack -> `Plan.penalty` [A, E, B]."""
    enemy = torch.arange(n_allies, n_allies + n_enemies, device=target.device).view(1, -1, 1)
    return torch.where(target.unsqueeze(1) == enemy, 0.0, NOT_ATTACKING)


def choose_targets(params: UnitParams, s: BattleState, plan: Plan, loop: Tensor) -> Tensor:
    """Set `s.target`, and delay the ready weapon of an enemy that finds a target and had no living one.

    - An enemy without a target looks for one in one loop of every step. It takes the nearest ally within
      `params.notice`, first among those ordered to attack it; in the first loop of a step it does not know
      the orders yet.
    - Any shot of an ally wakes it: it turns to one of those who just shot at it, drawn by lot, else to the
      nearest ally within hearing.
    - When its target dies it takes the nearest ally at once.
    - With its target in range it reconsiders every eight loops, counted from the loop in which it took its
      first target or in which the last one died; if it would shoot in that loop, it reconsiders one loop
      later, from then on. With its target out of range it reconsiders in a loop drawn anew in every step,
      and drops the target.
    - It keeps its first target, and one that it has shot at, while that is ordered to attack it; else it
      takes the nearest ally ordered to attack it, if there is one within its weapon range or
      MIN_SCAN_RANGE, whichever is larger.
    - A later target that it has not shot at, and that does not attack it, is reconsidered in every loop
      until the shot is near: the nearest such attacker, or the nearest ally, replaces it.
    - Turning from a target in range that does not attack it to one that does delays the shot by
      ANSWER_LOOPS.

    Returns ally_near [E, B]: 1.0 if a living ally is within `params.reach` of the enemy, whether or not it
    can shoot it.
    """
    n = params.n_allies
    ordered, alive, current = plan.target, s.alive, s.target[n:]
    no_target, living_target = current < 0, _living(alive, current)
    target_died = ~(no_target | living_target)
    shot = s.cooldown[:n] > (params.period[:n] - c.SHOT_LOOPS).clamp(min=c.WIND_UP_LOOPS)
    woken = (flag(shot).amax(0, keepdim=True) > 0) & no_target  # [E, B]
    ignores_orders = woken | target_died | (no_target & (loop == 0))
    best, found, ally_near = _best_ally(params, s, plan, shot, woken, ignores_orders)

    in_range = living_target & _reaches(params, s, current)
    attacked = _attacked_by(params, ordered, current)
    due = _due(s, plan, loop, in_range)
    not_shot_at = s.not_shot_at > 0
    unanswered = not_shot_at & in_range & ~attacked & (s.cooldown[n:] > c.COMMITTED_LOOPS)
    keep = in_range & ((attacked & ~not_shot_at) | ((best >= NOT_ATTACKING) & ~unanswered))
    looks = due | unanswered | woken | target_died
    chosen = torch.where(looks & ~keep, found, torch.where(living_target, current, -1))
    chosen = torch.where(alive[n:], chosen, -1)
    ally_target = torch.where(alive[:n] & _living(alive, ordered), ordered, -1)
    if params.has_medivacs:
        chosen = torch.where(params.is_medivac[n:], _patients(params, s), chosen)
        ally_target = torch.where(_useful(params, s, ally_target), ally_target, -1)
    wait = torch.where(woken | ~no_target, torch.where(best < 0, 0.0, c.RETARGET_LOOPS), c.CHOOSING_LOOPS)
    drawn_look = (plan.lot[n:] * c.LOOPS_PER_STEP).long()
    first_look = torch.where(~no_target | _reaches(params, s, chosen), loop, drawn_look)
    found_one = (chosen >= 0) & ~living_target
    s.look_loop = torch.where(found_one, first_look, s.look_loop)
    s.not_shot_at = torch.where(chosen != current, flag(~no_target & (chosen >= 0)), s.not_shot_at)
    held = torch.where(found_one, torch.maximum(s.cooldown[n:], wait), s.cooldown[n:])
    answers = in_range & ~attacked & (chosen != current) & _attacked_by(params, ordered, chosen)
    held = torch.where(answers, held + c.ANSWER_LOOPS, held)
    s.cooldown = torch.cat([s.cooldown[:n], held])
    s.target = torch.cat([ally_target, chosen])
    return ally_near


def _best_ally(
    params: UnitParams, s: BattleState, plan: Plan, shot: Tensor, woken: Tensor, ignores_orders: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The ally that each enemy would take now: its score, its row (int64, -1 for none), and `ally_near`,
    all [E, B].

    shot [A, B] bool: who just shot. woken, ignores_orders [E, B] bool: see `choose_targets`.
    """
    n, alive = params.n_allies, s.alive
    dx = s.x[:n].unsqueeze(1) - s.x[n:].unsqueeze(0)  # [A, E, B]
    dy = s.y[:n].unsqueeze(1) - s.y[n:].unsqueeze(0)
    square = dx * dx + dy * dy
    reached = square <= params.reach[n:, :n].transpose(0, 1).square()
    sees = params.notice.clamp(min=0.0).square()  # [A, E, 1]
    hears = torch.where(params.notice > 0, params.notice + c.ANSWER_MARGIN, 0.0).square()
    visible = alive[:n].unsqueeze(1) & (square <= torch.where(woken, hears, sees))
    struck = woken & shot.unsqueeze(1) & (plan.penalty < NOT_ATTACKING)
    first = plan.lot[:n].unsqueeze(1) - NOT_ATTACKING  # below any distance
    answered = square <= (params.notice - c.SCAN_MARGIN).clamp(min=0.0).square()
    penalty = torch.where(_living(alive, s.target[n:]) & ~answered, NOT_ATTACKING, plan.penalty)
    score = torch.where(struck, first, square + torch.where(ignores_orders, 0.0, penalty))
    best, nearest = torch.where(visible, score, FAR).min(0)
    near = flag(reached & alive[:n].unsqueeze(1)).amax(0)
    return best, torch.where(best < FAR, nearest, -1), near


def _due(s: BattleState, plan: Plan, loop: Tensor, in_range: Tensor) -> Tensor:
    """[E, B] bool: who reconsiders its target in this loop. Whoever shoots in it (target in_range [E, B],
    weapon ready) does so one loop later, in later steps too: `s.look_loop` moves on."""
    due = torch.where(in_range, s.look_loop, plan.look) == loop
    shoots = due & in_range & (s.cooldown[-in_range.shape[0] :] <= 0)
    later = torch.where(s.look_loop == c.LOOPS_PER_STEP - 1, 0, s.look_loop + 1)
    s.look_loop = torch.where(shoots, later, s.look_loop)
    return due & ~shoots


def _attacked_by(params: UnitParams, ordered: Tensor, target: Tensor) -> Tensor:
    """[E, B] bool: whether the ally at target [E, B] is ordered to attack that enemy; False for no ally.

    ordered [A, B] int64: whom the allies are ordered to attack."""
    n = params.n_allies
    enemy = torch.arange(n, params.n_units, device=target.device).unsqueeze(1)
    is_ally = (target >= 0) & (target < n)
    return (ordered.gather(0, target.clamp(min=0, max=n - 1)) == enemy) & is_ally


def _living(alive: Tensor, target: Tensor) -> Tensor:
    """alive [N, B]; target [M, B] int64, -1 for none -> [M, B] bool: whether it is a living unit."""
    return (target >= 0) & alive.gather(0, target.clamp(min=0))


def _reaches(params: UnitParams, s: BattleState, target: Tensor) -> Tensor:
    """target [E, B] int64 -> [E, B] bool: whether an enemy's weapon reaches it; False if it is no ally."""
    n = params.n_allies
    at = target.clamp(min=0, max=n - 1)
    dx, dy = s.x.gather(0, at) - s.x[n:], s.y.gather(0, at) - s.y[n:]
    reach = params.reach[n:, :n].expand(-1, -1, target.shape[1]).gather(1, at.unsqueeze(1)).squeeze(1)
    return (dx * dx + dy * dy <= reach.square()) & (target >= 0) & (target < n)


def _patients(params: UnitParams, s: BattleState) -> Tensor:
    """[E, B] int64: the nearest hurt unit that an enemy could heal as a Medivac, or -1."""
    n = params.n_allies
    dx, dy = (p[n:].unsqueeze(0) - p[n:].unsqueeze(1) for p in (s.x, s.y))  # [healer, patient, B]
    hurt = (s.alive & (s.health < params.health))[n:].unsqueeze(0) & params.can_heal[n:, n:]
    score = torch.where(hurt, dx * dx + dy * dy, FAR)
    best, nearest = score.min(1)
    return torch.where((best < FAR) & s.alive[n:] & (s.energy[n:] > 0), nearest + n, -1)


def _useful(params: UnitParams, s: BattleState, target: Tensor) -> Tensor:
    """[A, B] bool: whether an ordered target can be shot at, or healed."""
    at = torch.cat([target, target.new_zeros(params.n_enemies, target.shape[1])]).clamp(min=0)
    able = params.of_target(params.can_shoot | params.can_heal, at)
    return able[: params.n_allies] & (target >= 0)
