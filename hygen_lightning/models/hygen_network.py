"""All of HyGen's networks in one container.

    network = HyGenNetwork(task.layout.widths)
    logits = network.skill_logits(layout, state, actions, filled)              # [B, T, A, Z]
    q, local_logits = network.observe(layout, obs, last_actions, filled)       # [B, T, A, Z] each
    action_logits = network.decode(layout, obs, last_actions, skill, filled)   # [B, T, A, K]
    mix = network.mixer.weights(layout, state, filled)                         # mix(qs): [B, T]
    step = network.act_step(layout, obs, last_actions, hidden)                 # one step, acting

Shapes and `filled` are those of `agents`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.models.agents import ActionDecoder, AgentKind, ObservationEncoder, SkillInput
from hygen_lightning.models.layers import one_hot
from hygen_lightning.models.mixers import MixerKind, make_mixer
from hygen_lightning.models.pooled import PooledActor, PooledEncoder
from hygen_lightning.models.trajectory_encoder import TemporalKind, TrajectoryEncoder
from hygen_lightning.specs import EntityLayout, EntityWidths

HiddenState = tuple[Tensor, Tensor]
"""Hidden states of observation encoder and action decoder, [B, A, D] each."""
SkillChoice = Callable[[Tensor, Tensor], Tensor]
"""(values of skills, logits of the local prediction) [B, A, Z] each -> skills [B, A] int64."""


def greedy(q: Tensor, local_logits: Tensor) -> Tensor:
    """The `SkillChoice` of the highest value, whatever is predicted."""
    return q.argmax(dim=-1)


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
    transformer blocks. id_bits: of the binary agent number (2**id_bits - 1 agents at most). With agent
    pooled, observation encoder and decoder are the networks of `pooled`, which have none of these three.
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
        skill_input: SkillInput = "bias",
        agent: AgentKind = "transformer",
    ) -> None:
        super().__init__()
        self.n_skills = n_skills
        self.trajectory_encoder = TrajectoryEncoder(widths, width, n_heads, trajectory_encoder)
        self.skill_head = nn.Linear(width, n_skills)
        pooled = agent == "pooled"
        self.observation_encoder = (
            PooledEncoder(widths, width)
            if pooled
            else ObservationEncoder(widths, width, n_heads, depth, id_bits)
        )
        self.q_head = nn.Linear(width, n_skills)
        self.action_decoder = (
            PooledActor(widths, width, n_skills=n_skills, skill_input=skill_input)
            if pooled
            else ActionDecoder(widths, n_skills, width, n_heads, depth, id_bits, skill_input=skill_input)
        )
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

    def predict_skills(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """The prediction of `observe` alone [B, T, A, Z]; no gradient reaches the shared skill head."""
        own = self.observation_encoder(layout, obs, last_actions, filled)
        return nn.functional.linear(own, self.skill_head.weight.detach(), self.skill_head.bias.detach())

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
        hidden = self.observation_encoder.initial_hidden(num_envs, layout.n_allies)
        return hidden, torch.zeros_like(hidden)

    def act_step(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: HiddenState,
        avail_actions: Tensor | None = None,
        choose: SkillChoice = greedy,
    ) -> ActStep:
        """One step of B environments: each agent chooses its skill, from what it alone has seen.

        obs [B, A, obs_dim], last_actions [B, A] int64, avail_actions [B, A, K] bool or None: where
        given, the logits of other actions are not computed and have no meaning.
        """
        own, observe_hidden = self.observation_encoder.act(layout, obs, last_actions, hidden[0])
        q = self.q_head(own)
        skill = choose(q, self.skill_head(own))
        chosen = one_hot(skill, self.n_skills, obs.dtype)
        logits, decode_hidden = self.action_decoder.act(
            layout, obs, last_actions, hidden[1], chosen, avail_actions=avail_actions
        )
        return ActStep(q, skill, logits, (observe_hidden, decode_hidden))
