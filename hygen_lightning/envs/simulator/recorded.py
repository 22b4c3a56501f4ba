"""Battle states read back from recorded SMAC states, so that our functions can be held against them."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.calibration import POSITION_GRID
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.terrain import CENTRE, EXTENT
from hygen_lightning.envs.simulator.unit_params import UnitParams

HEALTH_GRID = 256.0
"""StarCraft II keeps health in multiples of 1 / 256."""


def battle_state(params: UnitParams, state: Tensor, last_action: Tensor | None = None) -> BattleState:
    """state [B, state_dim] -> the battles it describes; hidden variables (targets, ...) are empty.

    Positions and health are rounded to the game's own grids, which removes the rounding of float32.
    last_action [B, A] int64 (-1: none) is read from the state where it is not given.
    """
    layout = params.task.layout
    allies, enemies, last = layout.split_state(state.double())
    shield_a, shield_e = params.task.ally_shield, params.task.enemy_shield
    total, b = params.health.shape[0], state.shape[0]

    def joined(ally: Tensor, enemy: Tensor) -> Tensor:
        return torch.cat([ally, enemy], dim=1).t()  # [N, B]

    def positions(columns: Tensor) -> Tensor:
        return ((columns * EXTENT + CENTRE) * POSITION_GRID).round().div(POSITION_GRID).float()

    def amounts(share: Tensor, most: Tensor) -> Tensor:
        return (share * most * HEALTH_GRID).round().div(HEALTH_GRID).float()

    def shields(units: Tensor, column: int, present: int) -> Tensor:
        return units[..., column] if present else torch.zeros_like(units[..., 0])

    n = params.n_allies
    weapon = torch.zeros(total, b, device=state.device)
    weapon[:n] = (allies[..., 1].t() * params.max_cooldown[:n]).float()
    medivac = params.is_medivac
    if last_action is None:
        assert last is not None  # battles always hold the last actions
        last_action = torch.where(last.sum(-1) > 0.5, last.argmax(-1), -1)
    zeros = torch.zeros(total, b, device=state.device)
    return BattleState(
        x=positions(joined(allies[..., 2], enemies[..., 1])),
        y=positions(joined(allies[..., 3], enemies[..., 2])),
        health=amounts(joined(allies[..., 0], enemies[..., 0]), params.health),
        shield=amounts(joined(shields(allies, 4, shield_a), shields(enemies, 3, shield_e)), params.shield),
        energy=torch.where(medivac, weapon, 0.0),
        cooldown=torch.where(medivac, 0.0, weapon),
        target=torch.full((total, b), -1, device=state.device),
        calm=zeros,
        bursting=torch.zeros(total, b, dtype=torch.bool, device=state.device),
        look_loop=torch.zeros(total - n, b, dtype=torch.int64, device=state.device),
        backswing_left=zeros,
        walked=torch.zeros(total, b, device=state.device),
        not_shot_at=torch.zeros(total - n, b, device=state.device),
        goal_x=zeros[n:],
        goal_y=zeros[n:],
        last_action=last_action.t().contiguous(),
        step=torch.zeros(b, dtype=torch.int64, device=state.device),
        seed=torch.zeros(b, dtype=torch.int64, device=state.device),
        over=torch.zeros(b, dtype=torch.bool, device=state.device),
    )
