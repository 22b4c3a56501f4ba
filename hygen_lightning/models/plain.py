"""The networks computed as the published code computes them: the oracle of the faster paths.

One time step after another, every token through every projection, one Linear call per enemy, one
pass of the mixer per set of values. The parameters are the network's own, so outputs and
gradients must equal those of `HyGenNetwork`; the tests and `benchmark update` hold them together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.models.hygen_network import HyGenNetwork
from hygen_lightning.models.observation_encoder import ObservationEncoder
from hygen_lightning.specs import EntityLayout


def skill_logits(
    network: HyGenNetwork,
    layout: EntityLayout,
    state: Tensor,
    actions: Tensor,
    filled: Tensor | None = None,
) -> Tensor:
    """As `HyGenNetwork.skill_logits`: state [B, T, ·], actions [B, T, A] -> [B, T, A, Z]."""
    encoder = network.trajectory_encoder
    state = _zero_unfilled(state, filled)
    attended = []
    for t in range(state.shape[1]):
        tokens = encoder.tokens(layout, state[:, t], actions[:, t])
        attended.append(encoder.attention(tokens)[:, : layout.n_allies])
    return network.skill_head(encoder.over_time(torch.stack(attended, dim=1), filled))


def observe(
    network: HyGenNetwork,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    filled: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `HyGenNetwork.observe`: skill values and skill predictions, [B, T, A, Z] each."""
    own = observe_own(network.observation_encoder, layout, obs, last_actions, filled)
    return network.q_head(own), network.skill_head(own)


def observe_own(
    encoder: ObservationEncoder,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    filled: Tensor | None = None,
) -> Tensor:
    """As `ObservationEncoder`: outputs at the own tokens [B, T, A, D]."""
    obs = _zero_unfilled(obs, filled)
    hidden = encoder.entities.initial_hidden(obs.shape[0], layout.n_allies)
    own = []
    for t in range(obs.shape[1]):
        outputs, hidden = encoder.entities(layout, obs[:, t], last_actions[:, t], hidden)
        own.append(outputs[:, :, 0])
    return torch.stack(own, dim=1)


def decode(
    network: HyGenNetwork,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    skill: Tensor,
    filled: Tensor | None = None,
) -> Tensor:
    """As `HyGenNetwork.decode`: skill [B, T, A, Z] -> action logits [B, T, A, K]."""
    obs = _zero_unfilled(obs, filled)
    entities = network.action_decoder.entities
    hidden = entities.initial_hidden(obs.shape[0], layout.n_allies)
    logits = []
    for t in range(obs.shape[1]):
        outputs, hidden = entities(layout, obs[:, t], last_actions[:, t], hidden)
        logits.append(action_logits(network, layout, outputs, skill[:, t]))
    return torch.stack(logits, dim=1)


def action_logits(network: HyGenNetwork, layout: EntityLayout, entities: Tensor, skill: Tensor) -> Tensor:
    """entities [..., E + A, D] (own first, enemies next), skill [..., Z] -> [..., K], entity by
    entity: the logit of an attack is the mean of the head's outputs at the enemy's token."""
    decoder = network.action_decoder
    assert decoder.skill is not None
    embedded = decoder.skill(skill)
    logits = [decoder.head(torch.cat([entities[..., 0, :], embedded], dim=-1))]
    for enemy in range(layout.n_enemies if decoder.has_targets else 0):
        joined = torch.cat([entities[..., 1 + enemy, :], embedded], dim=-1)
        logits.append(decoder.head(joined).mean(dim=-1, keepdim=True))
    return torch.cat(logits, dim=-1)


def _zero_unfilled(x: Tensor, filled: Tensor | None) -> Tensor:
    """x [B, T, ...] with zeros where not filled [B, T]."""
    if filled is None:
        return x
    return torch.where(filled.reshape(*filled.shape, *[1] * (x.dim() - 2)), x, 0)
