"""All that is done for speed only, behind one entry: `unroll`, `step` and `attend_states`.

They return the numbers that `agents` and `trajectory_encoder` define, within rounding, and their
gradients; `by_definition` switches them off, for the tests that hold the two together, for
`benchmark update --against plain` and for `export`.

folding  the matrices of a transformer block multiplied together beforehand
rows     only the recurrence step by step, all other outputs for all time steps at once
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hygen_lightning.models.fast.folding import Folds, attend_among_units, embedding_of, raw_units
from hygen_lightning.models.fast.rows import AgentRows, chunking
from hygen_lightning.models.layers import EntityOutputs, Packing, observation_features, state_features

if TYPE_CHECKING:
    from hygen_lightning.models.agents import EntityTransformer
    from hygen_lightning.models.layers import MultiHeadAttention, StateTokens
    from hygen_lightning.specs import EntityLayout

__all__ = ["Folds", "attend_states", "by_definition", "compile_blocks", "is_on", "step", "unroll"]

_by_definition = False


def is_on() -> bool:
    """Whether networks compute the fast way."""
    return not _by_definition


@contextmanager
def by_definition() -> Iterator[None]:
    """Within, networks compute as they are defined: each time step, token and projection by itself."""
    global _by_definition
    before, _by_definition = _by_definition, True
    try:
        yield
    finally:
        _by_definition = before


def compile_blocks(entities: EntityTransformer) -> None:
    """From here on the blocks run through `torch.compile`."""
    entities.folds.compiled = True
    if len(entities.transformer.blocks) > 1:
        for block in entities.transformer.blocks:
            block.compile(dynamic=True)


def step(
    entities: EntityTransformer,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    hidden: Tensor,
    enemy_vector: Tensor | None,
    extra_own: Tensor | None,
    asked: Tensor | None,
) -> tuple[EntityOutputs, Tensor]:
    """As `EntityTransformer.step`."""
    if len(entities.transformer.blocks) > 1:
        outputs, hidden = entities(layout, obs, last_actions, hidden, extra_own)
        return EntityOutputs.of(layout, outputs, enemy_vector), hidden
    rows = _agent_rows(entities, layout, obs, last_actions, extra_own)
    before, shape = hidden.flatten(0, 1), obs.shape[:2]
    read = rows.read(before, enemy_vector, None if asked is None else asked.flatten(0, 1))
    return read.map(lambda x: x.unflatten(0, shape)), rows.next_hidden(before).unflatten(0, shape)


def unroll(
    entities: EntityTransformer,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    filled: Tensor | None,
    enemy_vector: Tensor | None,
    extra_own: Tensor | None,
) -> EntityOutputs:
    """As `EntityTransformer.unroll`; zeros where not filled."""
    packing = Packing.of(filled, obs)
    obs, last_actions = packing.pack(obs), packing.pack(last_actions)
    extra_own = None if extra_own is None else packing.pack(extra_own)
    if len(entities.transformer.blocks) > 1:
        outputs = _every_token(entities, packing, layout, obs, last_actions, enemy_vector, extra_own)
    else:
        rows = _agent_rows(entities, layout, obs, last_actions, extra_own)
        before = rows.histories([n * layout.n_allies for n in packing.counts])
        outputs = rows.read(before, enemy_vector).map(lambda x: x.unflatten(0, obs.shape[:2]))
    return outputs.map(packing.unpack)


def _every_token(
    entities: EntityTransformer,
    packing: Packing,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    enemy_vector: Tensor | None,
    extra_own: Tensor | None,
) -> EntityOutputs:
    """Several blocks: obs [P, A, obs_dim] packed -> own [P, A, D], one time step after another."""
    hidden = entities.initial_hidden(packing.shape[0], layout.n_allies)
    parts, start = [], 0
    for count in packing.counts:
        here = slice(start, start + count)
        extra = None if extra_own is None else extra_own[here]
        outputs, hidden = entities(layout, obs[here], last_actions[here], hidden[:count], extra)
        parts.append(EntityOutputs.of(layout, outputs, enemy_vector))
        start += count
    return EntityOutputs.join(parts, torch.cat)


def _agent_rows(
    entities: EntityTransformer,
    layout: EntityLayout,
    obs: Tensor,
    last_actions: Tensor,
    extra_own: Tensor | None,
) -> AgentRows:
    """obs [P, A, obs_dim] -> the agent rows R = P * A."""
    tokens, transformer = entities.tokens, entities.transformer
    features = observation_features(layout, obs, last_actions, tokens.id_bits, extra_own)
    folded = entities.folds.of(transformer.blocks[0], tokens)  # type: ignore[arg-type]
    return AgentRows.of(folded, transformer.out, tokens, features)


def attend_states(
    tokens: StateTokens, attention: MultiHeadAttention, layout: EntityLayout, state: Tensor, actions: Tensor
) -> Tensor:
    """state [P, state_dim], actions [P, A] -> attention output at the allies [P, A, D]."""
    features = state_features(layout, state, actions)
    units = raw_units(features.allies, features.enemies)
    embedding = embedding_of(tokens.ally, tokens.enemy)
    parts = [
        attend_among_units(attention, embedding, part, layout.n_allies)
        for part in units.split(chunking(units).states)
    ]
    return torch.cat(parts)
