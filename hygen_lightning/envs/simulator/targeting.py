"""Who aims at whom: ordered targets of the allies, chosen targets of the attack-moving enemies."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator import calibration as c
from hygen_lightning.envs.simulator.orders import CALM, Plan
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState

FAR = 1e6
"""Score of what cannot be a target."""


def choose_targets(roster: Roster, s: BattleState, plan: Plan, loop: Tensor) -> None:
    """Set `s.target`, and hold the ready weapon of an enemy that finds a target and had no living one.

    An enemy without a target takes, in the loop in which it looks around, the nearest ally that it sees,
    of those ordered to attack it if there are any. Any shot of an ally wakes it: where some who shot
    lately are ordered to attack it, it turns on one of them, drawn by lot, else on the nearest ally in
    hearing. When its target dies it takes the nearest at once. It gives up a target out of range when it
    looks around, unless it has just shot. A target in range that is ordered to attack it is kept. Any
    other is weighed (a) in `LOOK_SHARE` of the steps, when it looks around and has not just shot: then
    it changes only to an ally ordered to attack it; (b) once provoked, when its weapon is nearly ready:
    then it takes the nearest ally ordered to attack it, else the nearest.
    """
    n = roster.n_allies
    alive = s.alive
    ordered, menace = plan.orders.target, plan.orders.menace
    at = ordered.clamp(min=0)
    ally_target = torch.where((ordered >= 0) & alive[:n] & alive.gather(0, at), ordered, -1)
    dx = s.x[:n].unsqueeze(1) - s.x[n:].unsqueeze(0)  # [A, E, B]
    dy = s.y[:n].unsqueeze(1) - s.y[n:].unsqueeze(0)
    square = dx * dx + dy * dy
    current = s.target[n:]
    shot = s.cooldown[:n] > (roster.period[:n] - c.SHOT_LOOPS).clamp(min=c.WIND_UP_LOOPS)
    woken = shot.any(0, keepdim=True) & (current < 0)  # [E, B]
    sees = roster.notice.clamp(min=0.0).square()  # [A, E, 1]
    hears = torch.where(roster.notice > 0, roster.notice + c.ANSWER_MARGIN, 0.0).square()
    visible = alive[:n].unsqueeze(1) & (square <= torch.where(woken, hears, sees))
    held = current.clamp(min=0)
    standing = (current >= 0) & alive.gather(0, held)
    hasty = woken | ((current >= 0) & ~standing)
    struck = woken & shot.unsqueeze(1) & (menace < CALM)  # [A, E, B]
    first = plan.lot[:n].unsqueeze(1) - CALM  # below any distance
    score = torch.where(struck, first, square + torch.where(hasty, 0.0, menace))
    best, nearest = torch.where(visible, score, FAR).min(0)
    hx, hy = s.x.gather(0, held) - s.x[n:], s.y.gather(0, held) - s.y[n:]
    reach = roster.of_target(roster.reach, s.target.clamp(min=0))[n:]
    in_range = hx * hx + hy * hy <= reach.square()
    enemy = torch.arange(n, roster.n_units, device=held.device).unsqueeze(1)
    menacing = ordered.gather(0, held.clamp(max=n - 1)) == enemy  # Medivacs choose otherwise
    due = plan.look == loop
    settled = s.cooldown[n:] <= (roster.period[n:] - c.SETTLING_LOOPS).clamp(min=c.WIND_UP_LOOPS)
    content = in_range & (plan.lot[n:] >= c.LOOK_SHARE)
    answers = s.provoked & standing & in_range & (s.cooldown[n:] <= c.ANSWER_LOOPS)
    keep = standing & in_range & (menacing | ((best >= CALM) & ~answers))
    looks = torch.where(standing, (due & settled & ~content) | answers, due | hasty)
    found = torch.where(best < FAR, nearest, -1)
    chosen = torch.where(looks, torch.where(keep, current, found), torch.where(standing, current, -1))
    chosen = torch.where(alive[n:], chosen, -1)
    if roster.has_medivacs:
        chosen = torch.where(roster.is_medivac[n:], _patients(roster, s), chosen)
        ally_target = torch.where(_useful(roster, s, ally_target), ally_target, -1)
    fresh = (chosen >= 0) & ~standing
    waiting = torch.where(fresh, s.cooldown[n:].clamp(min=c.CHOOSING_LOOPS), s.cooldown[n:])
    s.cooldown = torch.cat([s.cooldown[:n], waiting])
    s.target = torch.cat([ally_target, chosen])
    s.provoked = s.provoked & ~answers


def _patients(roster: Roster, s: BattleState) -> Tensor:
    """[E, B] int64: for every enemy, as if it were a Medivac, the nearest hurt friend to heal, or -1."""
    n = roster.n_allies
    dx, dy = (p[n:].unsqueeze(0) - p[n:].unsqueeze(1) for p in (s.x, s.y))  # [healer, patient, B]
    hurt = (s.alive & (s.health < roster.health))[n:].unsqueeze(0) & roster.can_heal[n:, n:]
    score = torch.where(hurt, dx * dx + dy * dy, FAR)
    best, nearest = score.min(1)
    return torch.where((best < FAR) & s.alive[n:] & (s.energy[n:] > 0), nearest + n, -1)


def _useful(roster: Roster, s: BattleState, target: Tensor) -> Tensor:
    """[A, B] bool: whether an ordered target can be shot at, or healed."""
    at = torch.cat([target, target.new_zeros(roster.n_enemies, target.shape[1])]).clamp(min=0)
    able = roster.of_target(roster.can_shoot | roster.can_heal, at)
    return able[: roster.n_allies] & (target >= 0)
