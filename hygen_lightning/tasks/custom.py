"""Battles that users define, in Python (`make_battle`) or in a YAML file (`read_task`):

# 6m_vs_8m.yaml: the name of the task is the file's
allies: {marine: 6}
enemies: {marine: 8}

# two_sides.yaml: everything that a task file may say
allies: {marauder: 1, marine: 2}
enemies:                        # groups, where units of a side start at several places
  - {unit: marine, count: 2, spawn: [23, 12]}
  - {unit: marine, count: 1, spawn: [23, 20]}
episode_limit_env_steps: 100
enemy_attack_move_to: [9, 16]   # allies: where the first ally starts; null: enemies hold their place
terrain: plain
ally_race: T                    # T, P or Z: whether vectors tell shields (P); follows from the units
enemy_race: T
unit_types: [marauder, marine, medivac]   # order of the type bits; [] for none; follows from the units
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from hygen_lightning.specs import UserError
from hygen_lightning.tasks.battles import BattleTask, Points, Race, smac_layout
from hygen_lightning.tasks.maps import (
    ALLY_TYPE_ORDER,
    ENEMY_TYPE_ORDER,
    terrain_levels,
    terrain_names,
    unit_races,
)

ALLY_SPAWN, ENEMY_SPAWN = (9.0, 16.0), (23.0, 16.0)
"""Where the sides of most SMAC maps start, in map units; the maps have 32 x 32."""

MOST_UNITS, MOST_STEPS = 500, 10_000
"""Of a side, and of a battle: beyond what any policy here can play, or its recordings hold."""

Team = Mapping[str, int] | Sequence[Mapping[str, Any]]
"""{unit: count}, or groups {"unit", "count", "spawn"}, where spawn is [x, y] in map units."""


def make_battle(
    name: str,
    allies: Team,
    enemies: Team,
    *,
    episode_limit_env_steps: int = 120,
    enemy_attack_move_to: Sequence[float] | Literal["allies"] | None = "allies",
    terrain: str = "plain",
    ally_race: Race | None = None,
    enemy_race: Race | None = None,
    unit_types: Sequence[str] | None = None,
) -> BattleTask:
    """A battle of any units; what is left out follows from them. UserError says what is wrong.

    episode_limit_env_steps: 1 or more. enemy_attack_move_to: where the enemies are ordered to go,
    [x, y] in map units; "allies": where the first ally starts; None: they hold their places. terrain:
    a name of the map table. ally_race, enemy_race: P adds shields to the vectors. unit_types: order
    of the type bits, [] for none.

    Without unit_types there are no type bits where each side has one type of unit; else those of the
    SMAC map type that has them all, so that a policy for its maps plays this battle too; else one
    per type, by name.
    """
    if type(episode_limit_env_steps) is not int or episode_limit_env_steps < 1:
        raise UserError(f"{name}: the limit is {episode_limit_env_steps!r} steps; give at least 1")
    if Path(name).name != name:
        raise UserError(f"{name}: names a folder too, and recordings lie in one of this name; give a name")
    if unit_types is not None and not (
        isinstance(unit_types, list | tuple) and all(isinstance(u, str) for u in unit_types)
    ):
        raise UserError(f"{name}: unit_types is {unit_types!r}; give a list of units")
    if episode_limit_env_steps > MOST_STEPS:
        raise UserError(f"{name}: the limit is {episode_limit_env_steps} steps; give at most {MOST_STEPS}")
    _require_known(name, "terrain", [terrain], terrain_names())
    ally_units, ally_spawns = _units(name, "allies", allies, ALLY_SPAWN, terrain)
    enemy_units, enemy_spawns = _units(name, "enemies", enemies, ENEMY_SPAWN, terrain)
    ally_types, enemy_types = _types(name, ally_units, enemy_units, unit_types)
    if ally_types:  # SMAC sorts allies by type
        order = sorted(range(len(ally_units)), key=lambda i: ally_types.index(ally_units[i]))
        ally_units = tuple(ally_units[i] for i in order)
        ally_spawns = tuple(ally_spawns[i] for i in order)
    goal = ally_spawns[0] if enemy_attack_move_to == "allies" else enemy_attack_move_to
    ally_race = ally_race or _race(name, "ally_race", ally_units)
    enemy_race = enemy_race or _race(name, "enemy_race", enemy_units)
    return BattleTask(
        name,
        episode_limit_env_steps,
        smac_layout(len(ally_units), len(enemy_units), ally_race, enemy_race, len(ally_types)),
        ally_units=ally_units,
        enemy_units=enemy_units,
        ally_spawns=ally_spawns,
        enemy_spawns=enemy_spawns,
        enemy_attack_move_to=None if goal is None else _place(name, "enemy_attack_move_to", goal, terrain),
        ally_race=ally_race,
        enemy_race=enemy_race,
        ally_types=ally_types,
        enemy_types=enemy_types,
        terrain=terrain,
    )


def read_task(path: Path) -> BattleTask:
    """The battle of a task file; UserError, one line, names the file and what is wrong."""
    content = read_mapping(path)
    name = str(content.pop("name", path.stem))
    _require_known(str(path), "key", content, list(signature(make_battle).parameters)[1:])
    missing = [key for key in ("allies", "enemies") if key not in content]
    if missing:
        raise UserError(f"{path}: no {' and no '.join(missing)}; give `{missing[0]}: {{marine: 3}}`")
    for key in ("ally_race", "enemy_race"):
        _require_known(str(path), key, [content[key]] if content.get(key) else [], ["T", "P", "Z"])
    try:
        return make_battle(name, **content)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{name}: ')}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file of keys and values; UserError if there is none."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys; a task file begins with `allies: {{marine: 3}}`")
    return {str(key): value for key, value in content.items()}


def _units(name: str, side: str, groups: Any, spawn: tuple[float, float], terrain: str) -> tuple[Any, Points]:
    """One unit name and one spawn per unit of a side."""
    if isinstance(groups, Mapping) and groups:
        groups = [{"unit": unit, "count": count} for unit, count in groups.items()]
    if not isinstance(groups, Sequence) or not groups or not all(isinstance(g, Mapping) for g in groups):
        raise UserError(f"{name}: {side} is {groups!r}; give units and counts, for example {{marine: 3}}")
    units: list[str] = []
    spawns: list[tuple[float, float]] = []
    for group in groups:
        _require_known(name, f"key in {side}", group, ["unit", "count", "spawn"])
        unit, count = group.get("unit"), group.get("count", 1)
        _require_known(name, "unit", [unit], sorted(unit_races()))
        if type(count) is not int or count < 1:
            raise UserError(f"{name}: {side} has {count!r} of {unit}; give a number of at least 1")
        if len(units) + count > MOST_UNITS:
            raise UserError(f"{name}: {side} has more than {MOST_UNITS} units; give fewer")
        units += [str(unit)] * count
        spawns += [_place(name, f"spawn of {side}", group.get("spawn", spawn), terrain)] * count
    return tuple(units), tuple(spawns)


def _types(
    name: str, allies: tuple[str, ...], enemies: tuple[str, ...], given: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Order of the type bits of allies and of enemies."""
    units = {*allies, *enemies}
    if given is not None:
        if given and not units <= set(given):
            absent = ", ".join(sorted(units - set(given)))
            raise UserError(f"{name}: unit_types does not name {absent}; name all, or give []")
        return tuple(given), tuple(given)
    if len(set(allies)) == len(set(enemies)) == 1:
        return (), ()
    for known, types in sorted(ALLY_TYPE_ORDER.items(), key=lambda item: len(item[1])):
        if units <= set(types):
            return types, ENEMY_TYPE_ORDER[known]
    return tuple(sorted(units)), tuple(sorted(units))


def _race(name: str, option: str, units: Sequence[str]) -> Race:
    """The race of a side's units."""
    races = sorted({unit_races()[unit] for unit in units})
    if len(races) > 1:
        raise UserError(f"{name}: units of races {' and '.join(races)} on one side; say which with {option}")
    return races[0]


def _place(name: str, what: str, place: Any, terrain: str) -> tuple[float, float]:
    """A place of the map that can be walked on."""
    levels = terrain_levels(terrain)
    if (
        not isinstance(place, Sequence)
        or len(place) != 2
        or not all(isinstance(c, int | float) and 0 <= c < len(levels) for c in place)
    ):
        raise UserError(f"{name}: {what} is {place!r}; give [x, y], each from 0 to below {len(levels)}")
    x, y = place
    if levels[int(y)][int(x)] == "0":
        raise UserError(f"{name}: {what} is {[x, y]}, where nobody can walk on terrain {terrain}")
    return float(x), float(y)


def _require_known(name: str, what: str, given: Iterable[Any], known: Sequence[str]) -> None:
    """UserError for the first of the given words that is none of the known ones."""
    for word in given:
        if word not in known:
            near = difflib.get_close_matches(str(word), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise UserError(f"{name}: unknown {what} {word!r}; {hint}")
