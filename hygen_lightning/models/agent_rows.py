"""The fast path of a one-block entity transformer: only what is read, and all time steps at once.

With one block the next hidden state depends on earlier time steps through the history token
alone. So the recurrence computes that one query per agent and step; every other output, own and
enemies, follows for all time steps together, in pieces (`chunking`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hygen_lightning.models.chunking import chunking
from hygen_lightning.models.distinct import DistinctEnemies
from hygen_lightning.models.folded import FoldedBlock, raw_units
from hygen_lightning.models.tokens import EntityFeatures, ObservationTokens


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

    def step(
        self, hidden: Tensor, enemy_vector: Tensor | None, asked: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """One time step of every row: hidden [R, D] -> (own output [R, D], enemies' outputs times
        the vector [R, E] or None, next hidden [R, D]). asked: see `read_enemies_too`."""
        own, scores = (
            (self.read_own(hidden), None)
            if enemy_vector is None
            else self.read_enemies_too(hidden, enemy_vector, asked)
        )
        return own, scores, self._next(self.own, hidden, self.units)

    def histories(self, counts: list[int]) -> Tensor:
        """Hidden states before each step [R, D], from zeros at the first.

        The rows are in order of time, counts[t] of them at step t; step by step the first ones
        go on and the others end, so counts never rise.
        """
        hidden = self.own.new_zeros(counts[0], self.own.shape[1])
        before = [hidden]
        steps = zip(self.own.split(counts), self.units.split(counts), counts[1:])
        for own, units, n_next in steps:
            hidden = hidden[:n_next]
            hidden = self._next(own[:n_next], hidden, units[:n_next])
            before.append(hidden)
        return torch.cat(before)

    def _next(self, own: Tensor, hidden: Tensor, units: Tensor) -> Tensor:
        """Output at the history token: own, hidden [R, D], units [R, N, F] -> next hidden [R, D]."""
        vectors = torch.stack([own, hidden], dim=1)
        queries = hidden @ self.folded.vector_query
        attended = self.folded.attend_vectors(hidden.unsqueeze(1), queries, vectors, units)
        return self.out(self.folded.finish(attended)[:, 0])

    def read_own(self, before: Tensor) -> Tensor:
        """Hidden states before the step [R, D] -> outputs at the own tokens [R, D]."""
        rows = (self.own, self.own_features, self.units, before)
        outputs = []
        for own, features, units, hidden in zip(*(x.split(chunking(before).tokens) for x in rows)):
            vectors = torch.stack([own, hidden], dim=1)
            queries = features @ self.folded.own_query
            attended = self.folded.attend_vectors(own.unsqueeze(1), queries, vectors, units)
            outputs.append(self.out(self.folded.finish(attended)[:, 0]))
        return torch.cat(outputs)

    def read_enemies_too(
        self, before: Tensor, enemy_vector: Tensor, asked: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """before [R, D] -> (outputs at own tokens [R, D], outputs at enemies times enemy_vector
        [D], [R, E]; without meaning where asked [R, E] bool is given and False)."""
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
