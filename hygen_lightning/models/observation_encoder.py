"""What an agent makes of its own observations: the local encoder behind the skill values."""

from __future__ import annotations

from torch import Tensor

from hygen_lightning.models.entity_transformer import EntityTransformer
from hygen_lightning.specs import EntityLayout


class ObservationEncoder(EntityTransformer):
    """The output at the own token, D numbers per agent and time step (HyGen, `ObsEncoder`)."""

    def forward(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """obs [B, T, A, obs_dim], last_actions [B, T, A], filled [B, T] or None -> [B, T, A, D]."""
        return self.unroll(layout, obs, last_actions, 1, filled)[:, :, :, 0]

    def act(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step: obs [B, A, obs_dim], hidden [B, A, D] -> (own [B, A, D], hidden [B, A, D])."""
        entities, hidden = self.step(layout, obs, last_actions, hidden)
        return entities[:, :, 0], hidden
