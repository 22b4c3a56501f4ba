"""The state of many battles between two game loops: plain tensors, units first, battles last."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class BattleState:
    """B battles of N = A + E units, allies on top.

    x, y [N, B] map units; health, shield, energy [N, B]; cooldown [N, B] game loops until the
    weapon is ready; target [N, B] int64: the unit aimed at, -1 for none; since_damage [N, B] loops
    since the last damage (shields wait for it); last_action [A, B] int64, -1 before the first step;
    step [B] int64 environment steps played; seed [B] int64; over [B] bool.
    """

    x: Tensor
    y: Tensor
    health: Tensor
    shield: Tensor
    energy: Tensor
    cooldown: Tensor
    target: Tensor
    since_damage: Tensor
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

    def kept_where(self, over: Tensor, old: BattleState) -> BattleState:
        """This state, but `old` in the battles of `over` [B] bool."""
        new = self.tensors()
        return BattleState(**{k: torch.where(over, v, new[k]) for k, v in old.tensors().items()})
