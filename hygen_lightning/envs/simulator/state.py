"""The state of many battles between two game loops: plain tensors, units first, battles last."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class BattleState:
    """B battles of N = A + E units, allies on top.

    x, y [N, B] map units; health, shield, energy [N, B]; cooldown [N, B] game loops until the weapon is
    ready, down to -1 within the loop in which it became ready (SMAC shows 0); target [N, B] int64: the unit
    aimed at, -1 for none; calm [N, B] loops since the last damage (shields wait for it); bursting [N, B]
    bool: a Baneling that explodes in the next loop; backswing_left [N, B]: game loops until an enemy may walk
    after its last shot (0 for allies); walked [N, B]: 1.0 if it set out to walk in the last loop, blocked or
    not; look_loop [E, B] int64: in which loop of a step it looks around while its target is in range;
    not_shot_at [E, B]: 1.0 if its target is not its first one and not shot at yet; goal_x, goal_y [E, B]:
    where the enemies attack-move to; last_action [A, B] int64, -1 before the first step; step [B] int64
    environment steps played; seed [B] int64; over [B] bool.
    """

    x: Tensor
    y: Tensor
    health: Tensor
    shield: Tensor
    energy: Tensor
    cooldown: Tensor
    target: Tensor
    calm: Tensor
    bursting: Tensor
    backswing_left: Tensor
    walked: Tensor
    look_loop: Tensor
    not_shot_at: Tensor
    goal_x: Tensor
    goal_y: Tensor
    last_action: Tensor
    step: Tensor
    seed: Tensor
    over: Tensor

    @property
    def alive(self) -> Tensor:
        """[N, B] bool."""
        return self.health > 0

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def columns(self, battles: Tensor) -> BattleState:
        """These battles [b] int64 alone."""
        return BattleState(**{k: v[..., battles] for k, v in self.tensors().items()})

    def kept_where(self, over: Tensor, old: BattleState) -> BattleState:
        """This state, but `old` in the battles of `over` [B] bool."""
        new = self.tensors()
        return BattleState(
            **{k: new[k] if new[k] is v else torch.where(over, v, new[k]) for k, v in old.tensors().items()}
        )
