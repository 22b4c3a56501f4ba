"""From SMAC's flat vectors to one embedded token per entity.

Observation tokens of an agent, in this order (algorithm notes, section 1): own, E enemies,
A - 1 allies; the recurrent transformer appends its history token.  State tokens: A allies,
E enemies.  Each kind of entity has its own Linear to width D.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.specs import EntityLayout, EntityWidths, UserError


@dataclass
class EntityFeatures:
    """What is known of each entity, before embedding.

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
    """Features of what each agent observes.

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
    """Features of every unit in the state.

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
        n_compact = int(with_actions) + int(widths.state_has_last_actions)
        flag = int(with_actions and widths.has_targets)
        self.ally = nn.Linear(widths.state_ally + n_compact * widths.compact_action, width)
        self.enemy = nn.Linear(widths.state_enemy + flag, width)

    def forward(self, layout: EntityLayout, state: Tensor, actions: Tensor | None = None) -> Tensor:
        """state [..., state_dim], actions [..., A] or None -> tokens [..., A + E, D]."""
        features = state_features(layout, state, actions)
        return torch.cat([self.ally(features.allies), self.enemy(features.enemies)], dim=-2)
