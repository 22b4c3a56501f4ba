"""Attention over tokens, written out plainly: the definition that every faster path must equal."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Heads of full width D each: query, key and value are D -> H * D without bias, out H * D -> D.

    Scores are scaled by 1 / sqrt(D) (HyGen, `utils/transformer.py`).
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.width, self.n_heads = width, n_heads
        self.query = nn.Linear(width, n_heads * width, bias=False)
        self.key = nn.Linear(width, n_heads * width, bias=False)
        self.value = nn.Linear(width, n_heads * width, bias=False)
        self.out = nn.Linear(n_heads * width, width)

    def forward(self, tokens: Tensor, context: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """tokens [R, N, D] attend to context [R, M, D] (None: to one another) -> [R, N, D].

        valid [R, M] bool: context tokens that exist (None: all).
        """
        context = tokens if context is None else context
        queries = rearrange(self.query(tokens), "r n (h d) -> r h n d", h=self.n_heads)
        keys = rearrange(self.key(context), "r m (h d) -> r h d m", h=self.n_heads)
        values = rearrange(self.value(context), "r m (h d) -> r h m d", h=self.n_heads)
        scores = (queries / self.width**0.5) @ keys
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, None, :], torch.finfo(scores.dtype).min)
        attended = scores.softmax(dim=-1) @ values
        return self.out(rearrange(attended, "r h n d -> r n (h d)"))


class TransformerBlock(nn.Module):
    """x <- LN(x + attention(x)); x <- LN(x + FF(x)), FF = D -> 4D -> ReLU -> D."""

    def __init__(self, width: int, n_heads: int, ff_factor: int = 4) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, n_heads)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.ff = nn.Sequential(
            nn.Linear(width, ff_factor * width), nn.ReLU(), nn.Linear(ff_factor * width, width)
        )

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """tokens [R, N, D], valid [R, N] bool or None -> [R, N, D]."""
        attended = self.norm1(tokens + self.attention(tokens, valid=valid))
        return self.norm2(attended + self.ff(attended))


class Transformer(nn.Module):
    """`depth` blocks, then one Linear D -> D on every token."""

    def __init__(self, width: int, n_heads: int, depth: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([TransformerBlock(width, n_heads) for _ in range(depth)])
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [R, N, D] -> [R, N, D]."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.out(tokens)


class SingleHeadAttention(nn.Module):
    """Narrow attention whose weights are normalised over the QUERY axis (ODIS, HyGen's mixer).

    Token j becomes sum_i x_i * softmax_i(query(x_i) . key(x_j) / sqrt(key width)); values are the
    tokens themselves.
    """

    def __init__(self, width: int, key_width: int = 8) -> None:
        super().__init__()
        self.query = nn.Linear(width, key_width)
        self.key = nn.Linear(width, key_width)

    def weights(self, tokens: Tensor) -> Tensor:
        """tokens [..., N, D] -> [..., N (queries i), N (keys j)]; sums to 1 over i."""
        queries, keys = self.query(tokens), self.key(tokens)
        return (queries / queries.shape[-1] ** 0.5 @ keys.transpose(-1, -2)).softmax(dim=-2)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [..., N, D] -> [..., N, D]."""
        return self.weights(tokens).transpose(-1, -2) @ tokens
