"""One transformer block over entity tokens, with its matrices multiplied together beforehand.

The tokens of an agent are linear in few numbers, and attention is bilinear in its tokens, so per
head W_q W_k' and W_v W_out become one matrix each, and the embedding of enemies and allies folds
into them: keys and values need no projection of their own, and scores are taken in the space of
the raw features, F numbers a unit instead of D.  The products are computed once per pass from the
original parameters, so training does not change.

An agent row R has two kinds of tokens: two vectors [R, 2, D], its own token and its history, and
the units [R, N, F], enemies and allies, whose F numbers are [enemy features, 1 | ally features,
1] with zeros in the half of the other kind (the ones carry the biases of the embeddings).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hygen_lightning.models.attention import TransformerBlock
from hygen_lightning.models.tokens import EntityFeatures, ObservationTokens


@dataclass
class FoldedBlock:
    """A block with embedding and attention folded; H heads.

    unit_embedding [F, D]; vector_query [D, H * (F + D)] and vector_value [H * (F + D), D] for
    queries that are vectors; unit_query [F, H * F], vector_key [D, H * F], unit_value
    [H * F + F, D] (its last F rows are the embedding, the residual) and vector_out [D, H * D]
    for queries that are units.
    """

    block: TransformerBlock
    unit_embedding: Tensor
    vector_query: Tensor
    vector_value: Tensor
    unit_query: Tensor
    vector_key: Tensor
    unit_value: Tensor
    vector_out: Tensor

    @classmethod
    def of(cls, block: TransformerBlock, tokens: ObservationTokens) -> FoldedBlock:
        """Fold the present parameters; gradients reach every one of them."""
        attention = block.attention
        heads, width = attention.n_heads, attention.width
        query, key, value = (
            layer.weight.view(heads, width, width)
            for layer in (attention.query, attention.key, attention.value)
        )
        out = attention.out.weight.view(width, heads, width).permute(1, 2, 0)
        score = query.transpose(1, 2) @ key / width**0.5  # [H, D, D]
        moved = value.transpose(1, 2) @ out  # [H, D, D]
        units = unit_embedding(tokens)  # [F, D]
        to_units = score @ units.T  # [H, D, F]
        moved_units = units @ moved  # [H, F, D]
        return cls(
            block,
            units,
            torch.cat([to_units, score], dim=2).transpose(0, 1).flatten(1),
            torch.cat([moved_units, moved], dim=1).flatten(0, 1),
            (units @ to_units).transpose(0, 1).flatten(1),
            (units @ score).permute(2, 0, 1).flatten(1),
            torch.cat([moved_units.flatten(0, 1), units]),
            moved.transpose(0, 1).flatten(1),
        )

    def attend_vectors(self, x: Tensor, vectors: Tensor, units: Tensor) -> Tensor:
        """x [R, Q, D] attend to vectors [R, 2, D] and units [R, N, F] -> x + attention [R, Q, D]."""
        n_rows, n_queries, width = x.shape
        n_features = units.shape[-1]
        n_units = units.shape[1]
        queries = (x @ self.vector_query).view(n_rows, -1, n_features + width)
        to_units, to_vectors = queries.split([n_features, width], dim=2)
        scores = torch.cat([to_units @ units.mT, to_vectors @ vectors.mT], dim=2)
        of_units, of_vectors = scores.softmax(dim=2).split([n_units, 2], dim=2)
        read = torch.cat([of_units @ units, of_vectors @ vectors], dim=2)
        read = read.view(n_rows * n_queries, -1)
        residual = x.reshape(n_rows * n_queries, width) + self.block.attention.out.bias
        return torch.addmm(residual, read, self.vector_value).view(x.shape)

    def attend_units(self, queries: Tensor, vectors: Tensor, units: Tensor) -> Tensor:
        """queries [R, Q, F], some of the units, attend to vectors [R, 2, D] and units [R, N, F]
        -> embedded queries + attention [R, Q, D]."""
        n_rows, n_queries, n_features = queries.shape
        n_units, width = units.shape[1], vectors.shape[-1]
        heads = self.unit_query.shape[1] // n_features
        to_units = (queries @ self.unit_query).view(n_rows, n_queries * heads, n_features)
        keys = (vectors @ self.vector_key).view(n_rows, 2 * heads, n_features)
        unit_scores = (to_units @ units.mT).view(n_rows, n_queries, heads, n_units)
        vector_scores = (queries @ keys.mT).view(n_rows, n_queries, 2, heads).transpose(2, 3)
        shares = torch.cat([unit_scores, vector_scores], dim=3).softmax(dim=3)
        of_units, of_vectors = shares.split([n_units, 2], dim=3)
        read = of_units.reshape(n_rows, n_queries * heads, n_units) @ units
        read = torch.cat([read.view(n_rows, n_queries, -1), queries], dim=2)
        moved = (vectors @ self.vector_out).view(n_rows, 2 * heads, width)
        of_vectors = of_vectors.transpose(2, 3).reshape(n_rows, n_queries, 2 * heads)
        return read @ self.unit_value + of_vectors @ moved + self.block.attention.out.bias

    def finish(self, x: Tensor) -> Tensor:
        """What follows the attention: x [..., D], residual included -> [..., D]."""
        block = self.block
        x = block.norm1(x)
        hidden = functional.relu_(block.ff[0](x))
        return block.norm2(x + block.ff[2](hidden))


def unit_embedding(tokens: ObservationTokens) -> Tensor:
    """[F, D]: weights and biases of the embeddings of enemies and allies, transposed."""
    layers = (tokens.enemy, tokens.ally)
    return torch.cat([torch.cat([layer.weight.T, layer.bias[None]]) for layer in layers])


def unit_features(features: EntityFeatures) -> Tensor:
    """Raw enemies and allies of an observation, one after the other: [..., E + A - 1, F]."""
    enemies, allies = features.enemies, features.allies
    n_enemies, enemy_width = enemies.shape[-2:]
    n_allies, ally_width = allies.shape[-2:]
    shape = (*enemies.shape[:-2], n_enemies + n_allies, enemy_width + ally_width + 2)
    units = enemies.new_zeros(shape)
    units[..., :n_enemies, :enemy_width] = enemies
    units[..., :n_enemies, enemy_width] = 1
    units[..., n_enemies:, enemy_width + 1 : -1] = allies
    units[..., n_enemies:, -1] = 1
    return units
