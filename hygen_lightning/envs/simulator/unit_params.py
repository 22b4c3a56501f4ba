"""The constants of the units of a task, as tensors that broadcast over battles.

Inside the simulator units come first and battles last, [N, B] with N = A + E and the allies on top, so that
one operation runs over long contiguous rows of battles. A last dimension of size 1 broadcasts over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.constants import MIN_SCAN_RANGE, PACKING, SCAN_MARGIN
from hygen_lightning.envs.simulator.units import UNITS, UnitType
from hygen_lightning.specs import UserError
from hygen_lightning.tasks.battles import BattleTask

MAX_SHIELD_OF_NONE = 1.0
"""Divisor for units without shields, whose shield is always zero."""
NEVER_APART = -1e6
"""Closest centre distance of units that do not collide."""
REWARD_PER_KILL, REWARD_WIN, REWARD_SCALE = 10.0, 200.0, 20.0
"""SMAC's `reward_death_value`, `reward_win`, `reward_scale_rate`."""
NUMBERS = ("health", "shield", "speed", "period", "radius", "max_cooldown", "energy", "energy_max")
FLAGS = ("flying", "cliff_walking", "zerg")
"""Stats of a `UnitType` that `UnitParams` holds under the same name, one row per unit."""


@dataclass(frozen=True)
class UnitParams:
    """Constants of the N units of a task; tensors [N, 1] float32 unless said otherwise.

    draw [N + E, 1] int64: number of each random draw of a step.
    speed: map units per game loop. period: game loops between shots. radius: map units.
    backswing: game loops; 0 for allies, whose orders cut it short. max_cooldown: SMAC's divisor.
    is_medivac, flying, cliff_walking, zerg, bursts (Baneling), splashes_line (Colossus) [N, 1] bool.
    reach [N, N, 1]: centre distance within which a row unit can shoot at (or heal) a column unit.
    notice [A, E, 1]: centre distance within which an enemy notices an ally; -1 if it cannot shoot it.
    apart [N, N, 1]: closest centre distance of two units, far below 0 where they do not collide.
    gives_way [N, N, 1]: of two allies that walk into each other, the one with the lower number gives
        way: 1 if that is the row unit, -1 if it is the column unit; 0 for all other pairs.
    damage [N, N, 1]: health that a shot of a row unit takes from a column unit, with armour and bonus.
    raw_damage [N, N, 1]: the same without armour, which does not protect shields.
    can_shoot [N, N, 1] bool: opponents that the weapon can hit (ground or air); can_heal likewise.
    ally_types [A, types], enemy_types [E, types]: one-hot type bits of the observations.
    line_splashers, bursters: rows of units that hit a line across their shot, or explode.
    reward_factor []: by which SMAC scales rewards. step_limit [] int64: environment steps of a battle.
    """

    task: BattleTask
    n_allies: int
    n_enemies: int
    has_shields: bool
    has_zerg: bool
    has_medivacs: bool
    line_splashers: tuple[int, ...]
    bursters: tuple[int, ...]
    draw: Tensor
    health: Tensor
    shield: Tensor
    speed: Tensor
    period: Tensor
    backswing: Tensor
    radius: Tensor
    max_cooldown: Tensor
    energy: Tensor
    energy_max: Tensor
    is_medivac: Tensor
    flying: Tensor
    cliff_walking: Tensor
    zerg: Tensor
    bursts: Tensor
    splashes_line: Tensor
    reach: Tensor
    notice: Tensor
    apart: Tensor
    gives_way: Tensor
    damage: Tensor
    raw_damage: Tensor
    can_shoot: Tensor
    can_heal: Tensor
    ally_types: Tensor
    enemy_types: Tensor
    reward_factor: Tensor
    step_limit: Tensor

    @property
    def n_units(self) -> int:
        return self.n_allies + self.n_enemies

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*self.task.ally_units, *self.task.enemy_units)

    @cached_property
    def units(self) -> list[UnitType]:
        return [UNITS[name] for name in self.names]

    @property
    def max_reward(self) -> float:
        """Unscaled return of a won battle if nothing regenerates (SMAC `max_reward`)."""
        return _max_reward(self.units[self.n_allies :])

    def of_target(self, table: Tensor, target: Tensor) -> Tensor:
        """table [N, N, 1] -> [N, B]: every unit's entry for its target [N, B] int64."""
        rows = table.expand(-1, -1, target.shape[1])
        return rows.gather(1, target.unsqueeze(1)).squeeze(1)

    @classmethod
    def of(cls, task: BattleTask, device: torch.device) -> UnitParams:
        """The unit parameters of a battle task; UserError where the simulator does not know a unit."""
        names, units = _known_units(task)
        columns: dict[str, list[float] | list[bool]] = {
            **{name: [float(getattr(u, name)) for u in units] for name in NUMBERS},
            **{name: [getattr(u, name) for u in units] for name in FLAGS},
            "backswing": [0.0 if i < task.n_allies else u.backswing for i, u in enumerate(units)],
            "is_medivac": [name == "medivac" for name in names],
            "bursts": [u.splash == "burst" for u in units],
            "splashes_line": [u.splash == "line" for u in units],
        }
        pairs = _pair_tables(names, units, task.n_allies)
        return cls(
            task=task,
            n_allies=task.n_allies,
            n_enemies=task.n_enemies,
            has_shields=any(u.shield > 0 for u in units),
            has_zerg=any(u.zerg for u in units),
            has_medivacs="medivac" in names,
            line_splashers=tuple(i for i, u in enumerate(units) if u.splash == "line"),
            bursters=tuple(i for i, u in enumerate(units) if u.splash == "burst"),
            draw=torch.arange(len(units) + task.n_enemies, device=device).unsqueeze(1),
            ally_types=_type_bits(task, task.ally_units, task.ally_types, device),
            enemy_types=_type_bits(task, task.enemy_units, task.enemy_types, device),
            reward_factor=torch.tensor(REWARD_SCALE / _max_reward(units[task.n_allies :]), device=device),
            step_limit=torch.tensor(task.episode_limit_env_steps, device=device),
            **{name: _table(values, device).unsqueeze(1) for name, values in columns.items()},
            **{name: _table(rows, device).unsqueeze(2) for name, rows in pairs.items()},
        )


def _table(values: list[Any], device: torch.device) -> Tensor:
    """float32, or bool where the values are; never int64, even if all are whole (the damage among Stalkers):
    compiled code takes the table of every battle (Stalkers and Zealots) for the type that was traced."""
    table = torch.tensor(values, device=device)
    return table if table.dtype == torch.bool else table.float()


def _max_reward(enemies: Sequence[UnitType]) -> float:
    return REWARD_WIN + sum(REWARD_PER_KILL + u.health + u.shield for u in enemies)


def _known_units(task: BattleTask) -> tuple[tuple[str, ...], list[UnitType]]:
    """Names and types of all units, allies first; UserError where the simulator does not know one."""
    names = (*task.ally_units, *task.enemy_units)
    unknown = sorted({name for name in names if name not in UNITS})
    if unknown:
        raise UserError(
            f"task {task.name!r}: the simulator does not know {', '.join(unknown)}; "
            f"it knows {', '.join(sorted(UNITS))}"
        )
    return names, [UNITS[name] for name in names]


def _pair_tables(
    names: Sequence[str], u: Sequence[UnitType], n_allies: int
) -> dict[str, list[list[float]] | list[list[bool]]]:
    """The tables of `UnitParams` by name, [N, N] (`notice` [A, E]): what holds of unit i and unit j."""
    units = range(len(u))
    ally = [i < n_allies for i in units]
    can_shoot = [
        [ally[i] != ally[j] and u[i].damage > 0 and (u[i].hits_air or not u[j].flying) for j in units]
        for i in units
    ]
    can_heal = [
        [names[i] == "medivac" and ally[i] == ally[j] and "biological" in u[j].attributes for j in units]
        for i in units
    ]
    allies, enemies = units[:n_allies], units[n_allies:]
    return {
        "reach": [[u[i].weapon_range + u[i].radius + u[j].radius for j in units] for i in units],
        "notice": [[_notice(u[j], u[i]) if can_shoot[j][i] else -1.0 for j in enemies] for i in allies],
        "apart": [[NEVER_APART if i == j else _apart(u[i], u[j]) for j in units] for i in units],
        "gives_way": [[float(ally[i] and ally[j]) * ((i < j) - (i > j)) for j in units] for i in units],
        "damage": [[_damage(u[i], u[j], u[j].armour) for j in units] for i in units],
        "raw_damage": [[_damage(u[i], u[j], 0.0) for j in units] for i in units],
        "can_shoot": can_shoot,
        "can_heal": can_heal,
    }


def _notice(enemy: UnitType, ally: UnitType) -> float:
    """Centre distance within which an enemy notices an ally."""
    return max(enemy.weapon_range, MIN_SCAN_RANGE) + SCAN_MARGIN + enemy.radius + ally.radius


def _apart(one: UnitType, other: UnitType) -> float:
    """Closest centre distance of two units; NEVER_APART if one flies."""
    return NEVER_APART if one.flying or other.flying else PACKING * (one.footprint + other.footprint)


def _damage(attacker: UnitType, target: UnitType, armour: float) -> float:
    """Damage of one shot: every hit is reduced by armour, but never below one half."""
    if attacker.damage == 0:
        return 0.0
    bonus = attacker.bonus if attacker.bonus_against in target.attributes else 0.0
    return attacker.hits * max(attacker.damage + bonus - armour, 0.5)


def _type_bits(
    task: BattleTask, names: tuple[str, ...], types: tuple[str, ...], device: torch.device
) -> Tensor:
    """[units, type bits] one-hot, or no columns where the task has none."""
    bits = torch.zeros(len(names), len(types), device=device)
    if types and not set(names) <= set(types):
        units = ", ".join(sorted(set(names)))
        raise UserError(
            f"task {task.name!r}: type bits stand for {', '.join(types)}, but the units are {units}"
        )
    for row, name in enumerate(names if types else ()):
        bits[row, types.index(name)] = 1
    return bits
