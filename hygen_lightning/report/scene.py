"""A battle as arrays that are easy to draw: where every unit stands, how it is, what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hygen_lightning.specs import UserError
from hygen_lightning.tasks.battles import FIRST_TARGET, BattleTask

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes, Side, TaskSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass
class Team:
    """One side over T steps. N is A or E.

    units: N unit types. position [T, N, 2] in map units; a dead unit lies where it was last seen
    alive. health, shield [T, N] in 0..1. alive [T, N].
    """

    units: tuple[str, ...]
    position: Floats
    health: Floats
    shield: Floats
    alive: Bools

    @property
    def strength(self) -> Floats:
        """[T] mean health of the team, dead units counting zero."""
        return np.where(self.alive, self.health, 0.0).mean(axis=1)


@dataclass
class Scene:
    """One battle of T stored steps: the two teams, actions [T, A], skills [T, A] or None.

    An action at step t leads from step t to t + 1; the last step's action is never carried out.
    outcome: "won", "lost" or "out of time".
    """

    task: BattleTask
    allies: Team
    enemies: Team
    actions: Ints
    skills: Ints | None
    outcome: str

    @property
    def n_steps(self) -> int:
        """T, stored steps: one more than the environment steps played."""
        return len(self.actions)

    def targets(self, step: int) -> list[tuple[int, Team, int]]:
        """(ally, team of its target, index in that team) of every living ally that acts on somebody."""
        found = []
        for ally, action in enumerate(self.actions[step]):
            target = int(action) - FIRST_TARGET
            team = self.allies if self.task.ally_units[ally] == "medivac" else self.enemies
            if target >= 0 and self.allies.alive[step, ally] and target < len(team.units):
                found.append((ally, team, target))
        return found


def scene_of(
    task: TaskSpec,
    episodes: Episodes,
    skills: Tensor | None = None,
    row: int = 0,
    success: bool | None = None,
) -> Scene:
    """One battle of a batch. skills [B, T, A] or None.

    success: as the environment said; without it a battle counts as won when no enemy is left.
    UserError for tasks that are no battles.
    """
    if not isinstance(task, BattleTask):
        raise UserError(f"{task.name}: only battles can be drawn, not cooperative navigation")
    length = int(episodes.length[row])
    allies, enemies = task.sides(episodes.state[row, :length].cpu())
    ally_team, enemy_team = _team(task.ally_units, allies), _team(task.enemy_units, enemies)
    return Scene(
        task=task,
        allies=ally_team,
        enemies=enemy_team,
        actions=episodes.actions[row, :length].cpu().numpy(),
        skills=None if skills is None else skills[row, :length].cpu().numpy(),
        outcome=_outcome(task, ally_team, enemy_team, success),
    )


def _outcome(task: BattleTask, allies: Team, enemies: Team, success: bool | None) -> str:
    """A battle in which nobody is left who fights is lost: Medivacs alone do not count (SMAC's rule)."""
    fights = allies.alive[-1] & np.array([u != "medivac" or task.map_type != "MMM" for u in allies.units])
    if success or (success is None and not enemies.alive[-1].any() and allies.alive[-1].any()):
        return "won"
    return "out of time" if fights.any() and enemies.alive[-1].any() else "lost"


def _team(units: tuple[str, ...], side: Side) -> Team:
    """A side of the state with dead units left where they fell."""
    position = side.position.double().numpy().copy()
    alive = side.alive.numpy()
    for step in range(1, len(position)):
        position[step] = np.where(alive[step][:, None], position[step], position[step - 1])
    return Team(units, position, side.health.double().numpy(), side.shield.double().numpy(), alive)
