"""Policy x environment -> episodes: many battles of one task, played together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hygen_lightning.specs import Episodes

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv, BattleStep, BattleView
    from hygen_lightning.policy import Policy


_OF_A_STEP = ("reward", "terminated", "truncated")
"""What a step brings; the final view of an episode has none of it."""


@dataclass
class Played:
    """B battles that were played to their end.

    won [B] bool, returns [B] float64 (sum of rewards, the same whatever the padding), skills
    [B, T, A] int64 where the policy chooses skills (-1 after the end), else None.
    """

    episodes: Episodes
    won: Tensor
    returns: Tensor
    skills: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """[B] int64: environment steps played (stored steps less the final one)."""
        return self.episodes.length - 1

    def survivors(self, layout) -> tuple[Tensor, Tensor]:
        """Units alive at the end: allies [B], enemies [B] (health is each unit's first number)."""
        final = self.episodes.state[torch.arange(len(self.won)), self.episodes.length - 1]
        allies, enemies, _ = layout.split_state(final)
        return (allies[..., 0] > 0).sum(-1), (enemies[..., 0] > 0).sum(-1)


@torch.no_grad()
def play(
    env: BattleEnv,
    policy: Policy,
    seeds: Tensor,
    epsilon: float | Tensor = 0.0,
    opening: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Played:
    """Play one battle per seed to its end.

    seeds [B] int64. With probability `epsilon` (0..1, one for all or [B]) an agent takes an
    available action drawn uniformly from `generator` instead of the policy's greedy one. For the
    first `opening` [B] steps of a battle it always does, so that battles start from many places.
    """
    n_battles, task = env.n_battles, env.task
    view = env.reset(seeds)
    memory = policy.initial_memory(task, n_battles)
    last_actions = torch.full((n_battles, task.n_allies), -1, device=view.obs.device)
    open_now = torch.ones(n_battles, dtype=torch.bool, device=view.obs.device)
    steps: list[dict[str, Tensor]] = []
    won = torch.zeros_like(open_now)
    wander = torch.as_tensor(epsilon).expand(n_battles)
    while True:
        decision = policy.act(task, view, last_actions, memory)
        share = wander if opening is None else torch.where(opening > len(steps), 1.0, wander)
        actions = _explore(decision.actions, view.avail_actions, share, generator)
        row = _row(view, actions, decision.skills, open_now)
        steps.append(row)
        if not bool(open_now.any()) or len(steps) > task.episode_limit_env_steps:
            break
        step = env.step(actions)
        _settle(row, step)
        won |= step.won & open_now
        open_now &= ~step.terminated
        # An episode's final view is stored too, so a battle that has just ended fills one more row.
        view, memory, last_actions = step.view, decision.memory, actions
    return _collect(task.name, steps, won)


def _explore(greedy: Tensor, avail: Tensor, share: Tensor, generator: torch.Generator | None) -> Tensor:
    """greedy [B, A], avail [B, A, K], share [B] of random actions -> actions [B, A]."""
    if not bool((share > 0).any()):
        return greedy
    wanders = torch.rand(greedy.shape, generator=generator) < share.unsqueeze(1)
    random = torch.multinomial(avail.flatten(0, 1).float().cpu(), 1, generator=generator).view(greedy.shape)
    return torch.where(wanders.to(greedy.device), random.to(greedy.device), greedy)


def _row(view: BattleView, actions: Tensor, skills: Tensor | None, open_now: Tensor) -> dict[str, Tensor]:
    row = {"obs": view.obs, "state": view.state, "avail_actions": view.avail_actions, "actions": actions}
    if skills is not None:
        row["skills"] = skills
    zeros = torch.zeros(len(actions), device=actions.device)
    return row | {
        "reward": zeros,
        "terminated": zeros.bool(),
        "truncated": zeros.bool(),
        "open": open_now.clone(),
    }


def _settle(row: dict[str, Tensor], step: BattleStep) -> None:
    """Write what a step brought into the row that led to it."""
    row.update(reward=step.reward, terminated=step.terminated, truncated=step.truncated)


def _collect(task_name: str, steps: list[dict[str, Tensor]], won: Tensor) -> Played:
    """Stack rows over time and clear what lies behind each episode's end."""
    stacked = {name: torch.stack([row[name] for row in steps], dim=1).cpu() for name in steps[0]}
    was_open = stacked.pop("open")
    filled = was_open.clone()
    filled[:, 1:] |= was_open[:, :-1]
    skills = stacked.pop("skills", None)
    if skills is not None:
        skills = torch.where(filled.unsqueeze(-1), skills, -1)
    kept = {name: was_open if name in _OF_A_STEP else filled for name in stacked}
    cleared = {name: _cleared(x, kept[name]) for name, x in stacked.items()}
    episodes = Episodes(task=task_name, filled=filled, **cleared)
    return Played(episodes.trimmed(), won.cpu(), episodes.reward.double().sum(1), skills)


def _cleared(x: Tensor, keep: Tensor) -> Tensor:
    """x [B, T, ...] with zeros where keep [B, T] is False."""
    return torch.where(keep.view(*keep.shape, *[1] * (x.dim() - 2)), x, torch.zeros_like(x))
