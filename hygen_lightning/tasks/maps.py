"""The map table: every SMAC and ODIS battle map, their terrain, and what follows from their units."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from hygen_lightning.tasks.battles import BattleTask, Points, Race, smac_layout

ALLY_TYPE_ORDER = {
    "stalkers_and_zealots": ("stalker", "zealot"),
    "colossi_stalkers_zealots": ("colossus", "stalker", "zealot"),
    "MMM": ("marauder", "marine", "medivac"),
    "bane": ("baneling", "zergling"),
}
"""Index of the type bit of an ally, by map type (SMAC `get_unit_type_id`, `ally=True`)."""

ENEMY_TYPE_ORDER = {**ALLY_TYPE_ORDER, "stalkers_and_zealots": ("zealot", "stalker")}
"""The same for an enemy: SMAC numbers enemy zealots before enemy stalkers."""


_SIDES = {"n_agents": "allies", "n_enemies": "enemies"}


@cache
def _table() -> dict[str, Any]:
    text = files("hygen_lightning.tasks").joinpath("maps.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def map_names() -> list[str]:
    """Names of all battle maps, sorted."""
    return sorted(_table()["maps"])


@cache
def map_task(name: str) -> BattleTask:
    """The battle of a map of the table; KeyError if there is none of this name."""
    row = _table()["maps"][name]
    allies, ally_spawns = _expand(row["allies"])
    enemies, enemy_spawns = _expand(row["enemies"])
    ally_race, enemy_race = row["races"]
    ally_types, enemy_types = (
        order[row["map_type"]] if row["type_bits"] else () for order in (ALLY_TYPE_ORDER, ENEMY_TYPE_ORDER)
    )
    return BattleTask(
        name,
        row["limit"],
        smac_layout(len(allies), len(enemies), ally_race, enemy_race, len(ally_types)),
        ally_units=allies,
        enemy_units=enemies,
        ally_spawns=ally_spawns,
        enemy_spawns=enemy_spawns,
        enemy_attack_move_to=tuple(row["attack_move_to"]) if row["attack_move_to"] else None,
        ally_race=ally_race,
        enemy_race=enemy_race,
        ally_types=ally_types,
        enemy_types=enemy_types,
        terrain=row["terrain"],
    )


def registry_row(name: str) -> dict[str, Any] | None:
    """What SMAC's map registry says of a map (`map_param_registry`); None for a name without a map."""
    row = _table()["maps"].get(name)
    if row is None:
        return None
    ally_race, enemy_race = row["races"]
    counts = {key: sum(count for _, count, *_ in row[side]) for key, side in _SIDES.items()}
    return {
        **counts,
        "limit": row["limit"],
        "a_race": ally_race,
        "b_race": enemy_race,
        "unit_type_bits": row["type_bits"],
        "map_type": row["map_type"],
    }


def _expand(groups: list[list[Any]]) -> tuple[tuple[str, ...], Points]:
    """[[unit, count, x, y], ...] -> one unit name and one spawn per unit."""
    units = tuple(unit for unit, count, _, _ in groups for _ in range(count))
    spawns = tuple((x, y) for _, count, x, y in groups for _ in range(count))
    return units, spawns


def terrain_names() -> list[str]:
    """Names of all terrains."""
    return list(_table()["terrain"])


def terrain_levels(name: str) -> list[str]:
    """Cliff levels of a terrain: one string per row of cells, row 0 at y in [0, 1)."""
    return list(_table()["terrain"][name])


@cache
def unit_races() -> dict[str, Race]:
    """Race of every unit that stands on a map of the table."""
    rows = _table()["maps"].values()
    sides = [(row[side], race) for row in rows for side, race in zip(("allies", "enemies"), row["races"])]
    return {unit: race for groups, race in sides for unit, *_ in groups}
