"""Scripted policies of graded strength: teachers for recordings, opponents for a comparison.

random          any available action, each with the same chance
nearest_attack  attack the nearest enemy in range, else walk to the nearest living one
smac_heuristic  the same, but an ally keeps the enemy it chose until that is dead
focus_fire      ranged allies shoot the same enemy, the weakest first; where enemies come by
                themselves, all await them in an arc
kiting          focus fire, but ranged allies step back: from melee enemies while the weapon cools,
                and from shooting ones while these shoot at them
pull_back       meet the nearest enemy, shoot the weakest in range, step back when hit and hurt

They see observations, states and available actions only, and decide for all battles at once.
Every one but `random` scores all actions and takes the best available one, so an unavailable
action cannot be chosen. A Medivac heals the most hurt ally it can reach. How often each wins on
which map: `python -m hygen_lightning players`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from hygen_lightning.envs import environment_class
from hygen_lightning.policy import Policy, PolicyOutput
from hygen_lightning.rollouts.headings import (
    FAR,
    distances,
    move_scores,
    towards_arc,
    towards_nearest,
    unit_vectors,
)
from hygen_lightning.specs import UserError
from hygen_lightning.tasks.battles import FIRST_TARGET, NO_OP, NORTH, STOP, WEST, BattleTask, as_battle

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from hygen_lightning.specs import Observation, Side, TaskSpec

MELEE_UNITS = frozenset({"zealot", "zergling", "baneling"})
"""Units that have to touch what they hit."""

ATTACK = 100.0
"""Score of an attack before its cost of at most 50; a move scores -1..1."""


class RandomPolicy:
    """Any available action, each with the same chance; a dead agent's only one is no-op.

    One generator per policy: the same seed and the same calls give the same actions.
    """

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> None:
        """Nothing to remember."""

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B battles; see `Policy.act`."""
        draw = torch.rand(observation.avail_actions.shape, generator=self._generator)
        draw = draw.to(observation.avail_actions.device).masked_fill(~observation.avail_actions, -1.0)
        return PolicyOutput(actions=draw.argmax(dim=-1), hidden=hidden)


@dataclass
class Situation:
    """What a scoring policy sees of B battles at one step; hidden: see `ScoringPolicy`."""

    task: BattleTask
    avail_actions: Tensor
    allies: Side
    enemies: Side
    hidden: dict[str, Tensor]

    def hurt(self, strong_share: float, hit_lately_steps: int) -> Tensor:
        """[B, A] bool: allies that were hit within so many environment steps, and whose strength is
        below this share (0..1) of the strongest ally's."""
        strength = self.hidden["strength"]
        weaker = strength < strong_share * strength.amax(dim=1, keepdim=True)
        return weaker & (self.hidden["steps_since_hit"] < hit_lately_steps)


class ScoringPolicy(ABC):
    """Scores every action of every agent and takes the best available one.

    Hidden state: health and shield of each ally, 0..2 ("strength" [B, A]), and environment steps
    since it lost some of it ("steps_since_hit" [B, A]).
    """

    def __init__(self, seed: int = 0) -> None:
        del seed  # deterministic: the same observations give the same actions under any seed

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> dict[str, Tensor]:
        """Nobody has been hit yet; UserError for a task that is no battle."""
        if not isinstance(task, BattleTask):
            raise UserError(f"{task.name}: this scripted policy knows battles only; use 'random'")
        shape = (num_envs, task.n_allies)
        return {"strength": torch.zeros(shape), "steps_since_hit": torch.full(shape, 1000.0)}

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B battles; see `Policy.act`."""
        task = as_battle(task)
        allies, enemies = task.sides(observation.state)
        hidden = self.next_hidden(allies, enemies, hidden)
        attacks, heading = self.score(Situation(task, observation.avail_actions, allies, enemies, hidden))
        scores = torch.full(observation.avail_actions.shape, -1.0, device=observation.state.device)
        scores[..., NO_OP], scores[..., STOP] = -9.0, 1e-3
        scores[..., NORTH : WEST + 1] = move_scores(heading)
        scores[..., FIRST_TARGET:] = attacks
        healers = [i for i, unit in enumerate(task.ally_units) if unit == "medivac"]
        if healers:
            scores[:, healers] = _healer_scores(scores[:, healers], healers, allies)
        scores = scores.masked_fill(~observation.avail_actions, -torch.inf)
        return PolicyOutput(actions=scores.argmax(dim=-1), hidden=hidden)

    def next_hidden(self, allies: Side, enemies: Side, hidden: dict[str, Tensor]) -> dict[str, Tensor]:
        """The hidden state after seeing both sides once more."""
        strength = allies.health + allies.shield
        before = {name: value.to(strength.device) for name, value in hidden.items()}
        hit = strength < before["strength"] - 1e-4
        return before | {
            "strength": strength,
            "steps_since_hit": torch.where(hit, 0.0, before["steps_since_hit"] + 1.0),
        }

    @abstractmethod
    def score(self, seen: Situation) -> tuple[Tensor, Tensor]:
        """Scores of attacks [B, A, E] (`ATTACK` minus a cost) and where to walk [B, A, 2].

        The heading is a direction or zeros; walking scores its cosine with each of the four
        moves, and 0 or less loses against standing still.
        """


class NearestAttack(ScoringPolicy):
    """Attack the nearest enemy in range, else walk to the nearest living one.

    keeps_target: each ally takes the living enemy nearest to it, anywhere on the map, and attacks or
    walks to that one alone until it is dead. So do the heuristic allies that SMAC ships, with one
    difference: those give the game's own attack order at any distance, and the game walks them there
    and turns them as they come. SMAC's actions attack only within the shoot range, so here an ally
    moves towards its target, in one of the four directions, until it can be attacked (as SMAC's own
    option heuristic_rest does).
    """

    def __init__(self, seed: int = 0, keeps_target: bool = False) -> None:
        super().__init__(seed)
        self.keeps_target = keeps_target

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> dict[str, Tensor]:
        """As `ScoringPolicy`, and "target" [B, A] int64: the enemy that an ally keeps, -1 for none."""
        hidden = super().initial_hidden(task, num_envs)
        if self.keeps_target:
            hidden["target"] = torch.full((num_envs, task.n_allies), -1)
        return hidden

    def next_hidden(self, allies: Side, enemies: Side, hidden: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `ScoringPolicy`; who has no living target takes the nearest enemy."""
        hidden = super().next_hidden(allies, enemies, hidden)
        if self.keeps_target:
            target = hidden["target"]
            keeps = (target >= 0) & enemies.alive.gather(1, target.clamp(min=0))
            hidden["target"] = torch.where(keeps, target, distances(allies, enemies).argmin(dim=-1))
        return hidden

    def score(self, seen: Situation) -> tuple[Tensor, Tensor]:
        distance = distances(seen.allies, seen.enemies)
        attacks = ATTACK - distance
        if self.keeps_target:
            target = seen.hidden["target"][..., None]
            others = torch.ones_like(distance, dtype=torch.bool).scatter(-1, target, False)
            distance, attacks = distance.masked_fill(others, FAR), attacks.masked_fill(others, -1.0)
        return attacks, towards_nearest(seen.allies, seen.enemies, distance)


class FocusFire(ScoringPolicy):
    """Ranged allies share one order of enemies: the weakest first, of equals the closest to the team.

    Melee allies attack the nearest enemy. Where the enemies attack by themselves, the allies await
    them in an arc; as soon as an ally can attack, those out of range close up.
    """

    def score(self, seen: Situation) -> tuple[Tensor, Tensor]:
        allies, enemies = seen.allies, seen.enemies
        distance = distances(allies, enemies)
        toughness = 10.0 * (enemies.health + enemies.shield)
        team_distance = distance.masked_fill(~allies.alive[..., None], 0.0).sum(dim=1)
        team_distance = team_distance / allies.alive.sum(dim=1, keepdim=True).clamp(min=1)
        order = toughness + 0.1 * team_distance
        melee = _are_melee(seen.task.ally_units, distance)[:, None]
        attacks = ATTACK - torch.where(melee, distance, order[:, None, :])
        heading = towards_nearest(allies, enemies, distance)
        if seen.task.enemy_attack_move_to is not None:
            engaged = seen.avail_actions[..., FIRST_TARGET:].flatten(1).any(dim=1)
            heading = torch.where(engaged[:, None, None], heading, towards_arc(allies, enemies))
        return attacks, heading


class Kiting(FocusFire):
    """Focus fire, and ranged allies step back.

    They step back from a melee enemy nearby while their weapon cools down. Where all enemies shoot,
    an ally that was hit lately and is weaker than the strongest leaves their range, so that they
    choose another target, and comes back.
    """

    melee_danger_range = 3.0
    """Distance in map units, centre to centre, at which a melee enemy makes a ranged ally step back."""
    shot_danger_range = 6.5
    """The same for enemies that shoot."""
    hit_lately_steps = 3
    """Environment steps for which an ally that was hit avoids enemies that shoot."""
    strong_share = 0.7
    """An ally above this share of the strongest ally's health and shield stands, hit or not."""

    def score(self, seen: Situation) -> tuple[Tensor, Tensor]:
        attacks, heading = super().score(seen)
        task, allies, enemies = seen.task, seen.allies, seen.enemies
        gap = allies.position[:, :, None] - enemies.position[:, None]
        distance = gap.norm(dim=-1).clamp(min=1e-3)
        melee_enemy = _are_melee(task.enemy_units, distance)
        danger = (distance < self.melee_danger_range) & melee_enemy & (allies.cooldown > 0)[..., None]
        if not any(unit in MELEE_UNITS for unit in task.enemy_units):
            avoids = seen.hurt(self.strong_share, self.hit_lately_steps)
            danger |= (distance < self.shot_danger_range) & avoids[..., None]
        danger &= enemies.alive[:, None] & ~_are_melee(task.ally_units, distance)[:, None]
        retreats = danger.any(dim=-1, keepdim=True)
        away = (gap / distance[..., None] ** 3 * danger[..., None]).sum(dim=2)
        no_better_way = 0.5 * attacks / ATTACK
        attacks = torch.where(retreats, no_better_way, attacks)
        return attacks, torch.where(retreats, unit_vectors(away), heading)


class PullBack(ScoringPolicy):
    """Meets the nearest enemy, shoots the weakest in range, and pulls back when hurt.

    Each ally decides for itself: where enemies are in sight its own observation is enough, and until
    then it walks towards them. So a learned policy can imitate it in a team of any size. An ally
    pulls back that was hit within `hit_lately_steps` environment steps and has less than
    `strong_share` of the strongest ally's health and shield.
    """

    danger_range = 6.5
    """Distance in map units, centre to centre, within which a hurt ally leaves the enemies."""
    hit_lately_steps = 4
    strong_share = 0.5

    def score(self, seen: Situation) -> tuple[Tensor, Tensor]:
        allies, enemies = seen.allies, seen.enemies
        distance = distances(allies, enemies)
        attacks = ATTACK - 10.0 * (enemies.health + enemies.shield)[:, None] - 0.1 * distance
        heading = towards_nearest(allies, enemies, distance)
        near = (distance < self.danger_range) & enemies.alive[:, None]
        leaves = seen.hurt(self.strong_share, self.hit_lately_steps) & near.any(dim=-1)
        gap = (allies.position[:, :, None] - enemies.position[:, None]) * enemies.alive[:, None, :, None]
        away = unit_vectors((gap / distance.clamp(min=1e-3)[..., None] ** 3).sum(dim=2))
        attacks = torch.where(leaves[..., None], 0.5 * attacks / ATTACK, attacks)
        return attacks, torch.where(leaves[..., None], away, heading)


SCRIPTED_POLICIES: dict[str, Callable[[int], Policy]] = {
    "random": RandomPolicy,
    "nearest_attack": NearestAttack,
    "smac_heuristic": partial(NearestAttack, keeps_target=True),
    "focus_fire": FocusFire,
    "kiting": Kiting,
    "pull_back": PullBack,
}
"""Scripted policies of SMAC's battles by name; each is made from a seed."""


SCRIPTED_VERSION = 8
"""Rises when a scripted policy changes how it plays: recordings of older ones are made anew."""


def scripted_policy(name: str, seed: int = 0) -> Policy:
    """The scripted policy of SMAC's battles of this name; UserError listing the known names otherwise."""
    if name not in SCRIPTED_POLICIES:
        raise UserError(f"unknown policy {name!r}; choose one of {', '.join(SCRIPTED_POLICIES)}")
    return SCRIPTED_POLICIES[name](seed)


def scripted_policies(task: TaskSpec, env: str | None) -> dict[str, Callable[[int], Policy]]:
    """The scripted policies that can play a task in an environment: "random", and those that know it."""
    known = SCRIPTED_POLICIES if isinstance(task, BattleTask) else {"random": RandomPolicy}
    return {**known, **(environment_class(env).scripted_policies() if env else {})}


def _are_melee(units: tuple[str, ...], like: Tensor) -> Tensor:
    """[N] bool on the device of `like`: which units have to touch what they hit."""
    return torch.tensor([unit in MELEE_UNITS for unit in units], device=like.device)


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
    scores[..., NORTH : WEST + 1] = move_scores(unit_vectors(heading) * ~close_enough)
    return scores
