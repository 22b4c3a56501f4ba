"""A transformer over the tokens of an observation, made recurrent by a history token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hygen_lightning.models.agent_rows import AgentRows
from hygen_lightning.models.attention import Transformer, TransformerBlock
from hygen_lightning.models.folded import FoldedBlock, compiled_folded_block
from hygen_lightning.models.packing import Packing
from hygen_lightning.models.tokens import ObservationTokens, observation_features
from hygen_lightning.specs import EntityLayout, EntityWidths


@dataclass
class EntityOutputs:
    """What is read of the transformer's outputs.

    own [..., A, D]: at the own token. enemies [..., A, E]: at each enemy's token, times the
    vector that was asked for; None if none was.
    """

    own: Tensor
    enemies: Tensor | None


class EntityTransformer(nn.Module):
    """Own, enemy, ally and history tokens through a transformer; the output at the history token
    is the next hidden state (algorithm notes, section 2).

    With one block `step` and `unroll` take the fast path of `AgentRows`; with more, every token
    passes through every block.
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
        self._compiled = False
        self._kept: tuple[tuple[tuple[int, int], ...], FoldedBlock] | None = None

    def initial_hidden(self, *shape: int) -> Tensor:
        """Zeros [*shape, D] on the device and in the type of the parameters."""
        return self.transformer.out.weight.new_zeros(*shape, self.width)

    def compile_blocks(self) -> None:
        """From here on the blocks run through `torch.compile`; the first calls take a minute."""
        self._compiled = True
        if len(self.transformer.blocks) > 1:
            for block in self.transformer.blocks:
                block.compile(dynamic=True)

    def forward(
        self,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        hidden: Tensor,
        extra_own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One time step of every token, by definition.

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
        if len(self.transformer.blocks) > 1:
            entities, hidden = self(layout, obs, last_actions, hidden, extra_own)
            return _read(layout, entities, enemy_vector), hidden
        rows = self._rows(layout, obs, last_actions, extra_own)
        asked = None if asked is None else asked.flatten(0, 1)
        own, enemies, after = rows.step(hidden.flatten(0, 1), enemy_vector, asked)
        shape = obs.shape[:2]
        outputs = EntityOutputs(own.unflatten(0, shape), _unflatten(enemies, shape))
        return outputs, after.unflatten(0, shape)

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
        they are not read), extra_own [B, T, A, X] -> own [B, T, A, D], enemies [B, T, A, E];
        zeros where not filled.
        """
        packing = Packing.of(filled, obs)
        obs, last_actions = packing.pack(obs), packing.pack(last_actions)
        extra_own = None if extra_own is None else packing.pack(extra_own)
        if len(self.transformer.blocks) > 1:
            outputs = self._unroll_every_token(packing, layout, obs, last_actions, enemy_vector, extra_own)
        else:
            rows = self._rows(layout, obs, last_actions, extra_own)
            before = rows.histories([n * layout.n_allies for n in packing.counts])
            shape = (len(packing.index), layout.n_allies)
            if enemy_vector is None:
                outputs = EntityOutputs(rows.read_own(before).unflatten(0, shape), None)
            else:
                own, enemies = rows.read_enemies_too(before, enemy_vector)
                outputs = EntityOutputs(own.unflatten(0, shape), enemies.unflatten(0, shape))
        unpacked = None if outputs.enemies is None else packing.unpack(outputs.enemies)
        return EntityOutputs(packing.unpack(outputs.own), unpacked)

    def _unroll_every_token(
        self,
        packing: Packing,
        layout: EntityLayout,
        obs: Tensor,
        last_actions: Tensor,
        enemy_vector: Tensor | None,
        extra_own: Tensor | None,
    ) -> EntityOutputs:
        """Several blocks: obs [P, A, obs_dim] packed -> own [P, A, D], one step after another."""
        hidden = self.initial_hidden(packing.shape[0], layout.n_allies)
        parts, start = [], 0
        for count in packing.counts:
            here = slice(start, start + count)
            extra = None if extra_own is None else extra_own[here]
            entities, hidden = self(layout, obs[here], last_actions[here], hidden[:count], extra)
            parts.append(_read(layout, entities, enemy_vector))
            start += count
        own = torch.cat([part.own for part in parts])
        enemies = [part.enemies for part in parts if part.enemies is not None]
        return EntityOutputs(own, torch.cat(enemies) if enemies else None)

    def _rows(
        self, layout: EntityLayout, obs: Tensor, last_actions: Tensor, extra_own: Tensor | None
    ) -> AgentRows:
        """obs [P, A, obs_dim] -> the agent rows R = P * A."""
        features = observation_features(layout, obs, last_actions, self.tokens.id_bits, extra_own)
        return AgentRows.of(self._fold(), self.transformer.out, self.tokens, features)

    def _fold(self) -> FoldedBlock:
        """The one block, folded: anew where gradients are asked for or autocast is on, else once until
        a parameter changes (acting and the slow copies fold the same parameters again and again)."""
        block = self.transformer.blocks[0]
        assert isinstance(block, TransformerBlock)
        kind = compiled_folded_block() if self._compiled else FoldedBlock
        half = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
        if torch.is_grad_enabled() or half:
            return kind.of(block, self.tokens)
        versions = tuple((p.data_ptr(), p._version) for p in self.parameters())
        if self._kept is None or self._kept[0] != versions:
            self._kept = versions, kind.of(block, self.tokens)
        return self._kept[1]


def _read(layout: EntityLayout, entities: Tensor, enemy_vector: Tensor | None) -> EntityOutputs:
    """entities [..., E + A, D] -> what is read of them."""
    if enemy_vector is None:
        return EntityOutputs(entities[..., 0, :], None)
    return EntityOutputs(entities[..., 0, :], entities[..., 1 : 1 + layout.n_enemies, :] @ enemy_vector)


def _unflatten(x: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """x [R, ...] -> [*shape, ...]."""
    return None if x is None else x.unflatten(0, shape)
