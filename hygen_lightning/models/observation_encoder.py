"""What an agent makes of its own observations: the local encoder behind the skill values."""

from __future__ import annotations

from torch import Tensor, nn

from hygen_lightning.models.entity_transformer import EntityTransformer
from hygen_lightning.specs import EntityLayout, EntityWidths


class ObservationEncoder(nn.Module):
    """The output at the own token, D numbers per agent and time step (HyGen, `ObsEncoder`)."""

    def __init__(
        self, widths: EntityWidths, width: int = 64, n_heads: int = 8, depth: int = 1, id_bits: int = 4
    ) -> None:
        super().__init__()
        self.entities = EntityTransformer(widths, width, n_heads, depth, id_bits)

    def forward(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """obs [B, T, A, obs_dim], last_actions [B, T, A], filled [B, T] or None -> [B, T, A, D]."""
        return self.entities.unroll(layout, obs, last_actions, filled).own

    def act(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step: obs [B, A, obs_dim], hidden [B, A, D] -> (own [B, A, D], hidden [B, A, D])."""
        outputs, hidden = self.entities.step(layout, obs, last_actions, hidden)
        return outputs.own, hidden
