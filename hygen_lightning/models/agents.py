"""The agents' networks, from an observation to skill values and actions; all of HyGen in one container.

    network = HyGenNetwork(task.layout.widths)
    logits = network.skill_logits(layout, state, actions, filled)              # [B, T, A, Z]
    q, local_logits = network.observe(layout, obs, last_actions, filled)       # [B, T, A, Z] each
    action_logits = network.decode(layout, obs, last_actions, skill, filled)   # [B, T, A, K]
    mix = network.mixer.weights(layout, state, filled)                         # mix(qs): [B, T]
    step = network.act_step(layout, obs, last_actions, hidden)                 # one step, acting

The layout of the task at hand comes with every call, so one set of weights serves any numbers of
units of a family. `filled` [B, T] bool marks the steps that exist, a prefix of each episode; what
stands in the other steps is never read (NaN included), and the results there have no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.models import fast
from hygen_lightning.models.layers import (
    EntityOutputs,
    ObservationTokens,
    Transformer,
    one_hot,
    zero_unfilled,
)
from hygen_lightning.models.mixers import MixerKind, make_mixer
from hygen_lightning.models.trajectory_encoder import TemporalKind, TrajectoryEncoder
from hygen_lightning.specs import EntityLayout, EntityWidths

HiddenState = tuple[Tensor, Tensor]
"""Hidden states of observation encoder and action decoder, [B, A, D] each."""


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
    head's outputs at that enemy's token. The entities never see the skill: it joins each output
    token just before the head. Without skills (`n_skills=0`) this is the policy of behaviour
    cloning and the value network of UPDeT; `extra_own` further numbers about the agent itself are
    read with its own token.
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

        Where avail_actions is given, logits of unavailable actions are not computed and have no meaning.
        """
        vector = self._attack_vector()
        asked = None
        if avail_actions is not None and self.has_targets:
            asked = avail_actions[..., layout.widths.base_actions :]
        outputs, hidden = self.entities.step(layout, obs, last_actions, hidden, vector, extra_own, asked)
        return self._logits(outputs, skill), hidden

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


@dataclass
class ActStep:
    """One step of acting: skill values q [B, A, Z], chosen skill [B, A] int64, action logits
    [B, A, K] given that skill, and the next hidden state."""

    q: Tensor
    skill: Tensor
    action_logits: Tensor
    hidden: HiddenState


class HyGenNetwork(nn.Module):
    """Trajectory encoder, observation encoder, action decoder, heads and mixer.

    n_skills: Z. width: D of every token. n_heads: attention heads, of width D each. depth:
    transformer blocks. id_bits: of the binary agent number (2**id_bits - 1 agents at most).
    """

    def __init__(
        self,
        widths: EntityWidths,
        n_skills: int = 5,
        width: int = 64,
        n_heads: int = 8,
        depth: int = 1,
        id_bits: int = 4,
        trajectory_encoder: TemporalKind = "step",
        mixer: MixerKind = "attention",
    ) -> None:
        super().__init__()
        self.n_skills = n_skills
        self.trajectory_encoder = TrajectoryEncoder(widths, width, n_heads, trajectory_encoder)
        self.skill_head = nn.Linear(width, n_skills)
        self.observation_encoder = ObservationEncoder(widths, width, n_heads, depth, id_bits)
        self.q_head = nn.Linear(width, n_skills)
        self.action_decoder = ActionDecoder(widths, n_skills, width, n_heads, depth, id_bits)
        self.mixer = make_mixer(mixer, widths, width)

    def skill_logits(
        self, layout: EntityLayout, state: Tensor, actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """Logits of each ally's skill: state [B, T, ·], actions [B, T, A] -> [B, T, A, Z]."""
        return self.skill_head(self.trajectory_encoder(layout, state, actions, filled))

    def observe(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Values and prediction of skills by each agent alone, from a hidden state of zeros.

        obs [B, T, A, obs_dim], last_actions [B, T, A] int64 (-1: none yet) -> values of skills
        and logits of the skill it predicts for itself, [B, T, A, Z] each.
        """
        own = self.observation_encoder(layout, obs, last_actions, filled)
        return self.q_head(own), self.skill_head(own)

    def decode(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        skill: Tensor,
        filled: Tensor | None = None,
    ) -> Tensor:
        """obs [B, T, A, obs_dim], last_actions [B, T, A], skill [B, T, A, Z] one-hot or relaxed
        -> action logits [B, T, A, K]."""
        return self.action_decoder(layout, obs, last_actions, skill, filled)

    def initial_hidden(self, layout: EntityLayout, num_envs: int) -> HiddenState:
        """Hidden state before the first step: zeros [B, A, D], twice."""
        hidden = self.observation_encoder.entities.initial_hidden(num_envs, layout.n_allies)
        return hidden, torch.zeros_like(hidden)

    def act_step(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: HiddenState,
        avail_actions: Tensor | None = None,
    ) -> ActStep:
        """One step of B environments: each agent takes its greedy skill, from what it alone has seen.

        obs [B, A, obs_dim], last_actions [B, A] int64, avail_actions [B, A, K] bool or None: where
        given, the logits of other actions are not computed and have no meaning.
        """
        own, observe_hidden = self.observation_encoder.act(layout, obs, last_actions, hidden[0])
        q = self.q_head(own)
        skill = q.argmax(dim=-1)
        chosen = one_hot(skill, self.n_skills, obs.dtype)
        logits, decode_hidden = self.action_decoder.act(
            layout, obs, last_actions, hidden[1], chosen, avail_actions=avail_actions
        )
        return ActStep(q, skill, logits, (observe_hidden, decode_hidden))
