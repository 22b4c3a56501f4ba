"""The filled steps of a batch, packed so that finished episodes cost nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """P filled steps of B episodes, time-major, the longest episode first.

    The episodes alive at one time step are then a prefix of those alive the step before, so a
    recurrence works on ever fewer rows and gathers nothing on its way.

    index [P] int64: place of each packed step in the flattened [B * T]. counts: episodes at each
    time step, positive and never rising. shape: (B, T).
    """

    index: Tensor
    counts: tuple[int, ...]
    shape: tuple[int, int]

    @classmethod
    def of(cls, filled: Tensor | None, like: Tensor) -> Packing:
        """filled [B, T] bool, a prefix of each episode; None: all steps of `like` [B, T, ...]."""
        n_episodes, n_steps = like.shape[:2]
        steps = torch.arange(n_steps, device=like.device)
        episodes = torch.arange(n_episodes, device=like.device)
        if filled is None:
            counts = (n_episodes,) * n_steps
            return cls((steps[:, None] + n_steps * episodes).flatten(), counts, (n_episodes, n_steps))
        lengths, order = filled.sum(dim=1).sort(descending=True, stable=True)
        alive = steps[:, None] < lengths
        index = (steps[:, None] + n_steps * order)[alive]
        counts = tuple(n for n in alive.sum(dim=1).tolist() if n)
        return cls(index, counts, (n_episodes, n_steps))

    def pack(self, x: Tensor) -> Tensor:
        """x [B, T, ...] -> [P, ...]."""
        return x.flatten(0, 1).index_select(0, self.index)

    def unpack(self, x: Tensor) -> Tensor:
        """x [P, ...] -> [B, T, ...], zeros where not filled."""
        n_episodes, n_steps = self.shape
        flat = x.new_zeros(n_episodes * n_steps, *x.shape[1:])
        return flat.index_copy(0, self.index, x).unflatten(0, self.shape)
