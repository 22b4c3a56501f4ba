"""What all networks are made of, by definition: entities as tokens, attention, transformer, packing.

Observation tokens of an agent, in this order: own, E enemies, A - 1 allies; the recurrent
transformer appends its history token. State tokens: A allies, E enemies. Each kind of entity has
its own Linear to width D (HyGen's published code).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from hygen_lightning.specs import EntityLayout, EntityWidths, UserError, zero_outside

# Entities


@dataclass
class EntityFeatures:
    """Features of each entity, before embedding.

    own [..., F_own], enemies [..., E, F_enemy], allies [..., A - 1, F_ally] for an observation;
    for a state `own` is None and allies are [..., A, F_ally].
    """

    own: Tensor | None
    enemies: Tensor
    allies: Tensor


def one_hot(index: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """index [...] int64 -> [..., n]; zeros where the index is outside 0..n-1."""
    return (index.unsqueeze(-1) == torch.arange(n, device=index.device)).to(dtype)


def compact_action(actions: Tensor, widths: EntityWidths, dtype: torch.dtype) -> Tensor:
    """actions [...] int64 (-1: none yet, all zeros) -> [..., widths.compact_action].

    One-hot of the base actions, then one flag "acted on a target" where actions have targets.
    """
    base = one_hot(actions, widths.base_actions, dtype)
    if not widths.has_targets:
        return base
    return torch.cat([base, (actions >= widths.base_actions).unsqueeze(-1).to(dtype)], dim=-1)


def targeted(actions: Tensor, layout: EntityLayout, dtype: torch.dtype) -> Tensor:
    """actions [...] int64 -> [..., E]: one-hot of the enemy acted on, zeros if none."""
    return one_hot(actions - layout.widths.base_actions, layout.n_enemies, dtype)


def agent_id_code(n_agents: int, bits: int, like: Tensor) -> Tensor:
    """[A, bits]: agent i is the number i + 1 in binary, most significant bit first."""
    if bits and n_agents > 2**bits - 1:
        raise UserError(
            f"{n_agents} agents do not fit the agent-id code of {bits} bits (at most {2**bits - 1}); "
            f"train with more of them (--model.id_bits), or with 0, which leaves numbers out"
        )
    numbers = torch.arange(1, n_agents + 1, device=like.device).unsqueeze(-1)
    places = torch.arange(bits - 1, -1, -1, device=like.device)
    return ((numbers >> places) & 1).to(like.dtype)


def observation_features(
    layout: EntityLayout, obs: Tensor, last_actions: Tensor, id_bits: int, extra_own: Tensor | None = None
) -> EntityFeatures:
    """Features of the entities that each agent observes.

    obs [..., A, obs_dim], last_actions [..., A] int64 (-1: none yet), extra_own [..., A, X] or
    None (further numbers about the agent itself, a return-to-go for instance).
    """
    widths = layout.widths
    own, enemies, allies = layout.split_obs(obs)
    code = agent_id_code(layout.n_allies, id_bits, obs).expand(*own.shape[:-1], id_bits)
    parts = [own, code, compact_action(last_actions, widths, obs.dtype)]
    if extra_own is not None:
        parts.append(extra_own)
    if widths.has_targets:
        attacked = targeted(last_actions, layout, obs.dtype).unsqueeze(-1)
        enemies = torch.cat([enemies, attacked], dim=-1)
    return EntityFeatures(torch.cat(parts, dim=-1), enemies, allies)


def state_features(layout: EntityLayout, state: Tensor, actions: Tensor | None = None) -> EntityFeatures:
    """Features of every entity in the state.

    state [..., state_dim], actions [..., A] int64 or None. With actions: allies carry their
    compact current action, enemies the flag "some ally acts on it now".
    """
    widths = layout.widths
    allies, enemies, last = layout.split_state(state)
    parts = [allies]
    if actions is not None:
        parts.append(compact_action(actions, widths, state.dtype))
        if widths.has_targets:
            attacked = targeted(actions, layout, state.dtype).amax(dim=-2).unsqueeze(-1)
            enemies = torch.cat([enemies, attacked], dim=-1)
    if last is not None:
        base, targets = last[..., : widths.base_actions], last[..., widths.base_actions :]
        parts.append(base)
        if widths.has_targets:
            parts.append(targets.sum(dim=-1, keepdim=True))
    return EntityFeatures(None, enemies, torch.cat(parts, dim=-1))


def state_widths(widths: EntityWidths, with_actions: bool) -> tuple[int, int]:
    """How many features `state_features` gives an ally and an enemy, with or without current actions."""
    n_compact = int(with_actions) + int(widths.state_has_last_actions)
    flag = int(with_actions and widths.has_targets)
    return widths.state_ally + n_compact * widths.compact_action, widths.state_enemy + flag


class ObservationTokens(nn.Module):
    """One Linear per kind of entity in an observation.

    `extra_own` is the number of further own features that `forward` will be given.
    """

    def __init__(self, widths: EntityWidths, width: int, id_bits: int = 4, extra_own: int = 0) -> None:
        super().__init__()
        self.id_bits = id_bits
        self.own = nn.Linear(widths.own + id_bits + widths.compact_action + extra_own, width)
        self.enemy = nn.Linear(widths.enemy + int(widths.has_targets), width)
        self.ally = nn.Linear(widths.ally, width)

    def forward(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, extra_own: Tensor | None = None
    ) -> Tensor:
        """obs [..., A, obs_dim], last_actions [..., A] -> tokens [..., A, E + A, D]."""
        features = observation_features(layout, obs, last_actions, self.id_bits, extra_own)
        own = self.own(features.own).unsqueeze(-2)
        return torch.cat([own, self.enemy(features.enemies), self.ally(features.allies)], dim=-2)


class StateTokens(nn.Module):
    """One Linear per kind of unit in the state, with or without the units' current actions."""

    def __init__(self, widths: EntityWidths, width: int, with_actions: bool) -> None:
        super().__init__()
        n_ally, n_enemy = state_widths(widths, with_actions)
        self.ally = nn.Linear(n_ally, width)
        self.enemy = nn.Linear(n_enemy, width)

    def forward(self, layout: EntityLayout, state: Tensor, actions: Tensor | None = None) -> Tensor:
        """state [..., state_dim], actions [..., A] or None -> tokens [..., A + E, D]."""
        features = state_features(layout, state, actions)
        return torch.cat([self.ally(features.allies), self.enemy(features.enemies)], dim=-2)


# Attention

Read = slice | list[int] | None
"""Places of the tokens whose outputs are wanted; None: all."""


class MultiHeadAttention(nn.Module):
    """Heads of full width D each: query, key and value are D -> H * D without bias, out H * D -> D.

    Scores are scaled by 1 / sqrt(D) (HyGen, `utils/transformer.py`).
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.width, self.n_heads = width, n_heads
        self.query = nn.Linear(width, n_heads * width, bias=False)
        self.key = nn.Linear(width, n_heads * width, bias=False)
        self.value = nn.Linear(width, n_heads * width, bias=False)
        self.out = nn.Linear(n_heads * width, width)

    def forward(self, tokens: Tensor, context: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """tokens [R, N, D] attend to context [R, M, D] (None: to one another) -> [R, N, D].

        valid [R, M] bool: context tokens that exist (None: all).
        """
        context = tokens if context is None else context
        queries = rearrange(self.query(tokens), "r n (h d) -> r h n d", h=self.n_heads)
        keys = rearrange(self.key(context), "r m (h d) -> r h d m", h=self.n_heads)
        values = rearrange(self.value(context), "r m (h d) -> r h m d", h=self.n_heads)
        scores = (queries / self.width**0.5) @ keys
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, None, :], torch.finfo(scores.dtype).min)
        attended = scores.softmax(dim=-1) @ values
        return self.out(rearrange(attended, "r h n d -> r n (h d)"))


class TransformerBlock(nn.Module):
    """x <- LN(x + attention(x)); x <- LN(x + FF(x)), FF = D -> 4D -> ReLU -> D."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, n_heads)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, valid: Tensor | None = None, read: Read = None) -> Tensor:
        """tokens [R, N, D], valid [R, N] bool or None -> [R, N, D], or only the N outputs in `read`."""
        asked = tokens if read is None else tokens[:, read]
        attended = self.norm1(asked + self.attention(asked, tokens, valid))
        return self.norm2(attended + self.ff(attended))


class Transformer(nn.Module):
    """`depth` blocks, then one Linear D -> D on every token."""

    def __init__(self, width: int, n_heads: int, depth: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([TransformerBlock(width, n_heads) for _ in range(depth)])
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, read: Read = None) -> Tensor:
        """tokens [R, N, D] -> [R, N, D], or only the N outputs in `read` (None: all)."""
        *before, last = self.blocks
        for block in before:
            tokens = block(tokens)
        return self.out(last(tokens, read=read))


@dataclass
class EntityOutputs:
    """The outputs of a transformer over entities that are used.

    own [..., A, D]: at the own token. enemies [..., A, E]: at each enemy's token, times a vector
    [D]; None where there is no vector.
    """

    own: Tensor
    enemies: Tensor | None

    @classmethod
    def of(cls, layout: EntityLayout, entities: Tensor, enemy_vector: Tensor | None) -> EntityOutputs:
        """entities [..., A, E + A, D] in the order own, enemies, allies; enemy_vector [D] or None."""
        own, enemies = entities[..., 0, :], entities[..., 1 : 1 + layout.n_enemies, :]
        return cls(own, None if enemy_vector is None else enemies @ enemy_vector)

    @classmethod
    def join(cls, parts: Sequence[EntityOutputs], how: Callable[[list[Tensor]], Tensor]) -> EntityOutputs:
        """One of several; `how` joins a list of tensors."""
        enemies = [part.enemies for part in parts if part.enemies is not None]
        return cls(how([part.own for part in parts]), how(enemies) if enemies else None)

    def map(self, function: Callable[[Tensor], Tensor]) -> EntityOutputs:
        """A copy with `function` applied to each tensor."""
        return EntityOutputs(function(self.own), None if self.enemies is None else function(self.enemies))


class SingleHeadAttention(nn.Module):
    """Narrow attention whose weights are normalised over the QUERY axis (ODIS, HyGen's mixer).

    Token j becomes sum_i x_i * softmax_i(query(x_i) . key(x_j) / sqrt(key width)); values are the
    tokens themselves.
    """

    def __init__(self, width: int, key_width: int = 8) -> None:
        super().__init__()
        self.query = nn.Linear(width, key_width)
        self.key = nn.Linear(width, key_width)

    def weights(self, tokens: Tensor) -> Tensor:
        """tokens [..., N, D] -> [..., N (queries i), N (keys j)]; sums to 1 over i."""
        return shares_of_queries(self.query(tokens), self.key(tokens))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [..., N, D] -> [..., N, D]."""
        return self.weights(tokens).transpose(-1, -2) @ tokens


def shares_of_queries(queries: Tensor, keys: Tensor) -> Tensor:
    """queries, keys [..., N, d] -> weights [..., N (queries), N (keys)]; sums to 1 over the queries."""
    return (queries / queries.shape[-1] ** 0.5 @ keys.transpose(-1, -2)).softmax(dim=-2)


def mlp(n_in: int, n_hidden: int, n_out: int, squashed: bool = False) -> nn.Sequential:
    """Linear, ReLU, Linear; squashed: then LayerNorm and tanh."""
    layers = [nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out)]
    return nn.Sequential(*layers, *([nn.LayerNorm(n_out), nn.Tanh()] if squashed else []))


# Episodes of different lengths


@dataclass(frozen=True)
class Packing:
    """P filled steps of B episodes, time-major, the longest episode first.

    So the episodes that go on at a time step are the first rows of those of the step before, and a
    recurrence only has to cut its rows.

    index [P] int64: place of each packed step in the flattened [B * T]. counts: episodes at each
    time step, positive and never rising. shape: (B, T).
    """

    index: Tensor
    counts: tuple[int, ...]
    shape: tuple[int, int]

    @classmethod
    def of(cls, filled: Tensor | None, like: Tensor) -> Packing:
        """filled [B, T] bool, a prefix of each episode; None: all steps of `like` [B, T, ...]."""
        n_episodes, n_steps = like.shape[:2]
        steps = torch.arange(n_steps, device=like.device)
        episodes = torch.arange(n_episodes, device=like.device)
        if filled is None:
            counts = (n_episodes,) * n_steps
            return cls((steps[:, None] + n_steps * episodes).flatten(), counts, (n_episodes, n_steps))
        lengths, order = filled.sum(dim=1).sort(descending=True, stable=True)
        alive = steps[:, None] < lengths
        index = (steps[:, None] + n_steps * order)[alive]
        counts = tuple(n for n in alive.sum(dim=1).tolist() if n)
        return cls(index, counts, (n_episodes, n_steps))

    def pack(self, x: Tensor) -> Tensor:
        """x [B, T, ...] -> [P, ...]."""
        return x.flatten(0, 1).index_select(0, self.index)

    def unpack(self, x: Tensor) -> Tensor:
        """x [P, ...] -> [B, T, ...], zeros where not filled."""
        n_episodes, n_steps = self.shape
        flat = x.new_zeros(n_episodes * n_steps, *x.shape[1:])
        return flat.index_copy(0, self.index, x).unflatten(0, self.shape)


def zero_unfilled(x: Tensor, filled: Tensor | None) -> Tensor:
    """`zero_outside`, where filled [B, T] may be None: all are."""
    return x if filled is None else zero_outside(x, filled)
