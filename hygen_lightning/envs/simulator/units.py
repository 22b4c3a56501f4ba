"""Unit stats: one row per unit type, each column with its source.

Times are game loops (16 per NORMAL second, as in the SMAC map files) and lengths are map units.

Sources, by column:
  health, shield, armour, speed, radius, attributes, energy: unit data in the SMAC map files.
  damage, bonus, period, range, splash, healing: published StarCraft II 4.x values (Liquipedia,
  patches 4.0 to 4.10), "faster" seconds converted to loops with 22.4 loops per second.
  max_cooldown: the divisor that SMAC's state uses (`unit_max_cooldown`), not a weapon period.
  backswing: published weapon data, NORMAL seconds: Marine 0.75, Marauder 0, default 0.5 (assumed for all
  others, and that they stand still for it as Marines do).
The Marine's period, range and damage are also measured in the recordings (constants.py), and its backswing:
of 10 to 15 loops, 12 give the recorded damage the highest likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOPS_PER_SECOND = 16.0
"""Game loops per NORMAL second."""


@dataclass(frozen=True)
class UnitType:
    """One unit type.

    speed: map units per game loop. weapon_range: edge to edge. period: loops between shots; backswing:
    loops after a shot in which an attack-moving unit stands.
    separation: radius that keeps units apart (0: `radius`). hits: per shot; armour counts for each.
    zerg: health regenerates. bonus, bonus_against: extra damage per hit against an attribute.
    splash: "" (one target), "line" (Colossus) or "burst" (Baneling, which dies of it).
    """

    health: float
    radius: float
    speed: float
    shield: float = 0.0
    armour: float = 0.0
    attributes: frozenset[str] = frozenset()
    damage: float = 0.0
    hits: int = 1
    bonus: float = 0.0
    bonus_against: str = ""
    period: float = 1.0
    backswing: float = 8.0
    weapon_range: float = 0.0
    separation: float = 0.0
    zerg: bool = False
    splash: str = ""
    max_cooldown: float = 15.0
    energy: float = 0.0
    energy_max: float = 0.0
    flying: bool = False
    hits_air: bool = False
    cliff_walking: bool = False

    @property
    def footprint(self) -> float:
        """Radius that keeps other units at a distance."""
        return self.separation or self.radius


def _speed(per_second: float) -> float:
    return per_second / LOOPS_PER_SECOND


_LIGHT_BIO = frozenset({"light", "biological"})

UNITS: dict[str, UnitType] = {
    "marine": UnitType(
        health=45,
        radius=0.375,
        speed=_speed(2.25),
        attributes=_LIGHT_BIO,
        damage=6,
        period=13.7728,
        backswing=12,
        weapon_range=5,
        max_cooldown=15,
        hits_air=True,
    ),
    "marauder": UnitType(
        health=125,
        radius=0.5625,
        speed=_speed(2.25),
        armour=1,
        attributes=frozenset({"armored", "biological"}),
        damage=10,
        bonus=10,
        bonus_against="armored",
        period=24.0,
        backswing=0,
        weapon_range=6,
        max_cooldown=25,
    ),
    "medivac": UnitType(
        health=150,
        radius=0.75,
        speed=_speed(2.75),
        armour=1,
        attributes=frozenset({"armored", "mechanical"}),
        weapon_range=4,
        energy=50,
        energy_max=200,
        max_cooldown=200,
        flying=True,
    ),
    "stalker": UnitType(
        health=80,
        shield=80,
        radius=0.625,
        speed=_speed(2.9531),
        armour=1,
        attributes=frozenset({"armored", "mechanical"}),
        damage=13,
        bonus=5,
        bonus_against="armored",
        period=29.95,
        weapon_range=6,
        max_cooldown=35,
        hits_air=True,
    ),
    "zealot": UnitType(
        health=100,
        shield=50,
        radius=0.5,
        separation=0.375,
        speed=_speed(2.25),
        armour=1,
        attributes=_LIGHT_BIO,
        damage=8,
        hits=2,
        period=19.2,
        weapon_range=0.1,
        max_cooldown=22,
    ),
    "colossus": UnitType(
        health=200,
        shield=150,
        radius=1.0,
        separation=0.75,
        speed=_speed(2.25),
        armour=1,
        attributes=frozenset({"armored", "mechanical", "massive"}),
        damage=10,
        hits=2,
        bonus=5,
        bonus_against="light",
        period=24.0,
        weapon_range=7,
        splash="line",
        max_cooldown=24,
        cliff_walking=True,
    ),
    "hydralisk": UnitType(
        zerg=True,
        health=80,
        radius=0.625,
        speed=_speed(2.25),
        attributes=_LIGHT_BIO,
        damage=12,
        period=13.2,
        weapon_range=5,
        max_cooldown=10,
        hits_air=True,
    ),
    "zergling": UnitType(
        zerg=True,
        health=35,
        radius=0.375,
        speed=_speed(2.9531),
        attributes=_LIGHT_BIO,
        damage=5,
        period=11.136,
        weapon_range=0.1,
        max_cooldown=11,
    ),
    "baneling": UnitType(
        zerg=True,
        health=30,
        radius=0.375,
        speed=_speed(2.5),
        attributes=frozenset({"biological"}),
        damage=20,
        bonus=15,
        bonus_against="light",
        weapon_range=0.25,
        splash="burst",
        max_cooldown=1,
    ),
    "spinecrawler": UnitType(
        zerg=True,
        health=300,
        radius=1.125,
        speed=0.0,
        armour=2,
        attributes=frozenset({"armored", "biological", "structure"}),
        damage=25,
        bonus=5,
        bonus_against="armored",
        period=29.6,
        weapon_range=7,
        max_cooldown=15,
    ),
}
"""Every unit of the SMAC maps."""
