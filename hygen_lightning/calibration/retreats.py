"""Whether a hurt ally that steps back is left alone: what good policies lean on, recorded and simulated."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.calibration.recorded import battle_state
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import Episodes
from hygen_lightning.tasks.battles import BattleTask

STEPS_BACK = 0.3
"""Map units that the nearest enemy has to be further away after the step. A Marine walks about 2 in one."""
RELIEF_STEPS = 2
"""Environment steps, after the step back, in which a unit that is left alone loses nothing."""
SCRATCH = 1.0
"""Points of health; to lose less is not to be hurt."""


def retreats(task: BattleTask, episodes: Episodes) -> dict[str, float]:
    """Steps in which an ally that was hurt in the step before steps back, and the share of them after
    which it loses nothing for `RELIEF_STEPS` steps (0 where there are none).

    Counted are allies that are not the last one alive and live through the step back, in episodes that go
    on until the relief can be seen.
    """
    params = UnitParams.of(task, torch.device("cpu"))
    battles, n_steps = len(episodes), episodes.n_steps
    units = battle_state(params, episodes.state.flatten(0, 1))
    x, y, health = (v.t().unflatten(0, (battles, n_steps)) for v in (units.x, units.y, units.health))
    allies = health[..., : params.n_allies]
    away = _nearest_enemy(params, x, y, health)
    lost = allies[:, :-1] - allies[:, 1:] > SCRATCH  # [B, T - 1, A]: in the step from t
    alive = allies > 0
    span = n_steps - RELIEF_STEPS - 2
    if span < 1:
        return {"steps": 0, "left_alone_share": 0.0}
    now, after = slice(1, 1 + span), slice(2, 2 + span)
    hurt = lost[:, :span] & alive[:, now] & (alive[:, now].sum(-1, keepdim=True) > 1)
    steps_back = hurt & alive[:, after] & (away[:, after] > away[:, now] + STEPS_BACK)
    seen = steps_back & episodes.filled[:, 2 + RELIEF_STEPS :].unsqueeze(-1)
    hit = torch.stack([lost[:, 2 + k : 2 + k + span] for k in range(RELIEF_STEPS)]).any(0)
    steps = int(seen.sum())
    return {"steps": steps, "left_alone_share": int((seen & ~hit).sum()) / max(steps, 1)}


def _nearest_enemy(params: UnitParams, x: Tensor, y: Tensor, health: Tensor) -> Tensor:
    """[B, T, A]: distance in map units of each ally's nearest living enemy; inf without any."""
    n = params.n_allies
    dx, dy = (v[..., :n, None] - v[..., None, n:] for v in (x, y))
    far = torch.where(health[..., None, n:] > 0, torch.hypot(dx, dy), torch.inf)
    return far.amin(-1)
