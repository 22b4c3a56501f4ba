"""Small made-up battles of any size for the tests of the networks."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.models.hygen_network import HyGenNetwork
from hygen_lightning.specs import EntityLayout, Episodes, TaskSpec
from hygen_lightning.tasks import battle_task
from hygen_lightning.tasks.battles import smac_layout
from hygen_lightning.tasks.navigation import navigation_task

FAMILIES = {"marines": "3m", "stalkers": "2s3z", "navigation": "cn-2"}

EDGE_SIZES = [
    {"n_allies": 1, "n_enemies": 1, "n_episodes": 1, "n_steps": 1},
    {"n_allies": 1, "n_enemies": 3, "n_episodes": 2, "n_steps": 4},
    {"n_allies": 3, "n_enemies": 1, "n_episodes": 1, "n_steps": 5},
    {"n_allies": 4, "n_enemies": 5, "n_episodes": 3, "n_steps": 1},
    {"n_allies": 3, "n_enemies": 4, "n_episodes": 3, "n_steps": 6},
]


def make_layout(family: str, n_allies: int, n_enemies: int) -> EntityLayout:
    if family == "navigation":
        like = navigation_task("cn-2").layout
        return EntityLayout.of(
            n_allies,
            n_enemies,
            own=like.own_features,
            enemy=like.enemy_features,
            ally=like.ally_features,
            state_ally=like.state_ally_features,
            state_enemy=like.state_enemy_features,
            base_actions=like.base_actions,
            has_targets=False,
            obs_order=("own", "allies", "enemies"),
            state_order=("allies", "enemies"),
            place=like.place,
            place_unit=like.place_unit,
        )
    like = battle_task(FAMILIES[family])
    return smac_layout(n_allies, n_enemies, like.ally_race, like.enemy_race, len(like.ally_types))


def make_network(layout: EntityLayout, seed: int = 0, **sizes) -> HyGenNetwork:
    """A network of width 16 with 4 heads whose biases and norms are random too."""
    torch.manual_seed(seed)
    network = HyGenNetwork(layout.widths, **{"width": 16, "n_heads": 4, **sizes})
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


def make_episodes(
    layout: EntityLayout, n_episodes: int, n_steps: int, lengths: list[int] | None = None, seed: int = 0
) -> Episodes:
    """Random numbers in every field; `lengths` stored steps are filled (None: all).

    Battles have about half of their enemies out of the sight of each agent.
    """
    draw = torch.Generator().manual_seed(seed)
    shape = (n_episodes, n_steps)
    length = torch.tensor(lengths or [n_steps] * n_episodes)
    steps = torch.arange(n_steps)
    state = torch.randn(*shape, layout.state_dim, generator=draw)
    actions = torch.randint(layout.n_actions, (*shape, layout.n_allies), generator=draw)
    obs = torch.randn(*shape, layout.n_allies, layout.obs_dim, generator=draw)
    if layout.has_targets:
        seen = torch.rand(*shape, layout.n_allies, layout.n_enemies, generator=draw) < 0.5
        width = layout.widths.enemy
        obs[..., layout.enemies[0] :][..., : layout.n_enemies * width] *= seen.repeat_interleave(
            width, dim=-1
        )
    return Episodes(
        task=TaskSpec("made-up", n_steps, layout),
        obs=obs,
        state=state,
        actions=actions,
        avail_actions=torch.ones(*shape, layout.n_allies, layout.n_actions, dtype=torch.bool),
        reward=torch.randn(shape, generator=draw),
        terminated=steps == length[:, None] - 2,
        truncated=torch.zeros(shape, dtype=torch.bool),
        filled=steps < length[:, None],
    )


def poisoned(batch: Episodes) -> Episodes:
    """The same episodes with NaN wherever a float tensor is not filled."""

    def poison(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        filled = batch.filled.reshape(*batch.filled.shape, *[1] * (x.dim() - 2))
        return torch.where(filled, x, float("nan"))

    return batch.map(poison)
