"""Battles of SMAX, JaxMARL's StarCraft-like world (arXiv 2311.10090), as its version 0.2 defines them.

Units, maps and vectors are those of JaxMARL's `smax_env.py`; nothing here needs jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hygen_lightning.specs import EntityLayout, Look, Side
from hygen_lightning.tasks.battles import FightTask

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "smax-"
UNIT_TYPES = ("marine", "marauder", "stalker", "zealot", "zergling", "hydralisk")
"""The unit of each type bit."""
BASE_ACTIONS = ("north", "east", "south", "west", "stop")
STOP = 4
"""Always available; all that the dead can do. Action 5 + j attacks enemy j."""
MAP_SIDE = 32
"""Width and height of the ground. Whoever touches its edge dies."""
LIMIT_ENV_STEPS = 101
"""JaxMARL compares its limit, 100, with the steps before the last one."""

_MARINES = {"3m": (3, 3), "8m": (8, 8), "25m": (25, 25), "5m_vs_6m": (5, 6), "10m_vs_11m": (10, 11)}
_MARINES["27m_vs_30m"] = (27, 30)
_MIXED = {
    "2s3z": ({"stalker": 2, "zealot": 3}, {"stalker": 2, "zealot": 3}),
    "3s5z": ({"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 5}),
    "3s5z_vs_3s6z": ({"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 6}),
    "3s_vs_5z": ({"stalker": 3}, {"zealot": 5}),
    "6h_vs_8z": ({"hydralisk": 6}, {"zealot": 8}),
}
_DRAWN = {f"smacv2_{n}_units": n for n in (5, 10, 20)}


@dataclass(frozen=True)
class SmaxTask(FightTask):
    """Who fights whom. The enemies are SMAX's heuristic ones: they shoot the nearest, and keep at it.

    Observation [(A-1) x ally | E x enemy | own], as SMAX shows it; units that are dead or out of sight are
    zeros. State [A x unit | E x unit]: what every living unit sees of itself.
    ally_units, enemy_units: of UNIT_TYPES; empty where types and places are drawn for every battle, as in
    SMACv2.
    """

    ally_units: tuple[str, ...] = ()
    enemy_units: tuple[str, ...] = ()

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        """state [..., state_dim] -> (allies, enemies)."""

        def side(units: Tensor) -> Side:
            health = units[..., 0]
            return Side(units[..., 1:3] * MAP_SIDE, health, health * 0, health > 0, units[..., 3])

        allies, enemies, _ = self.layout.split_state(state)
        return side(allies), side(enemies)

    def look(self) -> Look:
        """The units by their types, where they do not differ from battle to battle, on level ground."""
        return Look(self.ally_units, self.enemy_units, ground=("1" * MAP_SIDE,) * MAP_SIDE)


def smax_battle(name: str, allies: Sequence[str], enemies: Sequence[str]) -> SmaxTask:
    """A battle of these units, of UNIT_TYPES, which may be on no map of SMAX; see `register_task`."""
    return SmaxTask(name, LIMIT_ENV_STEPS, _layout(len(allies), len(enemies)), tuple(allies), tuple(enemies))


def smax_names() -> list[str]:
    """Names of all maps of SMAX, as tasks."""
    return [PREFIX + name for name in (*_MARINES, *_MIXED, *_DRAWN)]


def smax_task(name: str) -> SmaxTask:
    """The task of a map of SMAX, such as smax-3m; KeyError if there is none of this name."""
    bare = name.removeprefix(PREFIX)
    if bare in _DRAWN:
        return SmaxTask(name, LIMIT_ENV_STEPS, _layout(_DRAWN[bare], _DRAWN[bare]))
    sides = _MIXED[bare] if bare in _MIXED else [{"marine": n} for n in _MARINES[bare]]
    allies, enemies = ([unit for unit, n in counts.items() for _ in range(n)] for counts in sides)
    return smax_battle(name, allies, enemies)


def _layout(n_allies: int, n_enemies: int) -> EntityLayout:
    own = ["health", "x", "y", "cooldown", *UNIT_TYPES]
    moved = ["last_move_x", "last_move_y", "last_target"]
    other = ["health", "dx", "dy", *moved, "cooldown", *UNIT_TYPES]
    return EntityLayout.of(
        n_allies,
        n_enemies,
        own=own,
        enemy=other,
        ally=other,
        state_ally=own,
        state_enemy=own,
        base_actions=BASE_ACTIONS,
        has_targets=True,
        obs_order=("allies", "enemies", "own"),
        state_order=("allies", "enemies"),
    )
