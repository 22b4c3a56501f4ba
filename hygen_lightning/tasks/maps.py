"""The map table: every SMAC and ODIS battle map, and cooperative navigation for any team size."""

from __future__ import annotations

import difflib
import json
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks.battles import BattleTask, as_battle
from hygen_lightning.tasks.navigation import navigation_task

ALLY_TYPE_ORDER = {
    "stalkers_and_zealots": ("stalker", "zealot"),
    "colossi_stalkers_zealots": ("colossus", "stalker", "zealot"),
    "MMM": ("marauder", "marine", "medivac"),
    "bane": ("baneling", "zergling"),
}
"""Index of the type bit of an ally, by map type (SMAC `get_unit_type_id`, `ally=True`)."""

ENEMY_TYPE_ORDER = {**ALLY_TYPE_ORDER, "stalkers_and_zealots": ("zealot", "stalker")}
"""The same for an enemy: SMAC numbers enemy zealots before enemy stalkers."""


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = files("hygen_lightning.tasks").joinpath("maps.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def all_task_names() -> list[str]:
    """Names of all battle maps, sorted (cooperative navigation is `cn-N` for any N >= 2)."""
    return sorted(_table()["maps"])


@cache
def load_task(name: str) -> TaskSpec:
    """The task of this name; UserError with the nearest names if there is none."""
    navigation = re.fullmatch(r"cn-(\d+)", name)
    if navigation and int(navigation[1]) >= 2:
        return navigation_task(int(navigation[1]))
    maps = _table()["maps"]
    if name not in maps:
        near = difflib.get_close_matches(name, [*maps, "cn-2", "cn-4"], n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(maps))}"
        raise UserError(f"unknown task {name!r}; {hint}")
    row = maps[name]
    allies, ally_spawns = _expand(row["allies"])
    enemies, enemy_spawns = _expand(row["enemies"])
    return BattleTask.of(
        name,
        row["limit"],
        ally_units=allies,
        enemy_units=enemies,
        ally_spawns=ally_spawns,
        enemy_spawns=enemy_spawns,
        enemy_attack_move_to=tuple(row["attack_move_to"]) if row["attack_move_to"] else None,
        ally_race=row["races"][0],
        enemy_race=row["races"][1],
        unit_type_bits=row["type_bits"],
        map_type=row["map_type"],
        terrain=row["terrain"],
    )


def battle_task(name: str) -> BattleTask:
    """The battle of this name; UserError if there is none, or if the task is no battle."""
    return as_battle(load_task(name))


def marine_task(n_allies: int, n_enemies: int) -> BattleTask:
    """A battle of Marines of any size, beyond the maps of SMAC: 27m_vs_30m with other numbers."""
    like = battle_task("27m_vs_30m")
    return BattleTask.of(
        f"{n_allies}m_vs_{n_enemies}m",
        like.episode_limit_env_steps,
        ally_units=like.ally_units[:1] * n_allies,
        enemy_units=like.enemy_units[:1] * n_enemies,
        ally_spawns=like.ally_spawns[:1] * n_allies,
        enemy_spawns=like.enemy_spawns[:1] * n_enemies,
        enemy_attack_move_to=like.enemy_attack_move_to,
        terrain=like.terrain,
    )


def terrain_levels(name: str) -> list[str]:
    """Cliff levels of a terrain: one string per row of cells, row 0 at y in [0, 1)."""
    return list(_table()["terrain"][name])


def _expand(groups: list[list[Any]]) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...]]:
    """[[unit, count, x, y], ...] -> one unit name and one spawn per unit."""
    units = tuple(unit for unit, count, _, _ in groups for _ in range(count))
    spawns = tuple((x, y) for _, count, x, y in groups for _ in range(count))
    return units, spawns
