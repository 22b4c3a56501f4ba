"""A small recurrent network over pooled entities, and a critic on the state: for online learners.

Every entity is embedded by itself, and the embeddings are pooled (largest and mean), so one network
plays any numbers of units; it costs a tenth of a transformer of the same width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from hygen_lightning.models import fast
from hygen_lightning.models.agents import SkillInput
from hygen_lightning.models.layers import Packing, observation_features, state_features, zero_unfilled
from hygen_lightning.specs import EntityLayout, EntityWidths

TEAM_SIZE = 10.0
"""Counts of units are divided by it."""


def _embedding(n_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def _present(entities: Tensor) -> Tensor:
    """entities [..., n, F] -> [..., n, 1]: 1.0 for those that are there; the absent are all zeros."""
    return (entities != 0).any(dim=-1, keepdim=True).to(entities.dtype)


def _pooled(embedded: Tensor, present: Tensor) -> list[Tensor]:
    """Largest and mean [..., D] over the entities [..., n, D] that are there, and their number [..., 1]."""
    if embedded.shape[-2] == 0:  # a team of one has no other allies
        nothing = embedded.new_zeros(*embedded.shape[:-2], embedded.shape[-1])
        return [nothing, nothing, nothing[..., :1]]
    count = present.sum(dim=-2)
    return [embedded.amax(dim=-2), embedded.sum(dim=-2) / count.clamp(min=1), count / TEAM_SIZE]


def _orthogonal(module: nn.Module) -> None:
    """Orthogonal weights with gain sqrt 2, zero biases (Andrychowicz et al. 2021, 3.2)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.orthogonal_(part.weight, math.sqrt(2))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _by_steps(
    act: Callable[..., tuple[Tensor, Tensor]], hidden: Tensor, filled: Tensor | None, *inputs: Tensor
) -> Tensor:
    """Whole episodes by definition: one step of all of them after another.

    act: (an input of this step each [B, ...], hidden) -> (output [B, ...], next hidden). inputs
    [B, T, ...] -> [B, T, ...], zeros where not filled [B, T].
    """
    outputs = []
    for now in zip(*(zero_unfilled(x, filled).unbind(1) for x in inputs)):
        output, hidden = act(*now, hidden)
        outputs.append(output)
    return zero_unfilled(torch.stack(outputs, dim=1), filled)


class PooledAgent(nn.Module):
    """What an agent has seen so far as an embedding [width] per time step; a GRU remembers.

    Steps that do not exist are not computed.

    `width` is that of the hidden state, `entity_width` that of an embedded entity, `extra_own` the number
    of further numbers about the agent itself that come with every call.
    """

    def __init__(
        self, widths: EntityWidths, width: int = 64, entity_width: int = 32, extra_own: int = 0
    ) -> None:
        super().__init__()
        self.width, self.has_targets = width, widths.has_targets
        self.enemy = _embedding(widths.enemy + int(widths.has_targets), entity_width)
        self.ally = _embedding(widths.ally, entity_width)
        own = widths.own + widths.compact_action + extra_own
        self.own = nn.Linear(own + 4 * entity_width + 2, width)
        self.own_norm, self.out_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.from_input, self.from_hidden = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        _orthogonal(self)
        for gates in (self.from_input, self.from_hidden):
            nn.init.orthogonal_(gates.weight)

    def initial_hidden(self, num_envs: int, n_agents: int) -> Tensor:
        """[B, A, width] zeros, on the device of the weights."""
        return self.own.weight.new_zeros(num_envs, n_agents, self.width)

    def step(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        extra_own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of B battles: obs [B, A, obs_dim], last_actions [B, A], hidden [B, A, width], extra_own
        [B, A, X] or None -> own, next hidden state [B, A, width] each, embedded enemies [B, A, E, D]."""
        x, enemies = self._encode(layout, obs, last_actions, extra_own)
        hidden = self._remember(self.from_input(x), hidden)
        return self.out_norm(hidden), hidden, enemies

    def unroll(
        self,
        layout: EntityLayout,
        packing: Packing,
        obs: Tensor,
        last_actions: Tensor,
        extra_own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Whole episodes, the P steps that exist: obs [P, A, obs_dim], last_actions [P, A], extra_own
        [P, A, X] or None, all packed -> own [P, A, width], embedded enemies [P, A, E, D]."""
        x, enemies = self._encode(layout, obs, last_actions, extra_own)
        hidden = x.new_zeros(packing.shape[0], layout.n_allies, self.width)
        states = []
        for of_step in self.from_input(x).split(packing.counts):
            hidden = self._remember(of_step, hidden[: len(of_step)])
            states.append(hidden)
        return self.out_norm(torch.cat(states)), enemies

    def unroll_chunk(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, hidden: Tensor, begins: Tensor
    ) -> tuple[Tensor, Tensor]:
        """T steps of B rows in which battles may begin.

        obs [B, T, A, obs_dim], last_actions [B, T, A], hidden [B, A, width] before the first step, begins
        [B, T] bool: a battle begins with this step, nothing is remembered ->
        own [B, T, A, width], embedded enemies [B, T, A, E, D].
        """
        x, enemies = self._encode(layout, obs, last_actions, None)
        gates, kept = self.from_input(x), (~begins).to(x.dtype)[..., None, None]
        states = []
        for of_step, keeps in zip(gates.unbind(1), kept.unbind(1)):  # a slice's gradient is a whole tensor
            hidden = self._remember(of_step, hidden * keeps)
            states.append(hidden)
        return self.out_norm(torch.stack(states, dim=1)), enemies

    def _encode(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, extra_own: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What an agent sees in one step [..., A, width], and its enemies, embedded [..., A, E, D]."""
        seen = observation_features(layout, obs, last_actions, id_bits=0, extra_own=extra_own)
        enemy, ally = _present(seen.enemies), _present(seen.allies)
        enemies = self.enemy(seen.enemies) * enemy
        pooled = [*_pooled(enemies, enemy), *_pooled(self.ally(seen.allies) * ally, ally)]
        assert seen.own is not None
        return functional.relu(self.own_norm(self.own(torch.cat([seen.own, *pooled], dim=-1)))), enemies

    def _remember(self, gates: Tensor, hidden: Tensor) -> Tensor:
        """A GRU cell. gates [..., 3 width]: `from_input` of what is seen."""
        reset, update, new = gates.chunk(3, dim=-1)
        reset_h, update_h, new_h = self.from_hidden(hidden).chunk(3, dim=-1)
        candidate = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
        return candidate + torch.sigmoid(update + update_h) * (hidden - candidate)


class PooledEncoder(PooledAgent):
    """The embedding alone: an observation encoder."""

    def forward(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, filled: Tensor | None = None
    ) -> Tensor:
        """Whole episodes: obs [B, T, A, obs_dim], last_actions [B, T, A], filled [B, T] bool: the steps that
        exist (None: all) -> [B, T, A, width], zeros where not filled."""
        if not fast.is_on():
            hidden = self.initial_hidden(len(obs), layout.n_allies)
            return _by_steps(partial(self.act, layout), hidden, filled, obs, last_actions)
        packing = Packing.of(filled, obs)
        own, _ = self.unroll(layout, packing, packing.pack(obs), packing.pack(last_actions))
        return packing.unpack(own)

    def act(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step: obs [B, A, obs_dim], hidden [B, A, width] -> (own, hidden) [B, A, width] each."""
        own, hidden, _ = self.step(layout, obs, last_actions, hidden)
        return own, hidden


class PooledActor(PooledAgent):
    """From an agent's observations, and its skill if it has one, to one logit (or value) per action.

    The logit of an attack is computed from the enemy's own embedding, so that any number of enemies
    can be aimed at. skill_input: a skill [..., n_skills] is read with the agent's own features (token),
    or shifts the logits, those of all attacks alike (bias).
    """

    def __init__(
        self,
        widths: EntityWidths,
        width: int = 64,
        entity_width: int = 32,
        n_skills: int = 0,
        skill_input: SkillInput = "bias",
    ) -> None:
        super().__init__(widths, width, entity_width, n_skills if skill_input == "token" else 0)
        self.skill_in_token = skill_input == "token"
        self.base = nn.Linear(width, widths.base_actions)
        self.aim = nn.Linear(width, entity_width)
        self.target = nn.Linear(entity_width, entity_width, bias=False)
        self.attack = nn.Linear(entity_width, 1)
        shifts = n_skills > 0 and not self.skill_in_token
        self.skill = nn.Linear(n_skills, widths.base_actions + 1) if shifts else None
        for part in (self.base, self.aim, self.target, self.attack):
            _orthogonal(part)
        for head in (self.base, self.attack):
            nn.init.orthogonal_(head.weight, 0.01)

    def forward(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        skill: Tensor | None = None,
        filled: Tensor | None = None,
        hidden: Tensor | None = None,
        begins: Tensor | None = None,
    ) -> Tensor:
        """obs [B, T, A, obs_dim], last_actions [B, T, A] -> [B, T, A, K].

        Of whole episodes, with skill [B, T, A, Z] (one-hot or relaxed) or None, and filled [B, T] bool: the
        steps that exist (None: all); zeros where not filled. Of a chunk, where hidden and begins are given
        (`unroll_chunk`); ValueError if only one of them is, or skill or filled with them.
        """
        if hidden is not None or begins is not None:
            if hidden is None or begins is None or skill is not None or filled is not None:
                raise ValueError("a chunk has hidden and begins, and neither skill nor filled")
            return self._logits(*self.unroll_chunk(layout, obs, last_actions, hidden, begins), None)
        if not fast.is_on():
            first, seen = self.initial_hidden(len(obs), layout.n_allies), (obs, last_actions)
            if skill is None:
                return _by_steps(partial(self.act, layout), first, filled, *seen)
            return _by_steps(
                lambda obs, last, given, hidden: self.act(layout, obs, last, hidden, given),
                first,
                filled,
                *seen,
                skill,
            )
        packing = Packing.of(filled, obs)
        obs, last_actions = packing.pack(obs), packing.pack(last_actions)
        skill = None if skill is None else packing.pack(skill)
        read = skill if self.skill_in_token else None
        own, enemies = self.unroll(layout, packing, obs, last_actions, read)
        return packing.unpack(self._logits(own, enemies, skill))

    def act(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        skill: Tensor | None = None,
        avail_actions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One step of B battles: obs [B, A, obs_dim], last_actions [B, A], hidden [B, A, width], skill
        [B, A, Z] or None -> logits [B, A, K], next hidden state. All actions get their logit, whether
        they are available or not: avail_actions, which spares `ActionDecoder` work, changes nothing."""
        read = skill if self.skill_in_token else None
        own, hidden, enemies = self.step(layout, obs, last_actions, hidden, read)
        return self._logits(own, enemies, skill), hidden

    def _logits(self, own: Tensor, enemies: Tensor, skill: Tensor | None) -> Tensor:
        logits: Tensor = self.base(own)
        if self.has_targets:
            aimed = functional.relu(self.aim(own).unsqueeze(-2) + self.target(enemies))
            logits = torch.cat([logits, self.attack(aimed)[..., 0]], dim=-1)
        if self.skill is None:
            return logits
        shift = self.skill(skill)
        attacks = shift[..., -1:].expand(*shift.shape[:-1], enemies.shape[-2] * int(self.has_targets))
        return logits + torch.cat([shift[..., :-1], attacks], dim=-1)


class PooledCritic(nn.Module):
    """The team's value of a state and of the time that has passed."""

    def __init__(self, widths: EntityWidths, width: int = 128, entity_width: int = 64) -> None:
        super().__init__()
        last = widths.compact_action if widths.state_has_last_actions else 0
        self.ally = _embedding(widths.state_ally + last, entity_width)
        self.enemy = _embedding(widths.state_enemy, entity_width)
        self.body = nn.Sequential(
            nn.Linear(4 * entity_width + 3, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.value = nn.Linear(width, 1)
        _orthogonal(self)

    def forward(self, layout: EntityLayout, state: Tensor, time: Tensor) -> Tensor:
        """state [..., state_dim], time [...] share (0..1) of the time limit that has passed -> [...]."""
        units = state_features(layout, state)
        allies_alone, enemies_alone, _ = layout.split_state(state)
        ally, enemy = _present(allies_alone), _present(enemies_alone)
        pooled = [
            *_pooled(self.ally(units.allies) * ally, ally),
            *_pooled(self.enemy(units.enemies) * enemy, enemy),
        ]
        value: Tensor = self.value(self.body(torch.cat([*pooled, time.unsqueeze(-1)], dim=-1)))
        return value[..., 0]
