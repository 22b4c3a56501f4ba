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
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from hygen_lightning.models.layers import MultiHeadAttention, ObservationTokens, TransformerBlock


@dataclass
class FoldedBlock:
    """A block with embedding and attention folded; H heads.

    unit_embedding [F, D]. For queries that are vectors: vector_query [D, H * (F + D)] and, from
    the raw own features and a one, own_query [F_own + 1, H * (F + D)]; vector_value
    [H * (F + D), D]. For queries that are units: unit_query [F, H * F], vector_key [D, H * F],
    unit_value [H * F, D], vector_out [D, H * D].
    """

    block: TransformerBlock
    unit_embedding: Tensor
    own_query: Tensor
    vector_query: Tensor
    vector_value: Tensor
    unit_query: Tensor
    vector_key: Tensor
    unit_value: Tensor
    vector_out: Tensor

    @classmethod
    def of(cls, block: TransformerBlock, tokens: ObservationTokens) -> FoldedBlock:
        """Fold the present parameters; gradients reach every one of them."""
        score, moved = fold_heads(block.attention)
        units = embedding_of(tokens.enemy, tokens.ally)  # [F, D]
        to_units = score @ units.T  # [H, D, F]
        moved_units = units @ moved  # [H, F, D]
        vector_query = torch.cat([to_units, score], dim=2).transpose(0, 1).flatten(1)
        return cls(
            block,
            units,
            with_bias(tokens.own) @ vector_query,
            vector_query,
            torch.cat([moved_units, moved], dim=1).flatten(0, 1),
            (units @ to_units).transpose(0, 1).flatten(1),
            (units @ score).permute(2, 0, 1).flatten(1),
            moved_units.flatten(0, 1),
            moved.transpose(0, 1).flatten(1),
        )

    def attend_vectors(self, x: Tensor, queries: Tensor, vectors: Tensor, units: Tensor) -> Tensor:
        """x [R, Q, D], already projected to queries [R, Q, H * (F + D)], attend to vectors
        [R, 2, D] and units [R, N, F] -> x + attention [R, Q, D]."""
        n_rows, n_queries, width = x.shape
        n_units, n_features = units.shape[1:]
        queries = queries.view(n_rows, -1, n_features + width)
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
        moved = (vectors @ self.vector_out).view(n_rows, 2 * heads, width)
        of_vectors = of_vectors.transpose(2, 3).reshape(n_rows, n_queries, 2 * heads)
        embedded = torch.addmm(
            self.block.attention.out.bias, queries.reshape(-1, n_features), self.unit_embedding
        )
        residual = torch.addmm(embedded, read.view(n_rows * n_queries, -1), self.unit_value)
        return torch.baddbmm(residual.view(n_rows, n_queries, width), of_vectors, moved)

    def finish(self, x: Tensor) -> Tensor:
        """What follows the attention: x [R, Q, D], residual included -> [R, Q, D]."""
        block = self.block
        attended = block.norm1(x.flatten(0, 1))
        hidden = functional.relu_(block.ff[0](attended))
        return block.norm2(attended + block.ff[2](hidden)).view(x.shape)


@cache
def compiled_folded_block() -> type[FoldedBlock]:
    """`FoldedBlock`, each of its steps fused by `torch.compile` for any numbers of rows and units."""

    class CompiledFoldedBlock(FoldedBlock):
        attend_vectors = torch.compile(FoldedBlock.attend_vectors, dynamic=True)
        attend_units = torch.compile(FoldedBlock.attend_units, dynamic=True)
        finish = torch.compile(FoldedBlock.finish, dynamic=True)

    return CompiledFoldedBlock


class Folds:
    """The folded block of a transformer over observation tokens, kept as long as it holds."""

    def __init__(self) -> None:
        self.compiled = False
        self._kept: tuple[tuple[tuple[int, int], ...], FoldedBlock] | None = None

    def of(self, block: TransformerBlock, tokens: ObservationTokens) -> FoldedBlock:
        """Folded anew where gradients are asked for or autocast is on, else once until a parameter
        changes: acting and the target networks fold the same parameters again and again."""
        kind = compiled_folded_block() if self.compiled else FoldedBlock
        half = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
        if torch.is_grad_enabled() or half:
            return kind.of(block, tokens)
        versions = tuple((p.data_ptr(), p._version) for p in (*block.parameters(), *tokens.parameters()))
        if self._kept is None or self._kept[0] != versions:
            self._kept = versions, kind.of(block, tokens)
        return self._kept[1]


def attend_among_units(
    attention: MultiHeadAttention, embedding: Tensor, units: Tensor, n_queries: int
) -> Tensor:
    """The first units [R, N, F] attend to all of them -> attention output [R, Q, D].

    As `attention` on the tokens units @ embedding [F, D], from the raw numbers alone.
    """
    n_rows, _, n_features = units.shape
    score, moved = fold_heads(attention)
    query = (embedding @ score @ embedding.T).transpose(0, 1).flatten(1)
    value = (embedding @ moved).flatten(0, 1)
    queries = (units[:, :n_queries] @ query).view(n_rows, -1, n_features)
    shares = (units @ queries.mT).softmax(dim=1)  # [R, N, Q * H]: fast, the long dimension is the last
    return (shares.mT @ units).view(n_rows, n_queries, -1) @ value + attention.out.bias


def fold_heads(attention: MultiHeadAttention) -> tuple[Tensor, Tensor]:
    """Per head, W_q' W_k / sqrt(D) and W_v' W_out', [H, D, D] each: a query x scores a key y with
    x @ score @ y, and y moves x by share * y @ moved."""
    heads, width = attention.n_heads, attention.width
    query, key, value = (
        layer.weight.view(heads, width, width) for layer in (attention.query, attention.key, attention.value)
    )
    out = attention.out.weight.view(width, heads, width).permute(1, 2, 0)
    return query.transpose(1, 2) @ key / width**0.5, value.transpose(1, 2) @ out


def embedding_of(first: nn.Linear, second: nn.Linear) -> Tensor:
    """[F, D]: weights and biases of the embeddings of two kinds of units, as `raw_units` lays
    their numbers out."""
    return torch.cat([with_bias(first), with_bias(second)])


def with_bias(layer: nn.Linear) -> Tensor:
    """[F + 1, D]: weights of a Linear, transposed, and its bias, for features followed by a one."""
    return torch.cat([layer.weight.T, layer.bias[None]])


def raw_units(first: Tensor, second: Tensor) -> Tensor:
    """first [..., N1, F1] and second [..., N2, F2] -> [..., N1 + N2, F1 + F2 + 2].

    Each kind in its own columns, followed by a one that carries its bias; zeros elsewhere.
    """
    n_first, first_width = first.shape[-2:]
    n_second, second_width = second.shape[-2:]
    shape = (*first.shape[:-2], n_first + n_second, first_width + second_width + 2)
    units = first.new_zeros(shape)
    units[..., :n_first, :first_width] = first
    units[..., :n_first, first_width] = 1
    units[..., n_first:, first_width + 1 : -1] = second
    units[..., n_first:, -1] = 1
    return units
