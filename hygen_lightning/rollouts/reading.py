"""What a state vector says of every unit, in map units: read by scripted players and by pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import TaskSpec

STATE_CENTRE = 16.0
"""Map coordinate at which a battle's state has x = y = 0 (half of SMAC's 32 x 32 maps)."""
STATE_EXTENT = 28.0
"""Map units per unit of a state position: width and height of SMAC's playable area."""


@dataclass
class Side:
    """The units of one side. N is A or E.

    position [..., N, 2] in map units (a dead unit lies at the map's centre). health, shield
    [..., N] in 0..1 of the maximum. alive [..., N] bool. cooldown [..., N]: weapon cooldown as a
    share of the longest one (energy for a Medivac); zeros for enemies, whose cooldown is not told.
    """

    position: Tensor
    health: Tensor
    shield: Tensor
    alive: Tensor
    cooldown: Tensor


def read_state(task: TaskSpec, state: Tensor) -> tuple[Side, Side]:
    """state [..., state_dim] -> (allies, enemies) of a battle or of cooperative navigation.

    Walkers and landmarks of cooperative navigation are always alive, at full health, and their
    positions are those of the state itself, which has no map.
    """
    import torch

    layout = task.layout
    allies, enemies, _ = layout.split_state(state)
    if task.kind == "navigation":
        return _always_alive(allies), _always_alive(enemies)
    zeros_a, zeros_e = torch.zeros_like(allies[..., 0]), torch.zeros_like(enemies[..., 0])
    ally = Side(
        position=allies[..., 2:4] * STATE_EXTENT + STATE_CENTRE,
        health=allies[..., 0],
        shield=allies[..., 4] if layout.shield_ally else zeros_a,
        alive=allies[..., 0] > 0,
        cooldown=allies[..., 1],
    )
    enemy = Side(
        position=enemies[..., 1:3] * STATE_EXTENT + STATE_CENTRE,
        health=enemies[..., 0],
        shield=enemies[..., 3] if layout.shield_enemy else zeros_e,
        alive=enemies[..., 0] > 0,
        cooldown=zeros_e,
    )
    return ally, enemy


def _always_alive(points: Tensor) -> Side:
    ones = points.new_ones(points.shape[:-1])
    return Side(points, ones, ones * 0, ones > 0, ones * 0)
