"""A transformer over the tokens of an observation, made recurrent by a history token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hygen_lightning.models.attention import Transformer
from hygen_lightning.models.tokens import ObservationTokens
from hygen_lightning.specs import EntityLayout, EntityWidths


class EntityTransformer(nn.Module):
    """Own, enemy, ally and history tokens through a transformer; the output at the history token
    is the next hidden state (algorithm notes, section 2)."""

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

    def step(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        extra_own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One time step.

        obs [B, A, obs_dim], last_actions [B, A] int64, hidden [B, A, D] ->
        (entities [B, A, E + A, D] in the order own, enemies, allies; next hidden [B, A, D]).
        """
        tokens = self.tokens(layout, obs, last_actions, extra_own)
        tokens = torch.cat([tokens, hidden.unsqueeze(-2)], dim=-2)
        outputs = self.transformer(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return outputs[:, :, :-1], outputs[:, :, -1]

    def unroll(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        n_read: int,
        filled: Tensor | None = None,
        extra_own: Tensor | None = None,
    ) -> Tensor:
        """All time steps from a hidden state of zeros.

        obs [B, T, A, obs_dim], last_actions [B, T, A], filled [B, T] bool (a prefix of each
        episode; None: all) -> the first `n_read` entities' outputs [B, T, A, n_read, D]; without
        meaning, but finite, where not filled.
        """
        if filled is not None:
            obs = torch.where(filled[:, :, None, None], obs, 0)
        hidden = self.initial_hidden(obs.shape[0], layout.n_allies)
        outputs = []
        for t in range(obs.shape[1]):
            extra = None if extra_own is None else extra_own[:, t]
            entities, hidden = self.step(layout, obs[:, t], last_actions[:, t], hidden, extra)
            outputs.append(entities[:, :, :n_read])
        return torch.stack(outputs, dim=1)
