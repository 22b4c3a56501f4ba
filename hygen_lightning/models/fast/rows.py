"""A transformer of one block, computed for all agents at all time steps as rows of one batch.

Three things are done for speed, each exact:
- No output that is not used. With one block the next hidden state depends on earlier time steps through
  the history token alone. So the recurrence computes that one query per agent and step; every
  other output, own and enemies, follows for all time steps together.
- DISTINCT: enemies out of sight or dead are equal tokens, so one query stands for all of them.
- CHUNKED: the outputs of all time steps are computed in pieces that fit the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hygen_lightning.models.fast.folding import FoldedBlock, raw_units
from hygen_lightning.models.layers import EntityFeatures, EntityOutputs, ObservationTokens

DISTINCT = True
"""Whether enemies that look alike are asked once; else every enemy is asked."""
CHUNKED = True
"""Whether all time steps are computed in pieces; else at once."""


@dataclass(frozen=True)
class Chunking:
    """Sizes of the pieces that a pass over all time steps is cut into.

    tokens: query tokens at once, at most. least_tokens: a piece of fewer costs about as much as one
    of so many, so small pieces are joined. states: states attended to at once.
    """

    tokens: int
    least_tokens: int
    states: int


CPU = Chunking(tokens=4096, least_tokens=256, states=256)
"""Few enough for the cache, enough that threads seldom wait for one another (measured on two idle
cores: 1024 to 8192 tokens differ by a tenth)."""
GPU = Chunking(tokens=1_048_576, least_tokens=8192, states=65_536)
"""Measured on an H100, stage one of 9m_vs_10m: with the CPU's sizes an update of 32 episodes took 0.23
instead of 0.13 s, one of 256 episodes 1.38 instead of 0.16 s (a quarter of these sizes: 0.21 s)."""


WHOLE = Chunking(tokens=2**62, least_tokens=0, states=2**62)
"""Everything at once."""


def chunking(x: Tensor) -> Chunking:
    """The sizes for the device of x."""
    if not CHUNKED:
        return WHOLE
    return CPU if x.device.type == "cpu" else GPU


@dataclass
class DistinctEnemies:
    """The distinct enemies of agent rows, as queries: equal tokens have equal outputs. When acting,
    only the enemies that an agent can act on now are asked about.

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
        n_rows, n_enemies = enemies.shape[:2]
        if not DISTINCT:
            order, place = (torch.arange(n, device=enemies.device) for n in (n_rows, n_enemies))
            return cls(order, [(n_enemies, n_rows)], enemies, place.expand(n_rows, n_enemies))
        alone = (enemies[..., :n_features] != 0).any(dim=2) if asked is None else asked
        n_alone = alone.sum(dim=1, keepdim=True)
        place = torch.where(alone, alone.cumsum(dim=1) - 1, n_alone)
        n_distinct = n_alone[:, 0]
        if asked is None:
            n_distinct = n_distinct + (~alone).any(dim=1)
        order = n_distinct.argsort(stable=True)
        counts = torch.bincount(n_distinct, minlength=n_enemies + 1).tolist()
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


@dataclass
class AgentRows:
    """R agent rows, each an agent at a time step, with everything known before the recurrence.

    own [R, D]: embedded own tokens. own_features [R, F_own + 1]: the same, raw, and a one. units
    [R, N, F]: raw enemies, then allies; the first enemy_width numbers of an enemy are all zero
    where it is not seen.
    """

    folded: FoldedBlock
    out: nn.Linear
    own: Tensor
    own_features: Tensor
    units: Tensor
    n_enemies: int
    enemy_width: int

    @classmethod
    def of(
        cls, folded: FoldedBlock, out: nn.Linear, tokens: ObservationTokens, features: EntityFeatures
    ) -> AgentRows:
        """features: own [..., A, F_own] and so on; the rows are all but the last dimensions."""
        assert features.own is not None
        n_enemies, enemy_width = features.enemies.shape[-2:]
        return cls(
            folded,
            out,
            tokens.own(features.own).flatten(0, -2),
            functional.pad(features.own, (0, 1), value=1.0).flatten(0, -2),
            raw_units(features.enemies, features.allies).flatten(0, -3),
            n_enemies,
            enemy_width,
        )

    def histories(self, counts: list[int]) -> Tensor:
        """Hidden states before each step [R, D], from zeros at the first.

        The rows are in order of time, counts[t] of them at step t; step by step the first ones
        go on and the others end, so counts never rise.
        """
        hidden = self.own.new_zeros(counts[0], self.own.shape[1])
        before = [hidden]
        for own, units, n_next in zip(self.own.split(counts), self.units.split(counts), counts[1:]):
            hidden = self._next(own[:n_next], hidden[:n_next], units[:n_next])
            before.append(hidden)
        return torch.cat(before)

    def next_hidden(self, hidden: Tensor) -> Tensor:
        """One time step of every row: hidden [R, D] -> [R, D]."""
        return self._next(self.own, hidden, self.units)

    def _next(self, own: Tensor, hidden: Tensor, units: Tensor) -> Tensor:
        """Output at the history token: own, hidden [R, D], units [R, N, F] -> next hidden [R, D]."""
        vectors = torch.stack([own, hidden], dim=1)
        queries = hidden @ self.folded.vector_query
        attended = self.folded.attend_vectors(hidden.unsqueeze(1), queries, vectors, units)
        return self.out(self.folded.finish(attended)[:, 0])

    def read(self, before: Tensor, enemy_vector: Tensor | None, asked: Tensor | None = None) -> EntityOutputs:
        """before [R, D]: hidden states before each row's step -> own [R, D] and, where a vector [D] is
        given, enemies [R, E]; without meaning where asked [R, E] bool is given and False."""
        if enemy_vector is None:
            return EntityOutputs(self._read_own(before), None)
        return EntityOutputs(*self._read_enemies_too(before, enemy_vector, asked))

    def _read_own(self, before: Tensor) -> Tensor:
        """Hidden states before the step [R, D] -> outputs at the own tokens [R, D]."""
        rows = (self.own, self.own_features, self.units, before)
        outputs = []
        for own, features, units, hidden in zip(*(x.split(chunking(before).tokens) for x in rows)):
            vectors = torch.stack([own, hidden], dim=1)
            queries = features @ self.folded.own_query
            attended = self.folded.attend_vectors(own.unsqueeze(1), queries, vectors, units)
            outputs.append(self.out(self.folded.finish(attended)[:, 0]))
        return torch.cat(outputs)

    def _read_enemies_too(
        self, before: Tensor, enemy_vector: Tensor, asked: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        distinct = DistinctEnemies.of(self.units[:, : self.n_enemies], self.enemy_width, asked)
        pieces = chunking(before)
        chunks = distinct.chunks(pieces.tokens, pieces.least_tokens)
        rows = [x.index_select(0, distinct.order) for x in (self.own, self.own_features, self.units, before)]
        sizes = [n_rows for _, n_rows in chunks]
        parts = zip(chunks, distinct.queries.split(sizes), *(x.split(sizes) for x in rows))
        outputs, scores = [], []
        for (n_distinct, _), enemies, own, features, units, hidden in parts:
            vectors = torch.stack([own, hidden], dim=1)
            attended = [
                self.folded.attend_vectors(own.unsqueeze(1), features @ self.folded.own_query, vectors, units)
            ]
            if n_distinct:
                attended.append(self.folded.attend_units(enemies[:, :n_distinct], vectors, units))
            finished = self.folded.finish(torch.cat(attended, dim=1))
            outputs.append(self.out(finished[:, 0]))
            score = self._scores(finished[:, 1:], enemy_vector)
            scores.append(functional.pad(score, (0, self.n_enemies - n_distinct)))
        return distinct.restore(torch.cat(outputs)), distinct.spread(torch.cat(scores))

    def _scores(self, finished: Tensor, enemy_vector: Tensor) -> Tensor:
        """finished [R, E, D], before the last Linear -> its outputs times enemy_vector [R, E]."""
        return finished @ (enemy_vector @ self.out.weight) + enemy_vector @ self.out.bias
