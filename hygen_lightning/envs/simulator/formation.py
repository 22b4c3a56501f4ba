"""How a battle begins: where the units stand, and the first walk of the enemies.

In the recordings of 3m the first Marine stands on the spawn point and the others 0.6885 south and east of
it: the game packs units around the point at 0.918 of the sum of their radii. Each unit type continues this
pattern on a square lattice of its own spacing, nearest places first, of equally near ones the eastern first
and then the southern (assumed: of the orders tried, policies trained in StarCraft II do best with this one,
see docs/validity.md). The first observation is taken after the enemies have walked for one game loop.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.constants import PACKING
from hygen_lightning.envs.simulator.state import START_STREAM, BattleState, flag, uniform
from hygen_lightning.envs.simulator.step import on_grid
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.envs.simulator.units import UNITS
from hygen_lightning.envs.simulator.walking import wanted_velocity
from hygen_lightning.specs import UserError
from hygen_lightning.tasks.battles import BattleTask

REACH = 12
"""Largest distance of a place from the spawn point, in steps of its lattice along x and y."""


@dataclass(frozen=True)
class Start:
    """What all battles of a task have in common when they begin.

    x, y [N, 1]: places, see `formation`. kinds [N, 1] int64: units of one kind may change places. ranks
    [N, 1] int64: the units sorted by kind. to_goal: from the middle of the enemies to their goal, map units.
    """

    x: Tensor
    y: Tensor
    kinds: Tensor
    ranks: Tensor
    to_goal: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, params: UnitParams, terrain: Terrain) -> Start:
        """Enemies of one type may change places, allies do not."""
        total, n, names = params.n_units, params.n_allies, params.names
        x, y = formation(params.task, terrain)
        kinds = torch.tensor([i if i < n else total + names.index(names[i], n) for i in range(total)])
        goal, device = params.task.enemy_attack_move_to, params.draw.device
        ranks = kinds.argsort(stable=True)
        to_goal = None if goal is None else (goal[0] - x[n:].mean(), goal[1] - y[n:].mean())
        x, y, kinds, ranks = (v.to(device).unsqueeze(1) for v in (x, y, kinds, ranks))
        return cls(x, y, kinds, ranks, to_goal)


def new_battles(params: UnitParams, terrain: Terrain, start: Start, seeds: Tensor) -> BattleState:
    """Battles of these seeds [B] int64."""
    n = params.n_allies
    order = unit_order(params, start, seeds)
    s = BattleState.blank(n, params.n_enemies, seeds)
    s.x, s.y = (place.expand_as(order).gather(0, order) for place in (start.x, start.y))
    s.health, s.shield, s.energy = (
        full.expand_as(s.x).clone() for full in (params.health, params.shield, params.energy)
    )
    s.goal_x, s.goal_y = s.x[n:], s.y[n:]
    if start.to_goal is not None:
        s.goal_x, s.goal_y = s.goal_x + start.to_goal[0], s.goal_y + start.to_goal[1]
    return first_loop(params, terrain, s)


def first_loop(params: UnitParams, terrain: Terrain, before: BattleState) -> BattleState:
    """The battles after the enemies' first game loop of walking (measured: the first recorded positions of
    3m are one loop of walking away from the spawn point)."""
    s = copy.copy(before)
    is_enemy = torch.arange(params.n_units, device=s.x.device).unsqueeze(1) >= params.n_allies
    idle, nobody = torch.zeros_like(s.x[: params.n_allies]), torch.zeros_like(s.x)
    vx, vy = wanted_velocity(params, terrain, s, (idle, idle), nobody, flag(~is_enemy).expand_as(s.x))
    s.x, s.y = on_grid(s.x + vx), on_grid(s.y + vy)
    return s


def attack_move_goals(task: BattleTask, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where enemies that stand at x, y [E, B] walk to, each [E, B]: all by the same way, or nowhere."""
    goal = task.enemy_attack_move_to
    if goal is None:
        return x, y
    return x - x.mean(0) + goal[0], y - y.mean(0) + goal[1]


def unit_order(params: UnitParams, start: Start, seeds: Tensor) -> Tensor:
    """[N, B] int64: the place that each unit takes; enemies of one type are shuffled in each battle."""
    draw = uniform(seeds, torch.zeros_like(seeds), params.draw[: params.n_units], START_STREAM)
    order = (start.kinds + draw).argsort(dim=0)
    return torch.empty_like(order).scatter_(0, start.ranks.expand_as(order).contiguous(), order)


def formation(task: BattleTask, terrain: Terrain) -> tuple[Tensor, Tensor]:
    """x, y [N] float32 at the start; allies sorted as SMAC sorts them (unit type, x, y)."""
    allies = _packed(task.ally_units, task.ally_spawns, terrain)
    enemies = _packed(task.enemy_units, task.enemy_spawns, terrain)
    order = sorted(range(len(allies)), key=lambda i: (task.ally_units.index(task.ally_units[i]), allies[i]))
    places = [allies[i] for i in order] + enemies
    return torch.tensor([p[0] for p in places]), torch.tensor([p[1] for p in places])


def _packed(
    units: tuple[str, ...], spawns: tuple[tuple[float, float], ...], terrain: Terrain
) -> list[tuple[float, float]]:
    """One place per unit: the free one nearest to its spawn point."""
    directions = _directions()
    open_cells = terrain.open.tolist()
    taken: list[tuple[float, float, float]] = []
    for unit, (x0, y0) in zip(units, spawns):
        radius = UNITS[unit].footprint
        spacing = PACKING * 2 * radius
        for i, j in directions:
            x, y = x0 + i * spacing, y0 + j * spacing
            free = all(math.hypot(x - u, y - v) > PACKING * (radius + r) - 1e-6 for u, v, r in taken)
            if free and open_cells[int(y)][int(x)]:
                taken.append((x, y, radius))
                break
        else:
            raise UserError(f"no room for {len(units)} units around {spawns[0]} on terrain {terrain.name!r}")
    return [(x, y) for x, y, _ in taken]


def _directions() -> list[tuple[int, int]]:
    """Places of a lattice in its own steps, nearest first; of equally near ones east first, then south."""
    steps = range(-REACH, REACH + 1)
    return sorted(((i, j) for i in steps for j in steps), key=lambda c: (c[0] ** 2 + c[1] ** 2, -c[0], c[1]))
