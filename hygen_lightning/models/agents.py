"""The agents' networks, from an observation to an embedding and to logits of actions.

The layout of the task at hand comes with every call, so one set of weights serves any numbers of
units of a family. `filled` [B, T] bool marks the steps that exist, a prefix of each episode; what
stands in the other steps is never read (NaN included), and the results there have no meaning.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hygen_lightning.models import fast
from hygen_lightning.models.layers import (
    EntityOutputs,
    ObservationTokens,
    Transformer,
    zero_unfilled,
)
from hygen_lightning.specs import EntityLayout, EntityWidths

SkillInput = Literal["bias", "token"]
AgentKind = Literal["transformer", "pooled"]
"""A transformer over entities (here), or a small recurrent network over pooled ones (`pooled`)."""


class EntityTransformer(nn.Module):
    """Own, enemy, ally and history tokens through a transformer; the output at the history token
    is the next hidden state (HyGen, `ObsEncoder` and `Decoder`).

    `step` and `unroll` define what is computed; `fast` computes the same numbers in less time, except
    within `fast.by_definition()`.
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
        self.folds = fast.Folds()

    def initial_hidden(self, *shape: int) -> Tensor:
        """Zeros [*shape, D] on the device and in the type of the parameters."""
        return self.transformer.out.weight.new_zeros(*shape, self.width)

    def compile_blocks(self) -> None:
        """From here on the blocks run through `torch.compile`; the first calls take a minute."""
        fast.compile_blocks(self)

    def forward(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        extra_own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One time step of every token.

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
        asked: Tensor | None = None,
    ) -> tuple[EntityOutputs, Tensor]:
        """One time step of what is read: as `unroll`, for obs [B, A, obs_dim] and hidden [B, A, D].

        asked [B, A, E] bool: the enemies whose outputs matter (None: all); the others' have no
        meaning. -> (outputs with own [B, A, D], next hidden [B, A, D]).
        """
        if fast.is_on():
            return fast.step(self, layout, obs, last_actions, hidden, enemy_vector, extra_own, asked)
        entities, hidden = self(layout, obs, last_actions, hidden, extra_own)
        return EntityOutputs.of(layout, entities, enemy_vector), hidden

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
        they are not read), extra_own [B, T, A, X] -> own [B, T, A, D], enemies [B, T, A, E].
        """
        if fast.is_on():
            return fast.unroll(self, layout, obs, last_actions, filled, enemy_vector, extra_own)
        obs = zero_unfilled(obs, filled)
        extra_own = None if extra_own is None else zero_unfilled(extra_own, filled)
        hidden = self.initial_hidden(obs.shape[0], layout.n_allies)
        steps = []
        for t in range(obs.shape[1]):
            extra = None if extra_own is None else extra_own[:, t]
            outputs, hidden = self.step(layout, obs[:, t], last_actions[:, t], hidden, enemy_vector, extra)
            steps.append(outputs)
        return EntityOutputs.join(steps, lambda parts: torch.stack(parts, dim=1))


class ObservationEncoder(nn.Module):
    """An agent's own observations so far as an embedding [D] per time step (HyGen, `ObsEncoder`)."""

    def __init__(
        self, widths: EntityWidths, width: int = 64, n_heads: int = 8, depth: int = 1, id_bits: int = 4
    ) -> None:
        super().__init__()
        self.entities = EntityTransformer(widths, width, n_heads, depth, id_bits)

    def initial_hidden(self, num_envs: int, n_agents: int) -> Tensor:
        """Zeros [B, A, D]."""
        return self.entities.initial_hidden(num_envs, n_agents)

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


class ActionDecoder(nn.Module):
    """Logits of the primitive actions, one per base action and one per enemy (HyGen, `Decoder`).

    The base actions are read at the own token; the logit of an attack is the mean of the same
    head's outputs at that enemy's token. Without skills (`n_skills=0`) this is the policy of behaviour
    cloning and the value network of UPDeT; `extra_own` further numbers about the agent itself are
    read with its own token.

    skill_input: bias, as published: the entities never see the skill, it joins each output token just
    before the head, so it shifts all attacks alike. token: it is read with the agent's own token, to
    which all entities attend, so it can choose among targets too.
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
        skill_input: SkillInput = "bias",
    ) -> None:
        super().__init__()
        self.has_targets = widths.has_targets
        self.skill_in_token = bool(n_skills) and skill_input == "token"
        if self.skill_in_token:
            extra_own += n_skills
        self.entities = EntityTransformer(widths, width, n_heads, depth, id_bits, extra_own)
        self.skill = nn.Linear(n_skills, width) if n_skills and not self.skill_in_token else None
        self.head = nn.Linear(width if self.skill is None else 2 * width, widths.base_actions)

    def initial_hidden(self, num_envs: int, n_agents: int) -> Tensor:
        """Zeros [B, A, D]."""
        return self.entities.initial_hidden(num_envs, n_agents)

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
        vector, extra_own = self._attack_vector(), self._extra_own(skill, extra_own)
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

        Where avail_actions is given, logits of unavailable actions are not computed and have no meaning.
        """
        vector, extra_own = self._attack_vector(), self._extra_own(skill, extra_own)
        asked = None
        if avail_actions is not None and self.has_targets:
            asked = avail_actions[..., layout.widths.base_actions :]
        outputs, hidden = self.entities.step(layout, obs, last_actions, hidden, vector, extra_own, asked)
        return self._logits(outputs, skill), hidden

    def _extra_own(self, skill: Tensor | None, extra_own: Tensor | None) -> Tensor | None:
        """Further own numbers, the skill [..., Z] among them where the own token reads it."""
        if not self.skill_in_token:
            return extra_own
        assert skill is not None
        return skill if extra_own is None else torch.cat([extra_own, skill], dim=-1)

    def _attack_vector(self) -> Tensor | None:
        """[D]: the mean of the head's rows, which turns an enemy's output token into the mean of the
        head's outputs; None where no action has a target."""
        return self.head.weight[:, : self.entities.width].mean(dim=0) if self.has_targets else None

    def _logits(self, outputs: EntityOutputs, skill: Tensor | None) -> Tensor:
        """outputs at own token and enemies, skill [..., Z] or None -> [..., K]."""
        of_token, of_skill = self.head.weight.tensor_split([self.entities.width], dim=1)
        shared: Tensor = self.head.bias  # what the skill adds to every output of the head
        if self.skill is not None:
            shared = nn.functional.linear(self.skill(skill), of_skill, self.head.bias)
        base = nn.functional.linear(outputs.own, of_token) + shared
        if outputs.enemies is None:
            return base
        return torch.cat([base, outputs.enemies + shared.mean(dim=-1, keepdim=True)], dim=-1)
