"""The constants of the units of a task, as tensors that broadcast over battles.

Inside the simulator units come first and battles last, [N, B] with N = A + E and the allies on top, so that
one operation runs over long contiguous rows of battles. A last dimension of size 1 broadcasts over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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

    @property
    def n_units(self) -> int:
        return self.n_allies + self.n_enemies

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*self.task.ally_units, *self.task.enemy_units)

    @cached_property
    def units(self) -> list[UnitType]:
        return [UNITS[name] for name in self.names]

    @cached_property
    def max_reward(self) -> float:
        """Unscaled return of a won battle if nothing regenerates (SMAC `max_reward`)."""
        enemies = self.units[self.n_allies :]
        return 200.0 + sum(10.0 + u.health + u.shield for u in enemies)

    def of_target(self, table: Tensor, target: Tensor) -> Tensor:
        """table [N, N, 1] -> [N, B]: every unit's entry for its target [N, B] int64."""
        rows = table.expand(-1, -1, target.shape[1])
        return rows.gather(1, target.unsqueeze(1)).squeeze(1)

    @classmethod
    def of(cls, task: BattleTask, device: torch.device) -> UnitParams:
        """The unit parameters of a battle task; UserError where the simulator does not know a unit."""
        names, units = _known_units(task)
        sides = [i < task.n_allies for i in range(len(units))]
        n = task.n_allies

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(1)

        def flags(values: list[bool]) -> Tensor:
            return torch.tensor(values, device=device).unsqueeze(1)

        def pairs(values: list[list[float]] | list[list[bool]]) -> Tensor:
            return torch.tensor(values, device=device).unsqueeze(2)

        can_shoot = [
            [u.damage > 0 and a != b and (u.hits_air or not v.flying) for v, b in zip(units, sides)]
            for u, a in zip(units, sides)
        ]
        notice = [
            [_notice(v, u) if can_shoot[n + j][i] else -1.0 for j, v in enumerate(units[n:])]
            for i, u in enumerate(units[:n])
        ]
        can_heal = [
            [name == "medivac" and a == b and "biological" in v.attributes for v, b in zip(units, sides)]
            for name, a in zip(names, sides)
        ]
        return cls(
            task=task,
            n_allies=n,
            n_enemies=task.n_enemies,
            has_shields=any(u.shield > 0 for u in units),
            has_zerg=any(u.zerg for u in units),
            has_medivacs="medivac" in names,
            line_splashers=tuple(i for i, u in enumerate(units) if u.splash == "line"),
            bursters=tuple(i for i, u in enumerate(units) if u.splash == "burst"),
            draw=torch.arange(len(units) + task.n_enemies, device=device).unsqueeze(1),
            health=column([u.health for u in units]),
            shield=column([u.shield for u in units]),
            speed=column([u.speed for u in units]),
            period=column([u.period for u in units]),
            backswing=column([0.0 if ally else u.backswing for u, ally in zip(units, sides)]),
            radius=column([u.radius for u in units]),
            max_cooldown=column([u.max_cooldown for u in units]),
            energy=column([u.energy for u in units]),
            energy_max=column([u.energy_max for u in units]),
            is_medivac=flags([name == "medivac" for name in names]),
            flying=flags([u.flying for u in units]),
            cliff_walking=flags([u.cliff_walking for u in units]),
            zerg=flags([u.zerg for u in units]),
            bursts=flags([u.splash == "burst" for u in units]),
            splashes_line=flags([u.splash == "line" for u in units]),
            reach=pairs([[u.weapon_range + u.radius + v.radius for v in units] for u in units]),
            notice=pairs(notice),
            apart=pairs(
                [
                    [_apart(u, v) if i != j else NEVER_APART for j, v in enumerate(units)]
                    for i, u in enumerate(units)
                ]
            ),
            gives_way=pairs(
                [
                    [float(a and b) * ((i < j) - (i > j)) for j, b in enumerate(sides)]
                    for i, a in enumerate(sides)
                ]
            ),
            damage=pairs([[_damage(u, v, v.armour) for v in units] for u in units]),
            raw_damage=pairs([[_damage(u, v, 0.0) for v in units] for u in units]),
            can_shoot=pairs(can_shoot),
            can_heal=pairs(can_heal),
            ally_types=_type_bits(task, task.ally_units, task.ally_types, device),
            enemy_types=_type_bits(task, task.enemy_units, task.enemy_types, device),
        )


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
