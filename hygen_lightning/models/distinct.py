"""Enemies that look alike, asked once: all those out of sight or dead are the same token.

Acting asks still fewer: only the enemies that an agent can attack now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class DistinctEnemies:
    """The distinct enemies of agent rows, as queries; equal tokens have equal outputs.

    order [R] int64: rows sorted by their number of distinct enemies. groups: (n, rows) pairs,
    so many consecutive rows of that order with n distinct enemies each. queries [R, E, F], in that
    order of rows: the distinct enemies first, zeros after them. place [R, E] int64, rows in their
    original order: which of its row's queries each enemy is; any where it was not asked about.
    """

    order: Tensor
    groups: list[tuple[int, int]]
    queries: Tensor
    place: Tensor

    @classmethod
    def of(cls, enemies: Tensor, n_features: int, asked: Tensor | None = None) -> DistinctEnemies:
        """enemies [R, E, F], unseen where the first n_features numbers are zero. asked [R, E] bool:
        the enemies that matter (None: all)."""
        alone = (enemies[..., :n_features] != 0).any(dim=2) if asked is None else asked
        n_alone = alone.sum(dim=1, keepdim=True)
        place = torch.where(alone, alone.cumsum(dim=1) - 1, n_alone)
        n_distinct = n_alone[:, 0]
        if asked is None:
            n_distinct = n_distinct + (~alone).any(dim=1)
        order = n_distinct.argsort(stable=True)
        counts = torch.bincount(n_distinct, minlength=enemies.shape[1] + 1).tolist()
        queries = torch.zeros_like(enemies)
        queries.scatter_(1, place.unsqueeze(-1).expand_as(enemies), enemies)
        groups = [(n, rows) for n, rows in enumerate(counts) if rows]
        return cls(order, groups, queries.index_select(0, order), place)

    def chunks(self, most_tokens: int, least_tokens: int) -> list[tuple[int, int]]:
        """(n, rows) pairs: so many consecutive rows of the order, with up to n distinct enemies.

        rows * (n + 1) stays within most_tokens; a chunk of fewer than least_tokens joins the next.
        """
        chunks: list[tuple[int, int]] = []
        for n, rows in self.groups:
            if chunks and (chunks[-1][0] + 1) * chunks[-1][1] < least_tokens:
                rows += chunks.pop()[1]
            size = max(1, most_tokens // (n + 1))
            chunks += [(n, min(size, rows - start)) for start in range(0, rows, size)]
        return chunks

    def restore(self, x: Tensor) -> Tensor:
        """x [R, ...] in the order of the groups -> in the original order of rows."""
        return torch.zeros_like(x).index_copy(0, self.order, x)

    def spread(self, scores: Tensor) -> Tensor:
        """scores [R, E] of the queries, in the order of the groups -> of the enemies [R, E]."""
        return self.restore(scores).gather(1, self.place)
