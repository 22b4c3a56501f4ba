"""From states and joint actions to an embedding of each ally at each step: the skill head's input."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from hygen_lightning.models import fast
from hygen_lightning.models.layers import (
    MultiHeadAttention,
    Packing,
    SingleHeadAttention,
    StateTokens,
    TransformerBlock,
)
from hygen_lightning.specs import EntityLayout, EntityWidths

TemporalKind = Literal["step", "gru", "bigru", "transformer"]
StateAttention = Literal["multi_head", "single_head"]


class TrajectoryEncoder(nn.Module):
    """One attention layer over the state tokens of a time step, then a model of time.

    temporal: how an ally's attention outputs of one episode are joined over time.
    - step: not at all, each time step alone (the published defaults).
    - gru: a GRU forward in time, then a Linear.
    - bigru: a GRU in each direction, each output at its own time step, then a Linear 2D -> D.
      (The published code never flips the backward outputs, and has a skill head of its own
      that stage two never distils; the Linear here stands before the one shared head, which
      spans the same functions.)
    - transformer: each ally's outputs of the episode attend to one another, with positions.

    attention: multi_head as HyGen, single_head as ODIS (no projection of values).
    """

    def __init__(
        self,
        widths: EntityWidths,
        width: int = 64,
        n_heads: int = 8,
        temporal: TemporalKind = "step",
        attention: StateAttention = "multi_head",
        key_width: int = 8,
    ) -> None:
        super().__init__()
        self.temporal = temporal
        self.tokens = StateTokens(widths, width, with_actions=True)
        self.attention: nn.Module = (
            MultiHeadAttention(width, n_heads)
            if attention == "multi_head"
            else SingleHeadAttention(width, key_width)
        )
        if temporal in ("gru", "bigru"):
            self.forward_gru = nn.GRU(width, width, batch_first=True)
            self.merge = nn.Linear(width if temporal == "gru" else 2 * width, width)
        if temporal == "bigru":
            self.backward_gru = nn.GRU(width, width, batch_first=True)
        if temporal == "transformer":
            self.block = TransformerBlock(width, n_heads)

    def forward(
        self, layout: EntityLayout, state: Tensor, actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """state [B, T, state_dim], actions [B, T, A], filled [B, T] bool (a prefix of each
        episode; None: all) -> [B, T, A, D]; without meaning, but finite, where not filled."""
        packing = Packing.of(filled, state)
        attended = self._attend(layout, packing.pack(state), packing.pack(actions))
        return self.over_time(packing.unpack(attended), filled)

    def _attend(self, layout: EntityLayout, state: Tensor, actions: Tensor) -> Tensor:
        """state [P, state_dim], actions [P, A] -> attention output at the allies [P, A, D]."""
        if fast.is_on() and isinstance(self.attention, MultiHeadAttention):
            return fast.attend_states(self.tokens, self.attention, layout, state, actions)
        return self.attention(self.tokens(layout, state, actions))[:, : layout.n_allies]

    def over_time(self, attended: Tensor, filled: Tensor | None = None) -> Tensor:
        """Join each ally's attention outputs over time: [B, T, A, D] -> [B, T, A, D]."""
        if self.temporal == "step":
            return attended
        if filled is None:
            filled = torch.ones(attended.shape[:2], dtype=torch.bool, device=attended.device)
        n_allies = attended.shape[2]
        filled = filled.repeat_interleave(n_allies, dim=0)
        rows = rearrange(attended, "b t a d -> (b a) t d")
        if self.temporal == "transformer":
            joined = self.block(rows + time_positions(rows), valid=filled)
        else:
            joined = self._recur(rows, filled)
        return rearrange(joined, "(b a) t d -> b t a d", a=n_allies)

    def _recur(self, rows: Tensor, filled: Tensor) -> Tensor:
        """rows [R, T, D], one ally's episode each, filled [R, T] -> [R, T, D]."""
        ahead = self.forward_gru(rows)[0]
        if self.temporal == "gru":
            return self.merge(ahead)
        behind = flip_within(self.backward_gru(flip_within(rows, filled))[0], filled)
        return self.merge(torch.cat([ahead, behind], dim=-1))


def flip_within(rows: Tensor, filled: Tensor) -> Tensor:
    """rows [R, T, D] with the filled prefix of each row in reverse order, the rest in place."""
    n_steps = rows.shape[1]
    steps = torch.arange(n_steps, device=rows.device).expand(rows.shape[:2])
    flipped = torch.where(filled, filled.sum(dim=1, keepdim=True) - 1 - steps, steps)
    return rows.gather(1, flipped.unsqueeze(-1).expand_as(rows))


def time_positions(rows: Tensor) -> Tensor:
    """Sinusoidal positions [T, D] for rows [R, T, D] (Vaswani et al. 2017, any T)."""
    n_steps, width = rows.shape[1:]
    steps = torch.arange(n_steps, device=rows.device, dtype=rows.dtype).unsqueeze(-1)
    index = torch.arange(width, device=rows.device)
    angles = steps / 10_000 ** ((index - index % 2) / width)
    return torch.where(index % 2 == 0, angles.sin(), angles.cos())
