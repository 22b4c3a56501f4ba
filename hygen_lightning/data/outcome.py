"""How recorded episodes ended, read from their final states."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.specs import Episodes, TaskSpec

HEALERS = frozenset({"medivac"})
"""Units that cannot fight: a side with nobody else left has lost (SMAC `only_medivac_left`)."""


def final_state(episodes: Episodes) -> Tensor:
    """[B, state_dim]: the state at the last filled step."""
    return episodes.state[torch.arange(len(episodes)), episodes.length - 1]


def fighters_alive(task: TaskSpec, state: Tensor) -> tuple[Tensor, Tensor]:
    """state [B, state_dim] -> (allies, enemies), each [B] bool: somebody who can fight lives."""
    allies, enemies, _ = task.layout.split_state(state)
    can_fight = [
        torch.tensor([unit not in HEALERS for unit in units]) for units in (task.ally_units, task.enemy_units)
    ]
    return ((allies[..., 0] > 0) & can_fight[0]).any(-1), ((enemies[..., 0] > 0) & can_fight[1]).any(-1)


def won(task: TaskSpec, episodes: Episodes) -> Tensor | None:
    """[B] bool: a fighting ally lives at the end and no fighting enemy does. Navigation: None."""
    if task.kind == "navigation":
        return None
    allies, enemies = fighters_alive(task, final_state(episodes))
    return allies & ~enemies


def truncated(task: TaskSpec, episodes: Episodes) -> Tensor:
    """[B, T] bool: the terminating steps that only the time limit brought about.

    Battles: both sides still live. Navigation: the goal, which pays the only reward, is unreached.
    """
    timed_out = episodes.length == task.episode_limit_env_steps + 1
    if task.kind == "navigation":
        last_reward = torch.where(episodes.terminated, episodes.reward, 0.0).sum(dim=1)
        undecided = last_reward <= 0
    else:
        allies, enemies = fighters_alive(task, final_state(episodes))
        undecided = allies & enemies
    return episodes.terminated & (timed_out & undecided)[:, None]
