"""The networks of HiSSD (Liu et al. 2025, github.com/mooricAnna/HiSSD).

    network = HiSSDNetwork(task.layout.widths)
    told = network(layout, obs, last_actions, filled)         # common and specific skills, action logits
    allies, enemies = network.predictor(told.plans, layout, told.packing)   # the next state as features
    values = network.value(layout, obs, last_actions, filled)               # [B, T, A]
    logits, hidden = network.act_step(layout, obs, last_actions, hidden)    # one step, acting

Shapes and `filled` are those of `agents`; P are the filled steps of a batch, as `Packing` orders them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.models.agents import ObservationEncoder
from hygen_lightning.models.layers import (
    ObservationTokens,
    Packing,
    SingleHeadAttention,
    Transformer,
    mlp,
    shares_of_queries,
    state_widths,
)
from hygen_lightning.models.mixers import MixerKind, make_mixer
from hygen_lightning.specs import EntityLayout, EntityWidths

HiddenState = tuple[Tensor, Tensor]
"""Hidden states of planner and decoder, [B, A, D] each."""


class HistoryTransformer(nn.Module):
    """A transformer over tokens and a history token, whose output is the next hidden state."""

    def __init__(self, width: int, n_heads: int, depth: int) -> None:
        super().__init__()
        self.transformer = Transformer(width, n_heads, depth)

    def step(self, tokens: Tensor, hidden: Tensor, n_read: int) -> tuple[Tensor, Tensor]:
        """tokens [B, A, N, D], hidden [B, A, D] -> (the first n_read outputs, next hidden [B, A, D])."""
        read = [*range(n_read), tokens.shape[2]]
        tokens = torch.cat([tokens, hidden.unsqueeze(-2)], dim=-2)
        outputs = self.transformer(tokens.flatten(0, 1), read).unflatten(0, tokens.shape[:2])
        return outputs[:, :, :-1], outputs[:, :, -1]

    def unroll(self, tokens: Tensor, packing: Packing, n_read: int) -> Tensor:
        """tokens [P, A, N, D] of all steps, from a hidden state of zeros -> [P, A, n_read, D]."""
        hidden = tokens.new_zeros(packing.shape[0], tokens.shape[1], tokens.shape[-1])
        parts = []
        for now in tokens.split(list(packing.counts)):
            outputs, hidden = self.step(now, hidden[: len(now)], n_read)
            parts.append(outputs)
        return torch.cat(parts)


class Planner(nn.Module):
    """An agent's observations so far as one plan per entity, which the common skills are made of."""

    def __init__(self, widths: EntityWidths, width: int, n_heads: int, depth: int, id_bits: int) -> None:
        super().__init__()
        self.tokens = ObservationTokens(widths, width, id_bits)
        self.history = HistoryTransformer(width, n_heads, depth)
        self.own, self.enemy, self.ally = (mlp(width, 2 * width, width, squashed=True) for _ in range(3))

    def skills(self, plans: Tensor, n_enemies: int) -> Tensor:
        """Common skills of the plans, one per entity: [..., E + A, D] -> [..., E + A, D]."""
        own, enemies, allies = plans.split([1, n_enemies, plans.shape[-2] - n_enemies - 1], dim=-2)
        return torch.cat([self.own(own), self.enemy(enemies), self.ally(allies)], dim=-2)


class StatePredictor(nn.Module):
    """The next state from the plans of all agents together.

    What the agents plan of an enemy becomes one token, together with what was made of that enemy at the
    step before; these tokens and the agents' own plans attend to one another. Features are squashed
    to -1..1 (as published).
    """

    def __init__(self, widths: EntityWidths, width: int, key_width: int = 8) -> None:
        super().__init__()
        n_ally, n_enemy = state_widths(widths, with_actions=True)
        self.memory = nn.Parameter(torch.zeros(width))
        self.views = SingleHeadAttention(width, key_width)
        self.of_own = SingleHeadAttention(width, key_width)
        self.of_enemies = SingleHeadAttention(width, key_width)
        self.ally = mlp(width, 2 * width, n_ally, squashed=True)
        self.enemy = mlp(width, 2 * width, n_enemy, squashed=True)

    def forward(self, plans: Tensor, layout: EntityLayout, packing: Packing) -> tuple[Tensor, Tensor]:
        """plans [P, A, E + A, D] -> features [P, A, F_ally], [P, E, F_enemy] as `state_features` orders them,
        those of the state behind the step, with the actions of the step."""
        memory = self.memory.expand(packing.shape[0], layout.n_enemies, -1)
        parts = []
        for now in plans.split(list(packing.counts)):
            units = self._units(now, memory[: len(now)], layout.n_enemies)
            memory = units[:, layout.n_allies :]
            parts.append(units)
        allies, enemies = torch.cat(parts).split([layout.n_allies, layout.n_enemies], dim=1)
        return self.ally(allies), self.enemy(enemies)

    def _units(self, plans: Tensor, memory: Tensor, n_enemies: int) -> Tensor:
        """plans [B, A, E + A, D] of a step, memory [B, E, D] -> a token of each unit [B, A + E, D]."""
        own, views = plans[:, :, 0], plans[:, :, 1 : 1 + n_enemies].transpose(1, 2)
        views = torch.cat([memory.unsqueeze(-2), views], dim=-2)
        enemies = self.views(views)[..., 0, :]
        queries = torch.cat([self.of_own.query(own), self.of_enemies.query(enemies)], dim=-2)
        keys = torch.cat([self.of_own.key(own), self.of_enemies.key(enemies)], dim=-2)
        units = torch.cat([own, enemies], dim=-2)
        return shares_of_queries(queries, keys).transpose(-1, -2) @ units


class TaskEncoder(nn.Module):
    """What an agent observes at a step, without history, as its task-specific skill.

    `contrast` is the embedding by which agents of one task are told from those of others, `similarity`
    the bilinear form between two of them.
    """

    def __init__(self, widths: EntityWidths, width: int, n_heads: int, depth: int, id_bits: int) -> None:
        super().__init__()
        self.tokens = ObservationTokens(widths, width, id_bits)
        self.transformer = Transformer(width, n_heads, depth)
        self.skill = mlp(width, 2 * width, width, squashed=True)
        self.contrast = mlp(width, 2 * width, width)
        self.similarity = nn.Parameter(torch.rand(width, width))

    def forward(self, layout: EntityLayout, obs: Tensor, last_actions: Tensor) -> Tensor:
        """obs [P, A, obs_dim], last_actions [P, A] -> [P, A, D], which skill and contrast are made of."""
        tokens = self.tokens(layout, obs, last_actions)
        return self.transformer(tokens.flatten(0, 1), slice(1))[:, 0].unflatten(0, tokens.shape[:2])


class SkillDecoder(nn.Module):
    """Logits of the actions, from an agent's observations, the common skills and its task-specific skill.

    The common skills are further tokens; the specific skill joins each output just before the heads.
    """

    def __init__(self, widths: EntityWidths, width: int, n_heads: int, depth: int, id_bits: int) -> None:
        super().__init__()
        self.tokens = ObservationTokens(widths, width, id_bits)
        self.history = HistoryTransformer(width, n_heads, depth)
        self.base = mlp(2 * width, 2 * width, widths.base_actions)
        self.target = mlp(2 * width, 2 * width, 1) if widths.has_targets else None

    def logits(self, outputs: Tensor, specific: Tensor) -> Tensor:
        """outputs [..., 1 + E, D] at own token and enemies, specific [..., D] -> [..., K]."""
        outputs = torch.cat([outputs, specific.unsqueeze(-2).expand_as(outputs)], dim=-1)
        base = self.base(outputs[..., 0, :])
        if self.target is None:
            return base
        return torch.cat([base, self.target(outputs[..., 1:, :])[..., 0]], dim=-1)


class AgentValues(nn.Module):
    """What an agent expects of the team's return, by its observations so far."""

    def __init__(self, widths: EntityWidths, width: int, n_heads: int, depth: int, id_bits: int) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(widths, width, n_heads, depth, id_bits)
        self.head = mlp(width, 2 * width, 1)

    def forward(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """obs [B, T, A, obs_dim], last_actions [B, T, A], filled [B, T] or None -> [B, T, A]."""
        return self.head(self.encoder(layout, obs, last_actions, filled))[..., 0]


@dataclass
class Told:
    """What the acting networks say of the P filled steps of a batch.

    plans [P, A, E + A, D] in the order own, enemies, allies; own [P, A, D] by the task encoder;
    logits [B, T, A, K], zeros where not filled.
    """

    packing: Packing
    plans: Tensor
    own: Tensor
    logits: Tensor


class HiSSDNetwork(nn.Module):
    """Planner, state predictor, task encoder, action decoder, values and mixer."""

    def __init__(
        self,
        widths: EntityWidths,
        width: int = 64,
        n_heads: int = 1,
        depth: int = 1,
        id_bits: int = 4,
        mixer: MixerKind = "attention",
    ) -> None:
        super().__init__()
        sizes = widths, width, n_heads, depth, id_bits
        self.planner = Planner(*sizes)
        self.predictor = StatePredictor(widths, width)
        self.task_encoder = TaskEncoder(*sizes)
        self.decoder = SkillDecoder(*sizes)
        self.value = AgentValues(*sizes)
        self.mixer = make_mixer(mixer, widths, width)

    def forward(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> Told:
        """obs [B, T, A, obs_dim], last_actions [B, T, A], filled [B, T] or None."""
        packing, n_enemies = Packing.of(filled, obs), layout.n_enemies
        seen = layout, packing.pack(obs), packing.pack(last_actions)
        tokens = self.planner.tokens(*seen)
        plans = self.planner.history.unroll(tokens, packing, tokens.shape[-2])
        own = self.task_encoder(*seen)
        tokens = torch.cat([self.decoder.tokens(*seen), self.planner.skills(plans, n_enemies)], dim=-2)
        outputs = self.decoder.history.unroll(tokens, packing, 1 + n_enemies)
        logits = self.decoder.logits(outputs, self.task_encoder.skill(own))
        return Told(packing, plans, own, packing.unpack(logits))

    def initial_hidden(self, layout: EntityLayout, num_envs: int) -> HiddenState:
        """Hidden state before the first step: zeros [B, A, D], twice."""
        like = self.task_encoder.similarity
        hidden = like.new_zeros(num_envs, layout.n_allies, len(like))
        return hidden, torch.zeros_like(hidden)

    def act_step(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, hidden: HiddenState
    ) -> tuple[Tensor, HiddenState]:
        """One step: obs [B, A, obs_dim], last_actions [B, A] -> (logits [B, A, K], next hidden)."""
        seen, n_enemies = (layout, obs, last_actions), layout.n_enemies
        tokens = self.planner.tokens(*seen)
        plans, planned = self.planner.history.step(tokens, hidden[0], tokens.shape[-2])
        skills = self.planner.skills(plans, n_enemies)
        tokens = torch.cat([self.decoder.tokens(*seen), skills], dim=-2)
        outputs, decoded = self.decoder.history.step(tokens, hidden[1], 1 + n_enemies)
        specific = self.task_encoder.skill(self.task_encoder(*seen))
        return self.decoder.logits(outputs, specific), (planned, decoded)
