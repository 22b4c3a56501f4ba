"""Windows of time in which an agent keeps its skill: from the first step on, `length` steps each.

Length 1 is a skill per step (the published code), WHOLE one skill for the whole episode.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.specs import Episodes

WHOLE = 0
"""Length of the one window that spans an episode."""


def pool(logits: Tensor, mask: Tensor, length: int) -> Tensor:
    """Mean over the steps of each window that mask [B, T] bool counts: [B, T, A, Z] -> [B, W, A, Z].

    Zeros for a window without such a step.
    """
    if length == 1:
        return logits
    counted = torch.where(mask[:, :, None, None], logits, 0)
    total, steps = _by_window(counted, length).sum(2), _by_window(mask, length).sum(2)
    return total / steps.clamp(min=1)[:, :, None, None]


def hold(values: Tensor, n_steps: int, length: int) -> Tensor:
    """Each window's value at all of its steps: [B, W, ...] -> [B, T, ...] with T = n_steps."""
    if length == 1:
        return values
    return values.repeat_interleave(length or n_steps, dim=1)[:, :n_steps]


def begins(step: Tensor, length: int) -> Tensor:
    """Whether a window begins at each of these steps, counted from 0: whole numbers [...] -> bool [...]."""
    return step == 0 if length == WHOLE else step % length == 0


def decisions(episodes: Episodes, length: int, gamma: float) -> tuple[Episodes, Tensor]:
    """The episodes as their choices see them: a step per window, and the final one behind the last.

    A step's reward is the discounted sum over its window, which ended the episode if one of its steps
    did. -> the episodes [B, W + 1, ...], and the time step of each [B, W + 1] int64. A window that the end
    cuts short counts as a whole one.
    """
    length = length or episodes.n_steps
    acted = episodes.mask & (
        torch.arange(episodes.n_steps, device=episodes.reward.device) < episodes.n_steps - 1
    )
    passed = torch.arange(length, device=acted.device)
    reward = _by_window(torch.where(acted, episodes.reward, 0), length) * gamma**passed
    starts = torch.arange(reward.shape[1] + 1, device=acted.device) * length
    last = episodes.length.unsqueeze(1) - 1
    index = starts.minimum(last)
    picked = episodes.map(lambda x: x[torch.arange(len(x), device=x.device).unsqueeze(1), index])
    picked.reward = _with_end(reward.sum(dim=2))
    picked.terminated = _with_end(_by_window(episodes.terminated & acted, length).any(dim=2))
    picked.truncated = _with_end(_by_window(episodes.truncated & acted, length).any(dim=2))
    picked.filled = (starts == 0) | (starts - length < last)
    return picked, index


def _with_end(x: Tensor) -> Tensor:
    """[B, W] -> [B, W + 1], nothing at the end."""
    return torch.cat([x, x.new_zeros(len(x), 1)], dim=1)


def _by_window(x: Tensor, length: int) -> Tensor:
    """[B, T, ...] -> [B, W, length, ...], zeros behind the end of the last window."""
    n_steps = x.shape[1]
    length = length or n_steps
    missing = -n_steps % length
    padded = torch.cat([x, x.new_zeros((len(x), missing, *x.shape[2:]))], dim=1)
    return padded.unflatten(1, (-1, length))
