"""Mixers: from the agents' values to the team's, which rises with each of them (or stays).

Every mixer has `weights(layout, state, filled)`: a function from values qs [B, T, A] to team
values [B, T], zeros where not filled, that can mix several sets of values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hygen_lightning.models.layers import Packing, SingleHeadAttention, StateTokens, mlp, zero_unfilled
from hygen_lightning.specs import EntityLayout, EntityWidths

MixerKind = Literal["attention", "sum"]


def make_mixer(kind: MixerKind, widths: EntityWidths, width: int = 64) -> AttentionMixer | SumMixer:
    """attention: weights from the state (HyGen); sum: the sum of the agents' values (VDN)."""
    return SumMixer() if kind == "sum" else AttentionMixer(widths, width)


class SumMixer(nn.Module):
    """The sum of the agents' values (VDN, Sunehag et al. 2018); it reads no state and learns nothing."""

    def weights(
        self, layout: EntityLayout, state: Tensor, filled: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """state [B, T, state_dim], filled [B, T] bool or None -> the sum over agents."""
        return lambda qs: zero_unfilled(qs, filled).sum(dim=-1)


@dataclass
class MixingWeights:
    """The mixing network of each of P filled states; it can mix several sets of values.

    agents [P, A, M] >= 0, bias [P, M], out [P, M] >= 0, value [P].
    """

    packing: Packing
    agents: Tensor
    bias: Tensor
    out: Tensor
    value: Tensor

    def __call__(self, qs: Tensor) -> Tensor:
        """qs [B, T, A] -> team value [B, T], zeros where not filled."""
        qs = self.packing.pack(qs)
        hidden = nn.functional.elu((qs.unsqueeze(-1) * self.agents).sum(dim=-2) + self.bias)
        return self.packing.unpack((hidden * self.out).sum(dim=-1) + self.value)


class AttentionMixer(nn.Module):
    """Mixing weights from entity embeddings, for any number of units (HyGen, `qattn.QMixer`).

    The state without current actions is embedded, attended with weights normalised over the
    query axis and averaged over tokens: the context c [D]. Agent i's weights are |MLP(c, ally_i)|.
    `width` is D, `mixing_width` the hidden units M, `hyper_width` the MLPs' hidden units.
    """

    def __init__(
        self,
        widths: EntityWidths,
        width: int = 64,
        mixing_width: int = 32,
        hyper_width: int = 64,
        key_width: int = 8,
    ) -> None:
        super().__init__()
        self.tokens = StateTokens(widths, width, with_actions=False)
        self.attention = SingleHeadAttention(width, key_width)
        self.agent_weights = mlp(2 * width, hyper_width, mixing_width)
        self.out_weights = mlp(width, hyper_width, mixing_width)
        self.bias = nn.Linear(width, mixing_width)
        self.value = mlp(width, mixing_width, 1)

    def weights(self, layout: EntityLayout, state: Tensor, filled: Tensor | None = None) -> MixingWeights:
        """state [B, T, state_dim], filled [B, T] bool or None -> the mixing network per step."""
        packing = Packing.of(filled, state)
        tokens = self.tokens(layout, packing.pack(state))
        share = self.attention.weights(tokens).mean(dim=-1)
        context = (share.unsqueeze(-1) * tokens).sum(dim=-2)
        allies = tokens[..., : layout.n_allies, :]
        of_all = context.unsqueeze(-2).expand_as(allies)
        return MixingWeights(
            packing,
            self.agent_weights(torch.cat([of_all, allies], dim=-1)).abs(),
            self.bias(context),
            self.out_weights(context).abs(),
            self.value(context)[..., 0],
        )
