"""What the agents' actions tell their units to do during one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.tasks.battles import EAST, FIRST_TARGET, NORTH, SOUTH, WEST


@dataclass
class Orders:
    """Orders of the allies for one step.

    target [A, B] int64: the unit to attack or heal, -1 for none. east, north [A, B]: direction of a
    move, zero for none. menace [A, E, B] float: 0 where an ally is ordered to attack an enemy, else
    CALM: enemies turn on those who attack them (measured).
    """

    target: Tensor
    east: Tensor
    north: Tensor
    menace: Tensor


@dataclass
class Plan:
    """What is known before the loops of a step.

    orders; look [E, B] int64: the loop in which an enemy without a target in range looks around; jitter
    [N, B] game loops: what a shot of each unit adds to its weapon's period; lot [N, B]: uniform in
    [0, 1), decides whom of several shooters a woken enemy takes, the look_loop of one whose first target
    is out of range, and whether a unit that has just stopped is pushed on.
    """

    orders: Orders
    look: Tensor
    jitter: Tensor
    lot: Tensor


CALM = 1000.0
"""Added to the squared distance of an ally who does not attack the enemy that chooses a target."""


def orders_of(params: UnitParams, actions: Tensor) -> Orders:
    """actions [A, B] int64. A stopped unit does nothing: SMAC's units take no targets themselves
    (measured: none fired after its target had died, before the next order)."""
    n, e = params.n_allies, params.n_enemies
    aimed = actions >= FIRST_TARGET
    offset = torch.where(params.is_medivac[:n], 0, n) - FIRST_TARGET
    target = torch.where(aimed, actions + offset, -1)
    enemy = torch.arange(n, n + e, device=actions.device).view(1, e, 1)
    return Orders(
        target=target,
        east=(actions == EAST).float() - (actions == WEST).float(),
        north=(actions == NORTH).float() - (actions == SOUTH).float(),
        menace=torch.where(target.unsqueeze(1) == enemy, 0.0, CALM),
    )
