"""Who takes part in a battle: the constants of every unit, as tensors that broadcast over battles.

Inside the simulator the units come first and the battles last, [N, B] with N = A + E and the
allies on top: one operation then runs over long contiguous rows of battles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.units import UNITS, UnitType
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks.maps import ALLY_TYPE_ORDER, ENEMY_TYPE_ORDER

MAX_SHIELD_OF_NONE = 1.0
"""Divisor for units without shields, whose shield is always zero."""


@dataclass(frozen=True)
class Roster:
    """Constants of the N units of a task; all tensors [N, 1] float32 unless said otherwise.

    damage [N, N]: what one shot of a row unit takes from a column unit's health (armour and bonus
    counted, no shield); shield_damage [N, N]: the same from its shield, which armour does not protect.
    can_target [N, N] bool: opponents that the weapon reaches (ground or air); heals [N, N] bool.
    ally_types [A, types], enemy_types [E, types]: SMAC's one-hot type bits.
    """

    task: TaskSpec
    health: Tensor
    shield: Tensor
    radius: Tensor
    speed: Tensor
    period: Tensor
    weapon_range: Tensor
    max_cooldown: Tensor
    energy: Tensor
    is_medivac: Tensor
    flying: Tensor
    damage: Tensor
    shield_damage: Tensor
    can_target: Tensor
    heals: Tensor
    ally_types: Tensor
    enemy_types: Tensor

    @property
    def n_allies(self) -> int:
        return self.task.n_allies

    @property
    def n_enemies(self) -> int:
        return self.task.n_enemies

    @property
    def units(self) -> list[UnitType]:
        return [UNITS[name] for name in (*self.task.ally_units, *self.task.enemy_units)]

    @property
    def max_reward(self) -> float:
        """Unscaled return of a won battle without shield regeneration (SMAC `max_reward`)."""
        enemies = self.units[self.n_allies :]
        return 200.0 + sum(10.0 + u.health + u.shield for u in enemies)

    @classmethod
    def of(cls, task: TaskSpec, device: torch.device) -> Roster:
        """The roster of a battle task; UserError where the simulator knows a unit not."""
        names = (*task.ally_units, *task.enemy_units)
        unknown = sorted({n for n in names if n not in UNITS})
        if task.kind != "battle" or unknown:
            what = f"units {', '.join(unknown)}" if unknown else f"a {task.kind} task"
            raise UserError(f"task {task.name!r}: the simulator cannot play {what}; it plays {sorted(UNITS)}")
        units = [UNITS[name] for name in names]

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(1)

        def pairs(values: list[list[float]]) -> Tensor:
            return torch.tensor(values, device=device)

        allied = [i < task.n_allies for i in range(len(units))]
        return cls(
            task=task,
            health=column([u.health for u in units]),
            shield=column([u.shield for u in units]),
            radius=column([u.radius for u in units]),
            speed=column([u.speed for u in units]),
            period=column([u.period for u in units]),
            weapon_range=column([u.weapon_range for u in units]),
            max_cooldown=column([u.max_cooldown for u in units]),
            energy=column([u.energy for u in units]),
            is_medivac=column([float(n == "medivac") for n in names]).bool(),
            flying=column([float(u.flying) for u in units]).bool(),
            damage=pairs([[_damage(u, v, v.armour) for v in units] for u in units]),
            shield_damage=pairs([[_damage(u, v, 0.0) for v in units] for u in units]),
            can_target=pairs(
                [
                    [u.damage > 0 and a != b and (u.hits_air or not v.flying) for v, b in zip(units, allied)]
                    for u, a in zip(units, allied)
                ]
            ),
            heals=pairs(
                [
                    [
                        n == "medivac" and a == b and "biological" in v.attributes
                        for v, b in zip(units, allied)
                    ]
                    for n, a in zip(names, allied)
                ]
            ),
            ally_types=_type_bits(task, task.ally_units, ALLY_TYPE_ORDER, device),
            enemy_types=_type_bits(task, task.enemy_units, ENEMY_TYPE_ORDER, device),
        )


def _damage(attacker: UnitType, target: UnitType, armour: float) -> float:
    """Damage of one shot: every hit is reduced by armour, but never below one half."""
    if attacker.damage == 0:
        return 0.0
    bonus = attacker.bonus if attacker.bonus_against in target.attributes else 0.0
    return attacker.hits * max(attacker.damage + bonus - armour, 0.5)


def _type_bits(
    task: TaskSpec, names: tuple[str, ...], order: dict[str, tuple[str, ...]], device: torch.device
) -> Tensor:
    """[units, type bits] one-hot, or no columns where the map has none."""
    bits = torch.zeros(len(names), task.unit_type_bits, device=device)
    if task.unit_type_bits:
        for row, name in enumerate(names):
            bits[row, order[task.map_type].index(name)] = 1
    return bits
