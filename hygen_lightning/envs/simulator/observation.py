"""SMAC's observations, states, available actions, outcome and rewards.

Pure functions of a `BattleState`, so they also run on recorded states. Source: SMAC
`starcraft2.py` (`get_obs_agent`, `get_state_dict`, `get_avail_agent_actions`, `reward_battle`,
`update_units`), with its default options.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.state import BattleState, flag, mask_of, root
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import (
    MAX_SHIELD_OF_NONE,
    REWARD_PER_KILL,
    REWARD_WIN,
    UnitParams,
)
from hygen_lightning.specs import Observation
from hygen_lightning.tasks.battles import (
    FIRST_TARGET,
    NO_OP,
    SHOOT_RANGE,
    SIGHT_RANGE,
    STATE_CENTRE,
    STATE_EXTENT,
)

MOVE_LOOKAHEAD = 1.0
"""A move is available when the cell this far ahead can be walked (half of SMAC's move amount)."""


@dataclass
class Sight:
    """dx, dy, distance [A, N, B]: from ally a to unit n, map units."""

    dx: Tensor
    dy: Tensor
    distance: Tensor

    @classmethod
    def of(cls, params: UnitParams, state: BattleState) -> Sight:
        n = params.n_allies
        dx = state.x.unsqueeze(0) - state.x[:n].unsqueeze(1)
        dy = state.y.unsqueeze(0) - state.y[:n].unsqueeze(1)
        return cls(dx, dy, root(dx * dx + dy * dy))


def battle_observation(
    params: UnitParams, terrain: Terrain, state: BattleState, over: Tensor | None = None
) -> Observation:
    """The observation of every battle. over [B] bool: battles in which only no-op is available."""
    sight = Sight.of(params, state)
    available = available_actions(params, terrain, state, sight)  # [A, K, B]
    obs = observations(params, state, sight, available)  # [A, obs_dim, B]
    if over is not None:
        nothing = flag(torch.arange(available.shape[1], device=over.device).view(-1, 1) == NO_OP)
        available = torch.where(over, nothing, available)
    return Observation(
        obs=obs.permute(2, 0, 1).contiguous(),
        state=global_state(params, state).t().contiguous(),
        avail_actions=mask_of(available.permute(2, 0, 1).contiguous()),
    )


def available_actions(params: UnitParams, terrain: Terrain, state: BattleState, sight: Sight) -> Tensor:
    """[A, K, B] float, 1 where available: no-op for the dead; stop, open moves and targets in shooting
    range for the living. (With bools until the end, compiled code takes twice as long.)"""
    n = params.n_allies
    x, y, alive = state.x[:n], state.y[:n], state.alive[:n].unsqueeze(1).float()
    step = MOVE_LOOKAHEAD
    ahead_x = torch.stack([x, x, x + step, x - step], dim=1)  # [A, 4, B] north south east west
    ahead_y = torch.stack([y + step, y - step, y, y], dim=1)
    moves = terrain.walkable(ahead_x, ahead_y).float()
    in_range = ((sight.distance <= SHOOT_RANGE) & state.alive.unsqueeze(0)).float()  # [A, N, B]
    targets = in_range[:, n:]
    if params.has_medivacs:
        targets = torch.where(params.is_medivac[:n].unsqueeze(1), _heal_targets(params, in_range), targets)
    stop = torch.ones_like(x).unsqueeze(1)
    living = torch.cat([stop, moves, targets], dim=1) * alive
    return torch.cat([1.0 - alive, living], dim=1)


def _heal_targets(params: UnitParams, in_range: Tensor) -> Tensor:
    """in_range [A, N, B] -> [A, E, B]: a Medivac's target j is ally j, unless that one flies too."""
    n, e = params.n_allies, params.n_enemies
    allies = in_range[:, :n] * ~params.is_medivac[:n].unsqueeze(0)
    return torch.cat([allies, allies.new_zeros(n, e, allies.shape[2])], dim=1)[:, :e]


def observations(params: UnitParams, state: BattleState, sight: Sight, available: Tensor) -> Tensor:
    """[A, obs_dim, B]: moves, enemies, other allies, own; zeros for the dead and the unseen."""
    n, b = params.n_allies, state.x.shape[1]
    alive = state.alive
    seen = ((sight.distance < SIGHT_RANGE) & alive.unsqueeze(0) & alive[:n].unsqueeze(1)).float()  # [A, N, B]
    health = state.health / params.health
    shield = state.shield / params.shield.clamp(min=MAX_SHIELD_OF_NONE)
    geometry = torch.stack([sight.distance, sight.dx, sight.dy], dim=2) / SIGHT_RANGE  # [A, N, 3, B]

    def block(first_feature: Tensor, rows: slice, types: Tensor, has_shield: int) -> Tensor:
        """[A, units, width, B] of the units in `rows`, before masking by sight."""
        units = first_feature.shape[1]
        parts = [first_feature.unsqueeze(2), geometry[:, rows], health[rows].expand(n, units, b).unsqueeze(2)]
        if has_shield:
            parts.append(shield[rows].expand(n, units, b).unsqueeze(2))
        if types.shape[1]:
            parts.append(types.view(1, units, -1, 1).expand(n, units, -1, b))
        return torch.cat(parts, dim=2) * seen[:, rows].unsqueeze(2)

    enemy = block(available[:, FIRST_TARGET:], slice(n, None), params.enemy_types, params.task.enemy_shield)
    ally = block(torch.ones_like(seen[:, :n]), slice(0, n), params.ally_types, params.task.ally_shield)
    own = [health[:n].unsqueeze(1)]
    if params.task.ally_shield:
        own.append(shield[:n].unsqueeze(1))
    if params.ally_types.shape[1]:
        own.append(params.ally_types.unsqueeze(2).expand(n, -1, b))
    own_block = torch.cat(own, dim=1) * alive[:n].unsqueeze(1)
    moves = available[:, 2:FIRST_TARGET]
    return torch.cat([moves, enemy.flatten(1, 2), _others(ally).flatten(1, 2), own_block], dim=1)


def _others(ally: Tensor) -> Tensor:
    """ally [A, A, width, B] -> [A, A-1, width, B]: every row without its own entry."""
    every = torch.arange(ally.shape[0], device=ally.device)
    row, other = every.unsqueeze(1), every[:-1]
    return ally.flatten(0, 1)[row * ally.shape[0] + other + (other >= row)]


def global_state(params: UnitParams, state: BattleState) -> Tensor:
    """[state_dim, B]: allies, enemies (zeros for the dead), one-hot last actions."""
    n, b = params.n_allies, state.x.shape[1]
    health = state.health / params.health
    shield = state.shield / params.shield.clamp(min=MAX_SHIELD_OF_NONE)
    weapon = torch.where(params.is_medivac, state.energy, state.cooldown.clamp(min=0)) / params.max_cooldown
    x, y = (state.x - STATE_CENTRE) / STATE_EXTENT, (state.y - STATE_CENTRE) / STATE_EXTENT

    def block(columns: list[Tensor], rows: slice, types: Tensor, has_shield: int) -> Tensor:
        parts = [c[rows].unsqueeze(1) for c in columns]
        if has_shield:
            parts.append(shield[rows].unsqueeze(1))
        parts.append(types.unsqueeze(2).expand(-1, -1, b))
        return (torch.cat(parts, dim=1) * state.alive[rows].unsqueeze(1)).flatten(0, 1)

    allies = block([health, weapon, x, y], slice(0, n), params.ally_types, params.task.ally_shield)
    enemies = block([health, x, y], slice(n, None), params.enemy_types, params.task.enemy_shield)
    actions = torch.arange(FIRST_TARGET + params.n_enemies, device=state.x.device).view(1, -1, 1)
    last = (state.last_action.unsqueeze(1) == actions).float().flatten(0, 1)
    return torch.cat([allies, enemies, last])


def outcome(params: UnitParams, state: BattleState) -> tuple[Tensor, Tensor]:
    """defeat, success [B] bool; both False while both sides live, and if both fell in one step.

    With Medivacs, allies lose with only Medivacs left, and win when a single Medivac is the last
    enemy (SMAC `only_medivac_left`).
    """
    n = params.n_allies
    allies, enemies = state.alive[:n], state.alive[n:]
    n_allies, n_enemies = allies.sum(0), enemies.sum(0)
    defeat = (n_allies == 0) & (n_enemies > 0)
    success = (n_allies > 0) & (n_enemies == 0)
    if params.has_medivacs:
        defeat |= (allies & ~params.is_medivac[:n]).sum(0) == 0
        success |= (n_enemies == 1) & ((enemies & params.is_medivac[n:]).sum(0) == 1)
        success &= ~defeat
    return defeat, success


def reward(params: UnitParams, before: BattleState, after: BattleState, success: Tensor) -> Tensor:
    """[B] scaled reward: the absolute value of damage and kills since `before`, and the win."""
    n = params.n_allies
    was = before.health[n:] + before.shield[n:]
    now = torch.where(after.alive[n:], after.health[n:] + after.shield[n:], 0.0)
    damage = torch.where(before.alive[n:], was - now, 0.0).sum(0, dtype=torch.float64).float()
    kills = (before.alive[n:] & ~after.alive[n:]).sum(0) * REWARD_PER_KILL
    total = (damage + kills).abs() + success * REWARD_WIN
    return total * params.reward_factor
