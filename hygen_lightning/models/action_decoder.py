"""From observations and a skill to primitive actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hygen_lightning.models.entity_transformer import EntityOutputs, EntityTransformer
from hygen_lightning.specs import EntityLayout, EntityWidths


class ActionDecoder(nn.Module):
    """Logits of the primitive actions, one per base action and one per enemy (HyGen, `Decoder`).

    The entities never see the skill: it joins each output token just before the last Linear.
    Without skills (`n_skills=0`) this is the policy of behaviour cloning and the value network of
    UPDeT; `extra_own` further numbers about the agent itself are read with its own token.
    """

    def __init__(
        self,
        widths: EntityWidths,
        n_skills: int = 5,
        width: int = 64,
        n_heads: int = 8,
        depth: int = 1,
        id_bits: int = 4,
        extra_own: int = 0,
    ) -> None:
        super().__init__()
        self.has_targets = widths.has_targets
        self.entities = EntityTransformer(widths, width, n_heads, depth, id_bits, extra_own)
        self.skill = nn.Linear(n_skills, width) if n_skills else None
        self.head = nn.Linear(2 * width if n_skills else width, widths.base_actions)

    def forward(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        skill: Tensor | None = None,
        filled: Tensor | None = None,
        extra_own: Tensor | None = None,
    ) -> Tensor:
        """All time steps from a hidden state of zeros.

        obs [B, T, A, obs_dim], last_actions [B, T, A], skill [B, T, A, Z] (one-hot or relaxed),
        filled [B, T] bool or None, extra_own [B, T, A, X] -> logits [B, T, A, K].
        """
        vector = self._attack_vector()
        outputs = self.entities.unroll(layout, obs, last_actions, filled, vector, extra_own)
        return self._logits(outputs, skill)

    def act(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        skill: Tensor | None = None,
        extra_own: Tensor | None = None,
        avail_actions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One step: obs [B, A, obs_dim], hidden [B, A, D], skill [B, A, Z], avail_actions [B, A, K]
        bool or None -> (logits [B, A, K], hidden [B, A, D]).

        Where avail_actions is given, enemies that cannot be acted on are not asked about: the
        logits of unavailable actions have no meaning.
        """
        vector = self._attack_vector()
        asked = None
        if avail_actions is not None and self.has_targets:
            asked = avail_actions[..., layout.widths.base_actions :]
        outputs, hidden = self.entities.step(layout, obs, last_actions, hidden, vector, extra_own, asked)
        return self._logits(outputs, skill), hidden

    def _attack_vector(self) -> Tensor | None:
        """[D]: the mean of the head's rows, for the logit of an attack is the mean of the head's
        outputs at that enemy's token; None where no action has a target."""
        if not self.has_targets:
            return None
        return self.head.weight[:, : self.entities.width].mean(dim=0)

    def _logits(self, outputs: EntityOutputs, skill: Tensor | None) -> Tensor:
        """outputs at own token and enemies, skill [..., Z] or None -> [..., K]."""
        width = self.entities.width
        weight = self.head.weight
        shared: Tensor = self.head.bias
        if self.skill is not None:
            assert skill is not None
            shared = nn.functional.linear(self.skill(skill), weight[:, width:], shared)
        base = nn.functional.linear(outputs.own, weight[:, :width]) + shared
        if outputs.enemies is None:
            return base
        return torch.cat([base, outputs.enemies + shared.mean(dim=-1, keepdim=True)], dim=-1)
