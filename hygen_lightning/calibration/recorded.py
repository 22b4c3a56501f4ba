"""Recorded SMAC episodes, and their states as battle states of the simulator."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hygen_lightning.data.hdf5 import find_parts, read_part
from hygen_lightning.data.summary import task_and_quality
from hygen_lightning.envs.simulator.constants import POSITION_GRID
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import Episodes, UserError
from hygen_lightning.tasks.battles import STATE_CENTRE, STATE_EXTENT, BattleTask

HEALTH_GRID = 256.0
"""StarCraft II keeps health in multiples of 1 / 256."""


def recorded_episodes(path: Path, task: BattleTask) -> Episodes:
    """All recorded episodes of a task in a file or below a folder; UserError if there are none."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give --recordings a file or a folder of recordings")
    parts = [part for part in (find_parts(path) if path.is_dir() else [path]) if _is_of(part, task.name)]
    if not parts:
        raise UserError(f"{path}: holds no recordings of {task.name}; give another folder, or --task NAME")
    return Episodes.cat([read_part(part, task) for part in parts])


def _is_of(part: Path, task: str) -> bool:
    """Whether a file is of this task; True where its path names no task."""
    try:
        return task_and_quality(part)[0] == task
    except UserError:
        return True


def battle_state(params: UnitParams, state: Tensor, last_action: Tensor | None = None) -> BattleState:
    """state [B, state_dim] -> the battles that it describes; what it does not show is blank.

    Positions and health are rounded to the game's own grids, which removes the rounding of float32.
    last_action [B, A] int64 (-1: none) is read from the state if it is not given.
    """
    allies, enemies, last = params.task.layout.split_state(state.double())
    n = params.n_allies

    def rows(ally: Tensor, enemy: Tensor) -> Tensor:
        return torch.cat([ally, enemy], dim=1).t()  # [N, B]

    def positions(share: Tensor) -> Tensor:
        return ((share * STATE_EXTENT + STATE_CENTRE) * POSITION_GRID).round().div(POSITION_GRID).float()

    def amounts(share: Tensor, full: Tensor) -> Tensor:
        return (share * full * HEALTH_GRID).round().div(HEALTH_GRID).float()

    def shields(units: Tensor, column: int, present: bool) -> Tensor:
        return units[..., column] if present else torch.zeros_like(units[..., 0])

    if last_action is None:
        assert last is not None  # the state of a battle ends with the last actions
        last_action = torch.where(last.sum(-1) > 0.5, last.argmax(-1), -1)
    s = BattleState.blank(
        n, params.n_enemies, torch.zeros(len(state), dtype=torch.int64, device=state.device)
    )
    s.x = positions(rows(allies[..., 2], enemies[..., 1]))
    s.y = positions(rows(allies[..., 3], enemies[..., 2]))
    s.health = amounts(rows(allies[..., 0], enemies[..., 0]), params.health)
    ally_shield = shields(allies, 4, params.task.ally_shield)
    s.shield = amounts(rows(ally_shield, shields(enemies, 3, params.task.enemy_shield)), params.shield)
    weapon = torch.zeros_like(s.x)
    weapon[:n] = (allies[..., 1].t() * params.max_cooldown[:n]).float()
    s.energy = torch.where(params.is_medivac, weapon, 0.0)
    s.cooldown = torch.where(params.is_medivac, 0.0, weapon)
    s.last_action = last_action.t().contiguous()
    return s
