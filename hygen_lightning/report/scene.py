"""An episode as arrays that are easy to draw: where every unit stands, how it is, what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes, Look, Side, TaskSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

MARGIN = 1.8
"""Ground shown around the outermost units."""
LEAST_EXTENT = 14.0, 8.0
"""Width and height of ground that are shown at least."""
WHOLE_UP_TO = 24
"""Grounds of at most so many cells a side, edge included, are shown whole."""
SCALED_SPREAD = 12.0
"""Larger side of all places of a task without ground, once they are scaled to the picture."""


@dataclass
class Team:
    """One side over T steps. N is A or E.

    units: N unit types. position [T, N, 2]; a dead unit lies where it was last seen alive.
    health, shield [T, N] in 0..1. alive [T, N].
    """

    units: tuple[str, ...]
    position: Floats
    health: Floats
    shield: Floats
    alive: Bools

    @classmethod
    def of(cls, units: tuple[str, ...], side: Side) -> Team:
        """A side of T states with dead units left where they fell."""
        position, alive = side.position.double().numpy().copy(), side.alive.numpy()
        for step in range(1, len(position)):
            position[step] = np.where(alive[step][:, None], position[step], position[step - 1])
        return cls(units, position, side.health.double().numpy(), side.shield.double().numpy(), alive)

    @property
    def strength(self) -> Floats:
        """[T] mean health of the team, dead units counting zero."""
        return np.where(self.alive, self.health, 0.0).mean(axis=1)


@dataclass
class Scene:
    """One episode of T stored steps: the two teams, actions [T, A], skills [T, A] or None.

    An action at step t leads from step t to t + 1; the last step's action is never carried out.
    first_target: the action that acts on the first target. outcome: how it ended, in the task's
    words. success: None where neither the environment nor the recording tells.
    """

    look: Look
    allies: Team
    enemies: Team
    actions: Ints
    skills: Ints | None
    first_target: int
    outcome: str
    success: bool | None

    @property
    def n_steps(self) -> int:
        """T, stored steps: one more than the environment steps played."""
        return len(self.actions)

    @property
    def has_health(self) -> bool:
        """Whether a living unit is ever hurt, so that health is worth showing."""
        return any((team.health[team.alive] < 1).any() for team in (self.allies, self.enemies))

    @property
    def has_losses(self) -> bool:
        """Whether anybody is ever hurt or gone, so that the strength of the teams is worth showing."""
        return self.has_health or not (self.allies.alive.all() and self.enemies.alive.all())

    def targets(self, step: int) -> list[tuple[int, Team, int]]:
        """(ally, team of its target, index in that team) of every living ally that acts on somebody."""
        found = []
        for ally, action in enumerate(self.actions[step]):
            target = int(action) - self.first_target
            team = self.allies if ally in self.look.healers else self.enemies
            if self.allies.alive[step, ally] and 0 <= target < len(team.units):
                found.append((ally, team, target))
        return found

    def heading(self, step: int, ally: int) -> Floats | None:
        """Direction [2] in which an ally walks from this step on; None where it stays or has a target."""
        following = min(step + 1, self.n_steps - 1)
        way = self.allies.position[following, ally] - self.allies.position[step, ally]
        length = float(np.linalg.norm(way))
        return way / length if length > 0.2 and self.actions[step, ally] < self.first_target else None

    def window(self) -> tuple[Floats, Floats]:
        """Lower left and upper right corner of what is shown: where anybody lived, or all of a small
        ground, and a margin."""
        places = np.concatenate([team.position[team.alive] for team in (self.allies, self.enemies)])
        rows = self.look.ground
        if rows and max(len(rows), len(rows[0])) <= WHOLE_UP_TO:
            places = np.array([[1, 1], [len(rows[0]) - 1, len(rows) - 1]])
        low, high = places.min(axis=0) - MARGIN, places.max(axis=0) + MARGIN
        middle, extent = (low + high) / 2, np.maximum(high - low, LEAST_EXTENT)
        extent[1] = max(extent[1], extent[0] * 0.5)
        extent[0] = max(extent[0], extent[1] / 0.85)
        return middle - extent / 2, middle + extent / 2


def scene_of(
    task: TaskSpec,
    episodes: Episodes,
    skills: Tensor | None = None,
    row: int = 0,
    success: bool | None = None,
) -> Scene:
    """One episode of a batch. skills [B, T, A] or None.

    success: as the environment said; without it the recording decides, where it can.
    UserError for tasks whose state tells no places.
    """
    one = episodes[row : row + 1].trimmed()
    length = int(one.length[0])
    ally_side, enemy_side = task.sides(one.state[0, :length].cpu())
    look = task.look()
    allies = Team.of(look.ally_units or ("agent",) * task.n_allies, ally_side)
    enemies = Team.of(look.enemy_units or (task.enemy_name,) * task.n_enemies, enemy_side)
    if not look.ground:
        _scale_to_picture(allies, enemies)
    seen = task.success(one)
    ways = task.outcomes(one)
    told = next((name for name, rows in ways.items() if rows[0]), "ended")
    if success:
        told = "success" if seen is None else next(iter(ways))
    return Scene(
        look=look,
        allies=allies,
        enemies=enemies,
        actions=one.actions[0, :length].cpu().numpy(),
        skills=None if skills is None else skills[row, :length].cpu().numpy(),
        first_target=len(task.layout.base_actions),
        outcome=told,
        success=bool(seen[0]) if success is None and seen is not None else success,
    )


def _scale_to_picture(allies: Team, enemies: Team) -> None:
    """Positions in units of their own, stretched equally both ways."""
    places = np.concatenate([team.position[team.alive] for team in (allies, enemies)])
    spread = float((places.max(axis=0) - places.min(axis=0)).max())
    for team in (allies, enemies):
        team.position *= SCALED_SPREAD / max(spread, 1e-6)
