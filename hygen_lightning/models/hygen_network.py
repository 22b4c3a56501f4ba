"""All networks of HyGen in one container, built from entity widths alone.

    network = HyGenNetwork(task.layout.widths)
    logits = network.skill_logits(layout, state, actions, filled)              # [B, T, A, Z]
    q, local_logits = network.observe(layout, obs, last_actions, filled)       # [B, T, A, Z] each
    action_logits = network.decode(layout, obs, last_actions, skill, filled)   # [B, T, A, K]
    team_value = network.mix(layout, qs, state, filled)                        # [B, T]
    step = network.act_step(layout, obs, last_actions, memory)                 # one step, acting

The layout of the task at hand comes with every call, so one set of weights serves any numbers of
units of a family. `filled` [B, T] bool marks the steps that exist, a prefix of each episode; what
stands in the other steps is never read (NaN included), and the results there have no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.models.action_decoder import ActionDecoder
from hygen_lightning.models.mixer import AttentionMixer
from hygen_lightning.models.observation_encoder import ObservationEncoder
from hygen_lightning.models.tokens import one_hot
from hygen_lightning.models.trajectory_encoder import StateAttention, TemporalKind, TrajectoryEncoder
from hygen_lightning.specs import EntityLayout, EntityWidths

HiddenState = tuple[Tensor, Tensor]
"""Hidden states of observation encoder and action decoder, [B, A, D] each."""


@dataclass
class ActStep:
    """One step of acting: skill values q [B, A, Z], chosen skill [B, A] int64, action logits
    [B, A, K] given that skill, and the memory for the next step."""

    q: Tensor
    skill: Tensor
    action_logits: Tensor
    hidden: HiddenState


class HyGenNetwork(nn.Module):
    """Trajectory encoder, observation encoder, action decoder, heads and mixer (section 2).

    n_skills Z, width D of every token, n_heads heads of width D each, depth transformer blocks,
    id_bits of the binary agent number (2**id_bits - 1 agents at most).
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
        state_attention: StateAttention = "multi_head",
        mixing_width: int = 32,
        hyper_width: int = 64,
        key_width: int = 8,
    ) -> None:
        super().__init__()
        self.widths, self.n_skills = widths, n_skills
        self.trajectory_encoder = TrajectoryEncoder(
            widths, width, n_heads, trajectory_encoder, state_attention, key_width
        )
        self.skill_head = nn.Linear(width, n_skills)
        self.observation_encoder = ObservationEncoder(widths, width, n_heads, depth, id_bits)
        self.q_head = nn.Linear(width, n_skills)
        self.action_decoder = ActionDecoder(widths, n_skills, width, n_heads, depth, id_bits)
        self.mixer = AttentionMixer(widths, width, mixing_width, hyper_width, key_width)

    def skill_logits(
        self, layout: EntityLayout, state: Tensor, actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """Which skill each ally was using: state [B, T, ·], actions [B, T, A] -> [B, T, A, Z]."""
        return self.skill_head(self.trajectory_encoder(layout, state, actions, filled))

    def observe(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each agent alone thinks of the skills, unrolled over time from no memory.

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

    def mix(self, layout: EntityLayout, qs: Tensor, state: Tensor, filled: Tensor | None = None) -> Tensor:
        """qs [B, T, A], state [B, T, state_dim] -> team value [B, T]; see also `mixer.weights`."""
        return self.mixer(layout, qs, state, filled)

    def initial_hidden(self, layout: EntityLayout, num_envs: int) -> HiddenState:
        """Memory before the first step: zeros [B, A, D], twice."""
        hidden = self.observation_encoder.entities.initial_hidden(num_envs, layout.n_allies)
        return hidden, torch.zeros_like(hidden)

    def act_step(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: HiddenState,
        skill: Tensor | None = None,
        avail_actions: Tensor | None = None,
    ) -> ActStep:
        """One step of B battles, each agent on its own observation and memory alone (section 6).

        obs [B, A, obs_dim], last_actions [B, A] int64, skill [B, A] int64 or None: the greedy one.
        avail_actions [B, A, K] bool or None: spares the logits of other actions, which then have
        no meaning.
        """
        own, observe_hidden = self.observation_encoder.act(layout, obs, last_actions, hidden[0])
        q = self.q_head(own)
        skill = q.argmax(dim=-1) if skill is None else skill
        chosen = one_hot(skill, self.n_skills, obs.dtype)
        logits, decode_hidden = self.action_decoder.act(
            layout, obs, last_actions, hidden[1], chosen, avail_actions=avail_actions
        )
        return ActStep(q, skill, logits, (observe_hidden, decode_hidden))
