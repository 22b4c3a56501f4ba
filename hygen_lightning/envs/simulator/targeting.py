"""Who aims at whom: ordered targets of the allies, chosen targets of the attack-moving enemies."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.flags import flag
from hygen_lightning.envs.simulator.orders import CALM, Plan
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.unit_params import UnitParams

FAR = 1e6
"""Score of what cannot be a target."""


def choose_targets(params: UnitParams, s: BattleState, plan: Plan, loop: Tensor) -> Tensor:
    """Set `s.target`; hold the ready weapon of an enemy that finds a target and had no living one.

    - An enemy without a target takes, in the loop in which it looks around, the nearest ally that it sees, of
      those ordered to attack it if there are any; in the first loop of a step it knows of no orders.
    - Any shot of an ally wakes it: where some who shot lately are ordered to attack it, it turns on one of
      them, drawn by lot, else on the nearest ally in hearing.
    - When its target dies it takes the nearest at once.
    - While its target is in range it looks around every eight loops, counted from the loop in which it took
      its first target or the last one died; if it would shoot in that loop, it looks in the next one, from
      then on. While its target is out of range it looks in a loop drawn anew in every step, and gives it up.
    - Its first target, or one that it has shot at, is kept while ordered to attack it; else it takes the
      nearest ally in range that is ordered to attack it, if there is one.
    - A later target that it has not shot at and that does not attack it is weighed in every loop until the
      shot is near: the nearest attacker in range, or the nearest ally, replaces it.
    - Who turns from a target in range that does not attack it to one that does shoots later by ANSWER_LOOPS.

    Returns near [E, B]: 1.0 if a living ally is within `params.reach` of the enemy, whether it can shoot it
    or not.
    """
    n = params.n_allies
    ordered, alive, current = plan.orders.target, s.alive, s.target[n:]
    ally_target = torch.where(alive[:n] & _living(alive, ordered), ordered, -1)
    dx = s.x[:n].unsqueeze(1) - s.x[n:].unsqueeze(0)  # [A, E, B]
    dy = s.y[:n].unsqueeze(1) - s.y[n:].unsqueeze(0)
    square = dx * dx + dy * dy
    reached = square <= params.reach[n:, :n].transpose(0, 1).square()
    standing = _living(alive, current)
    idle = current < 0
    shot = s.cooldown[:n] > (params.period[:n] - c.SHOT_LOOPS).clamp(min=c.WIND_UP_LOOPS)
    woken = (flag(shot).amax(0, keepdim=True) > 0) & idle  # [E, B]
    sees = params.notice.clamp(min=0.0).square()  # [A, E, 1]
    hears = torch.where(params.notice > 0, params.notice + c.ANSWER_MARGIN, 0.0).square()
    visible = alive[:n].unsqueeze(1) & (square <= torch.where(woken, hears, sees))
    struck = woken & shot.unsqueeze(1) & (plan.orders.menace < CALM)
    first = plan.lot[:n].unsqueeze(1) - CALM  # below any distance
    ignores_orders = woken | ~(idle | standing) | (idle & (loop == 0))
    menace = torch.where(standing & ~reached, CALM, plan.orders.menace)
    score = torch.where(struck, first, square + torch.where(ignores_orders, 0.0, menace))
    best, nearest = torch.where(visible, score, FAR).min(0)
    found = torch.where(best < FAR, nearest, -1)

    in_range = standing & _reaches(params, s, current)
    menacing = _attacked_by(params, ordered, current)
    due = _due(s, plan, loop, in_range)
    not_shot_at = s.not_shot_at > 0
    unanswered = not_shot_at & in_range & ~menacing & (s.cooldown[n:] > c.COMMITTED_LOOPS)
    keep = in_range & ((menacing & ~not_shot_at) | ((best >= CALM) & ~unanswered))
    looks = due | unanswered | woken | ~(idle | standing)
    chosen = torch.where(looks & ~keep, found, torch.where(standing, current, -1))
    chosen = torch.where(alive[n:], chosen, -1)
    if params.has_medivacs:
        chosen = torch.where(params.is_medivac[n:], _patients(params, s), chosen)
        ally_target = torch.where(_useful(params, s, ally_target), ally_target, -1)
    wait = torch.where(woken | ~idle, torch.where(best < 0, 0.0, c.RETARGET_LOOPS), c.CHOOSING_LOOPS)
    first_look = torch.where(
        ~idle | _reaches(params, s, chosen), loop, (plan.lot[n:] * c.LOOPS_PER_STEP).long()
    )
    fresh = (chosen >= 0) & ~standing
    s.look_loop = torch.where(fresh, first_look, s.look_loop)
    s.not_shot_at = torch.where(chosen != current, flag(~idle & (chosen >= 0)), s.not_shot_at)
    held = torch.where(fresh, torch.maximum(s.cooldown[n:], wait), s.cooldown[n:])
    answers = in_range & ~menacing & (chosen != current) & _attacked_by(params, ordered, chosen)
    held = torch.where(answers, held + c.ANSWER_LOOPS, held)
    s.cooldown = torch.cat([s.cooldown[:n], held])
    s.target = torch.cat([ally_target, chosen])
    return flag(reached & alive[:n].unsqueeze(1)).amax(0)


def _due(s: BattleState, plan: Plan, loop: Tensor, in_range: Tensor) -> Tensor:
    """[E, B] bool: who looks around in this loop. Whoever shoots in it (target in_range [E, B], weapon
    ready) looks one loop later, in later steps too: `s.look_loop` moves on."""
    due = torch.where(in_range, s.look_loop, plan.look) == loop
    shoots = due & in_range & (s.cooldown[-len(in_range) :] <= 0)
    later = torch.where(s.look_loop == c.LOOPS_PER_STEP - 1, 0, s.look_loop + 1)
    s.look_loop = torch.where(shoots, later, s.look_loop)
    return due & ~shoots


def _attacked_by(params: UnitParams, ordered: Tensor, target: Tensor) -> Tensor:
    """[E, B] bool: whether the ally at target [E, B] (others: False) is ordered to attack that enemy.

    ordered [A, B] int64: whom the allies are ordered to attack."""
    n = params.n_allies
    enemy = torch.arange(n, params.n_units, device=target.device).unsqueeze(1)
    is_ally = (target >= 0) & (target < n)
    return (ordered.gather(0, target.clamp(min=0, max=n - 1)) == enemy) & is_ally


def _living(alive: Tensor, target: Tensor) -> Tensor:
    """alive [N, B]; target [M, B] int64, -1 for none -> [M, B] bool: whether it is a unit alive."""
    return (target >= 0) & alive.gather(0, target.clamp(min=0))


def _reaches(params: UnitParams, s: BattleState, target: Tensor) -> Tensor:
    """target [E, B] int64 -> [E, B] bool: whether an enemy's weapon reaches it; False if it is no ally."""
    n = params.n_allies
    at = target.clamp(min=0, max=n - 1)
    dx, dy = s.x.gather(0, at) - s.x[n:], s.y.gather(0, at) - s.y[n:]
    reach = params.reach[n:, :n].expand(-1, -1, target.shape[1]).gather(1, at.unsqueeze(1)).squeeze(1)
    return (dx * dx + dy * dy <= reach.square()) & (target >= 0) & (target < n)


def _patients(params: UnitParams, s: BattleState) -> Tensor:
    """[E, B] int64: for every enemy, as if it were a Medivac, the nearest hurt friend to heal, or -1."""
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
