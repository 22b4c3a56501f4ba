"""A transformer over the tokens of an observation, made recurrent by a history token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.models.attention import Transformer, TransformerBlock
from hygen_lightning.models.folded import FoldedBlock, unit_features
from hygen_lightning.models.packing import Packing
from hygen_lightning.models.tokens import ObservationTokens, observation_features
from hygen_lightning.specs import EntityLayout, EntityWidths

TOKENS_PER_CHUNK = 2048
"""Query tokens worked on at once after the recurrence: their intermediate results fit the cache."""


@dataclass
class EntityOutputs:
    """What is read of the transformer's outputs.

    own [..., A, D]: at the own token. enemies [..., A, E]: at each enemy's token, times the
    vector that was asked for; None if none was.
    """

    own: Tensor
    enemies: Tensor | None


class EntityTransformer(nn.Module):
    """Own, enemy, ally and history tokens through a transformer; the output at the history token
    is the next hidden state (algorithm notes, section 2).

    With one block the recurrence runs through the history token alone: `unroll` first steps
    through time with that query only, then computes all other outputs of all time steps together.
    """

    def __init__(
        self,
        widths: EntityWidths,
        width: int = 64,
        n_heads: int = 8,
        depth: int = 1,
        id_bits: int = 4,
        extra_own: int = 0,
    ) -> None:
        super().__init__()
        self.width = width
        self.tokens = ObservationTokens(widths, width, id_bits, extra_own)
        self.transformer = Transformer(width, n_heads, depth)

    def initial_hidden(self, *shape: int) -> Tensor:
        """Zeros [*shape, D] on the device and in the type of the parameters."""
        return self.transformer.out.weight.new_zeros(*shape, self.width)

    def forward(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        extra_own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One time step of every token, by definition.

        obs [B, A, obs_dim], last_actions [B, A] int64, hidden [B, A, D] ->
        (entities [B, A, E + A, D] in the order own, enemies, allies; next hidden [B, A, D]).
        """
        tokens = self.tokens(layout, obs, last_actions, extra_own)
        tokens = torch.cat([tokens, hidden.unsqueeze(-2)], dim=-2)
        outputs = self.transformer(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return outputs[:, :, :-1], outputs[:, :, -1]

    def step(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        enemy_vector: Tensor | None = None,
        extra_own: Tensor | None = None,
    ) -> tuple[EntityOutputs, Tensor]:
        """One time step of what is read: as `unroll`, for obs [B, A, obs_dim] and hidden [B, A, D].

        -> (outputs with own [B, A, D], next hidden [B, A, D]).
        """
        if len(self.transformer.blocks) > 1:
            entities, hidden = self(layout, obs, last_actions, hidden, extra_own)
            return _read(layout, entities, enemy_vector), hidden
        rows = self._rows(layout, obs, last_actions, extra_own)
        outputs, after = self._read_rows(rows, hidden.flatten(0, 1), enemy_vector, with_history=True)
        assert after is not None
        return _unflatten(outputs, obs.shape[:2]), after.unflatten(0, obs.shape[:2])

    def unroll(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        filled: Tensor | None = None,
        enemy_vector: Tensor | None = None,
        extra_own: Tensor | None = None,
    ) -> EntityOutputs:
        """All time steps from a hidden state of zeros.

        obs [B, T, A, obs_dim], last_actions [B, T, A] int64, filled [B, T] bool (a prefix of each
        episode; None: all), enemy_vector [D] (what to multiply the enemies' outputs with; None:
        they are not read), extra_own [B, T, A, X] -> own [B, T, A, D], enemies [B, T, A, E];
        zeros where not filled.
        """
        packing = Packing.of(filled, obs)
        obs, last_actions = packing.pack(obs), packing.pack(last_actions)
        extra_own = None if extra_own is None else packing.pack(extra_own)
        if len(self.transformer.blocks) > 1:
            outputs = self._unroll_every_token(packing, layout, obs, last_actions, enemy_vector, extra_own)
        else:
            rows = self._rows(layout, obs, last_actions, extra_own)
            before = self._histories(rows, [n * layout.n_allies for n in packing.counts])
            outputs = self._read_in_chunks(rows, before, enemy_vector)
            outputs = _unflatten(outputs, (len(packing.index), layout.n_allies))
        enemies = None if outputs.enemies is None else packing.unpack(outputs.enemies)
        return EntityOutputs(packing.unpack(outputs.own), enemies)

    def _unroll_every_token(
        self,
        packing: Packing,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        enemy_vector: Tensor | None,
        extra_own: Tensor | None,
    ) -> EntityOutputs:
        """Several blocks: obs [P, A, obs_dim] packed -> own [P, A, D], one step after another."""
        hidden = self.initial_hidden(packing.shape[0], layout.n_allies)
        parts, start = [], 0
        for count in packing.counts:
            here = slice(start, start + count)
            extra = None if extra_own is None else extra_own[here]
            entities, hidden = self(layout, obs[here], last_actions[here], hidden[:count], extra)
            parts.append(_read(layout, entities, enemy_vector))
            start += count
        return _joined(parts)

    def _rows(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, extra_own: Tensor | None
    ) -> _Rows:
        """obs [P, A, obs_dim] -> everything known of the agent rows R = P * A before the recurrence."""
        features = observation_features(layout, obs, last_actions, self.tokens.id_bits, extra_own)
        block = self.transformer.blocks[0]
        assert features.own is not None
        assert isinstance(block, TransformerBlock)
        return _Rows(
            FoldedBlock.of(block, self.tokens),
            self.tokens.own(features.own).flatten(0, 1),
            unit_features(features).flatten(0, 1),
            layout.n_enemies,
        )

    def _histories(self, rows: _Rows, counts: list[int]) -> Tensor:
        """Hidden states before each step: rows of all steps in order of time, counts[t] at step t
        (never rising) -> [R, D]."""
        hidden = self.initial_hidden(counts[0])
        before = [hidden]
        parts = zip(rows.own.split(counts), rows.units.split(counts))
        for (own, units), count in zip(parts, counts[1:]):
            after = self._next_hidden(rows.folded, own, units, hidden)
            hidden = after[:count]
            before.append(hidden)
        return torch.cat(before)

    def _next_hidden(self, folded: FoldedBlock, own: Tensor, units: Tensor, hidden: Tensor) -> Tensor:
        """own, hidden [R, D], units [R, N, F] -> next hidden [R, D]."""
        vectors = torch.stack([own, hidden], dim=1)
        attended = folded.attend_vectors(hidden.unsqueeze(1), vectors, units)
        return self.transformer.out(folded.finish(attended[:, 0]))

    def _read_in_chunks(self, rows: _Rows, before: Tensor, enemy_vector: Tensor | None) -> EntityOutputs:
        """before [R, D] -> own [R, D] and enemies [R, E], some rows at a time."""
        n_queries = 1 if enemy_vector is None else 1 + rows.n_enemies
        size = max(1, TOKENS_PER_CHUNK // n_queries)
        parts = [
            self._read_rows(part, hidden, enemy_vector)[0]
            for part, hidden in zip(rows.split(size), before.split(size))
        ]
        enemies = (
            None if enemy_vector is None else torch.cat([p.enemies for p in parts if p.enemies is not None])
        )
        return EntityOutputs(torch.cat([part.own for part in parts]), enemies)

    def _read_rows(
        self, rows: _Rows, hidden: Tensor, enemy_vector: Tensor | None, with_history: bool = False
    ) -> tuple[EntityOutputs, Tensor | None]:
        """hidden [R, D] before the step -> (own [R, D], enemies [R, E]; next hidden [R, D] or None)."""
        folded, out = rows.folded, self.transformer.out
        vectors = torch.stack([rows.own, hidden], dim=1)
        queries = vectors if with_history else rows.own.unsqueeze(1)
        attended = folded.attend_vectors(queries, vectors, rows.units)
        if enemy_vector is not None:
            enemies = folded.attend_units(rows.units[:, : rows.n_enemies], vectors, rows.units)
            attended = torch.cat([attended, enemies], dim=1)
        finished = folded.finish(attended)
        n_vectors = queries.shape[1]
        outputs = EntityOutputs(out(finished[:, 0]), None)
        if enemy_vector is not None:
            outputs.enemies = finished[:, n_vectors:] @ (enemy_vector @ out.weight) + enemy_vector @ out.bias
        return outputs, out(finished[:, 1]) if with_history else None


@dataclass
class _Rows:
    """Agent rows: own tokens [R, D], raw units [R, N, F] with the enemies first."""

    folded: FoldedBlock
    own: Tensor
    units: Tensor
    n_enemies: int

    def split(self, size: int) -> list[_Rows]:
        """Consecutive parts of at most `size` rows."""
        parts = zip(self.own.split(size), self.units.split(size))
        return [_Rows(self.folded, own, units, self.n_enemies) for own, units in parts]


def _read(layout: EntityLayout, entities: Tensor, enemy_vector: Tensor | None) -> EntityOutputs:
    """entities [..., E + A, D] -> what is read of them."""
    if enemy_vector is None:
        return EntityOutputs(entities[..., 0, :], None)
    return EntityOutputs(entities[..., 0, :], entities[..., 1 : 1 + layout.n_enemies, :] @ enemy_vector)


def _joined(parts: list[EntityOutputs]) -> EntityOutputs:
    """Consecutive parts as one."""
    enemies = [part.enemies for part in parts if part.enemies is not None]
    return EntityOutputs(torch.cat([part.own for part in parts]), torch.cat(enemies) if enemies else None)


def _unflatten(outputs: EntityOutputs, shape: tuple[int, ...]) -> EntityOutputs:
    """Rows [R, ...] -> [*shape, ...]."""
    enemies = None if outputs.enemies is None else outputs.enemies.unflatten(0, shape)
    return EntityOutputs(outputs.own.unflatten(0, shape), enemies)
