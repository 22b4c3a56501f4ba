"""Scripted players of graded strength: teachers for recordings, opponents for a comparison.

random          any available action, each with the same chance
nearest_attack  attack the nearest enemy in range, else walk to the nearest living one
focus_fire      all allies agree on an order of enemies, the weakest first, and await them in a
                line where these come by themselves
kiting          focus fire, but ranged allies step back from melee enemies while their weapon cools,
                and from shooting ones while they are hurt

They see observations, states and available actions only, and decide for all battles at once.
Every player but `random` scores all actions and takes the best available one, so an unavailable
action cannot be chosen. A Medivac heals the most hurt ally it can reach.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from hygen_lightning.policy import Decision, Policy
from hygen_lightning.rollouts.reading import Side, read_state
from hygen_lightning.specs import FIRST_TARGET, NO_OP, NORTH, STOP, WEST, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from hygen_lightning.envs.base import BattleView
    from hygen_lightning.specs import TaskSpec

MELEE_UNITS = frozenset({"zealot", "zergling", "baneling"})
"""Units that have to touch what they hit."""

ATTACK = 100.0
"""Score of an attack before its cost (at most 50); every move scores within -1..1."""


LINE_SPACING, LINE_TOLERANCE = 1.1, 0.6
"""Map units between neighbours in a line, and to one's place in it along x and y: nearer, one stays."""


class RandomPlayer:
    """Any available action, each with the same chance; a dead agent's only one is no-op.

    One generator per player: the same seed and the same calls give the same actions.
    """

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def initial_memory(self, task: TaskSpec, n_battles: int) -> None:
        """Nothing to remember."""

    def act(self, task: TaskSpec, view: BattleView, last_actions: Tensor, memory: Any) -> Decision:
        """One step of B battles; see `Policy.act`."""
        draw = torch.rand(view.avail_actions.shape, generator=self._generator)
        draw = draw.to(view.avail_actions.device).masked_fill(~view.avail_actions, -1.0)
        return Decision(actions=draw.argmax(dim=-1), memory=memory)


class ScoringPlayer(ABC):
    """Scores every action of every agent and takes the best available one."""

    def __init__(self, seed: int = 0) -> None:
        del seed  # deterministic: the same views give the same actions under any seed

    def initial_memory(self, task: TaskSpec, n_battles: int) -> None:
        """Nothing to remember; UserError for a task that is no battle."""
        if task.kind != "battle":
            raise UserError(f"{task.name}: this scripted player knows battles only; use 'random'")

    def act(self, task: TaskSpec, view: BattleView, last_actions: Tensor, memory: Any) -> Decision:
        """One step of B battles; see `Policy.act`."""
        allies, enemies = read_state(task, view.state)
        attacks, heading = self.score(task, view, allies, enemies)
        scores = torch.full(view.avail_actions.shape, -1.0, device=view.state.device)
        scores[..., NO_OP], scores[..., STOP] = -9.0, 1e-3
        scores[..., NORTH : WEST + 1] = _move_scores(heading)
        scores[..., FIRST_TARGET:] = attacks
        healers = [i for i, unit in enumerate(task.ally_units) if unit == "medivac"]
        if healers:
            scores[:, healers] = _healer_scores(scores[:, healers], healers, allies)
        scores = scores.masked_fill(~view.avail_actions, -torch.inf)
        return Decision(actions=scores.argmax(dim=-1), memory=memory)

    @abstractmethod
    def score(self, task: TaskSpec, view: BattleView, allies: Side, enemies: Side) -> tuple[Tensor, Tensor]:
        """Scores of attacks [B, A, E] (`ATTACK` minus a cost) and where to walk [B, A, 2].

        The heading is a direction or zeros; walking scores its cosine with each of the four
        moves, and 0 or less loses against standing still.
        """


class NearestAttack(ScoringPlayer):
    """Attack the nearest enemy in range, else walk to the nearest living one."""

    def score(self, task: TaskSpec, view: BattleView, allies: Side, enemies: Side) -> tuple[Tensor, Tensor]:
        distance = _distances(allies, enemies)
        return ATTACK - distance, _towards_nearest(allies, enemies, distance)


class FocusFire(ScoringPlayer):
    """All allies share one order of enemies: the weakest first, of equals the closest to the team.

    Where the enemies attack by themselves, the allies await them in a line across their way, so
    that all can shoot when they come; as soon as one can, those out of range close up.
    """

    def score(self, task: TaskSpec, view: BattleView, allies: Side, enemies: Side) -> tuple[Tensor, Tensor]:
        distance = _distances(allies, enemies)
        toughness = 10.0 * (enemies.health + enemies.shield)
        team_distance = distance.masked_fill(~allies.alive[..., None], 0.0).sum(dim=1)
        team_distance = team_distance / allies.alive.sum(dim=1, keepdim=True).clamp(min=1)
        order = toughness + 0.1 * team_distance.clamp(max=50.0)
        attacks = (ATTACK - order)[:, None, :].expand_as(distance)
        heading = _towards_nearest(allies, enemies, distance)
        if task.enemy_attack_move_to is not None:
            engaged = view.avail_actions[..., FIRST_TARGET:].flatten(1).any(dim=1)
            heading = torch.where(engaged[:, None, None], heading, _towards_line(allies, enemies))
        return attacks, heading


class Kiting(FocusFire):
    """Focus fire; ranged allies step back where standing would cost more than it brings.

    From a melee enemy nearby while the own weapon cools down; and, where all enemies shoot, out of
    their range while much weaker than the strongest ally, so that others draw the fire.
    """

    melee_danger_range = 4.0
    """Distance in map units, centre to centre, at which a melee enemy makes a ranged ally step back."""
    shot_danger_range = 6.5
    """The same for enemies that shoot, and allies that are hurt."""
    hurt_share = 0.5
    """An ally below this share of the strongest ally's health and shield counts as hurt."""

    def score(self, task: TaskSpec, view: BattleView, allies: Side, enemies: Side) -> tuple[Tensor, Tensor]:
        attacks, heading = super().score(task, view, allies, enemies)
        gap = allies.position[:, :, None] - enemies.position[:, None]
        distance = gap.norm(dim=-1).clamp(min=1e-3)
        melee = torch.tensor([unit in MELEE_UNITS for unit in task.enemy_units], device=distance.device)
        ranged = torch.tensor([unit not in MELEE_UNITS for unit in task.ally_units], device=distance.device)
        cooling = (allies.cooldown > 0)[..., None]
        danger = (distance < self.melee_danger_range) & melee & cooling
        if not any(unit in MELEE_UNITS for unit in task.enemy_units):
            strength = allies.health + allies.shield
            hurt = strength < self.hurt_share * strength.max(dim=1, keepdim=True).values
            danger |= (distance < self.shot_danger_range) & hurt[..., None]
        danger &= enemies.alive[:, None] & ranged[:, None]
        retreats = danger.any(dim=-1, keepdim=True)
        away = (gap / distance[..., None] ** 3 * danger[..., None]).sum(dim=2)
        no_better_way = 0.5 * attacks / ATTACK
        attacks = torch.where(retreats, no_better_way, attacks)
        return attacks, torch.where(retreats, _unit_vectors(away), heading)


SCRIPTED_PLAYERS: dict[str, Callable[[int], Policy]] = {
    "random": RandomPlayer,
    "nearest_attack": NearestAttack,
    "focus_fire": FocusFire,
    "kiting": Kiting,
}
"""Scripted players by name, weakest first; each is made from a seed."""


def scripted_player(name: str, seed: int = 0) -> Policy:
    """The scripted player of this name; UserError listing the known names if there is none."""
    if name not in SCRIPTED_PLAYERS:
        raise UserError(f"unknown player {name!r}; choose one of {', '.join(SCRIPTED_PLAYERS)}")
    return SCRIPTED_PLAYERS[name](seed)


def _distances(allies: Side, enemies: Side) -> Tensor:
    """[B, A, E] map units from each ally to each enemy; 50 for dead enemies, beyond any map."""
    distance = (allies.position[:, :, None] - enemies.position[:, None]).norm(dim=-1)
    return distance.masked_fill(~enemies.alive[:, None], 50.0)


def _unit_vectors(vectors: Tensor) -> Tensor:
    """vectors [..., 2] scaled to length 1; zeros stay zeros."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _towards_nearest(allies: Side, enemies: Side, distance: Tensor) -> Tensor:
    """[B, A, 2] direction from each ally to its nearest living enemy, zeros where none lives."""
    nearest = distance.argmin(dim=-1)[..., None].expand(-1, -1, 2)
    heading = enemies.position.gather(1, nearest) - allies.position
    return _unit_vectors(heading) * enemies.alive.any(dim=-1)[:, None, None]


def _towards_line(allies: Side, enemies: Side) -> Tensor:
    """[B, A, 2] way of each ally to its place in a line across the way to the enemies.

    Places are handed out in the order in which the allies already stand along the line. Zeros for
    allies so near to their place that a step (1.125 map units for a Marine) would overshoot.
    """
    middle, front = _centre(allies), _unit_vectors(_centre(enemies) - _centre(allies))
    along = torch.stack([-front[..., 1], front[..., 0]], dim=-1)
    offset = ((allies.position - middle) * along).sum(dim=-1)
    place = offset.masked_fill(~allies.alive, 100.0).argsort(dim=1).argsort(dim=1)
    half_width = (allies.alive.sum(dim=1, keepdim=True) - 1) / 2
    goal = middle + along * (LINE_SPACING * (place - half_width))[..., None]
    way = goal - allies.position
    return _unit_vectors(way) * (way.abs().amax(dim=-1, keepdim=True) > LINE_TOLERANCE)


def _centre(side: Side) -> Tensor:
    """[B, 1, 2] mean position of the living units of a side."""
    total = (side.position * side.alive[..., None]).sum(dim=1, keepdim=True)
    return total / side.alive.sum(dim=1).clamp(min=1)[:, None, None]


def _move_scores(heading: Tensor) -> Tensor:
    """heading [..., 2] -> [..., 4] its cosine with north, south, east and west."""
    x, y = heading.unbind(dim=-1)
    return torch.stack([y, -y, x, -x], dim=-1)


def _healer_scores(scores: Tensor, healers: list[int], allies: Side) -> Tensor:
    """scores [B, M, K] of M Medivacs -> the same with heals of the most hurt ally, or the way to it.

    Action 6 + j heals ally j. Dead allies and the Medivacs themselves need no healing.
    """
    patients = allies.alive.clone()
    patients[:, healers] = False
    hurt = torch.where(patients, 1.0 - allies.health, -1.0)
    slots = min(hurt.shape[1], scores.shape[-1] - FIRST_TARGET)
    scores = scores.clone()
    scores[..., FIRST_TARGET:] = -1.0
    scores[..., FIRST_TARGET : FIRST_TARGET + slots] = ATTACK + hurt[:, None, :slots]
    patient = hurt.argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    heading = allies.position.gather(1, patient) - allies.position[:, healers]
    close_enough = heading.norm(dim=-1, keepdim=True) < 2.0
    scores[..., NORTH : WEST + 1] = _move_scores(_unit_vectors(heading) * ~close_enough)
    return scores
