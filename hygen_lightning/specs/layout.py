"""The slice table of a task: where each entity's numbers lie in its flat vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]
"""Start and end of a slice of a flat vector."""
Piece = str | tuple[str, int, int]
"""What lies next in a flat vector: a part's name, or (name, start, end) for some of its features."""


@dataclass(frozen=True)
class EntityWidths:
    """Widths of the entity features that a network is built for; equal for all tasks of a family.

    own: the observing agent itself (without id and last action). enemy, ally: one observed enemy
    or ally. state_ally, state_enemy: one entity in the state. base_actions: actions without a
    target. has_targets: whether each enemy is also an action. state_has_last_actions: whether
    the state holds the last actions of all allies.
    """

    own: int
    enemy: int
    ally: int
    state_ally: int
    state_enemy: int
    base_actions: int
    has_targets: bool = True
    state_has_last_actions: bool = True

    @property
    def compact_action(self) -> int:
        """Width of a compact action: base actions, plus one flag for "acted on a target"."""
        return self.base_actions + int(self.has_targets)


@dataclass(frozen=True)
class EntityLayout:
    """The slice table of a task: where each entity's numbers lie in its flat vectors, and their names.

    The only place that knows an offset. An environment hands it over with its task; `of` computes
    it from the features and the order in which they stand.

    own, enemies, allies: in an observation [obs_dim]; own may lie in several pieces.
    state_allies, state_enemies, state_last_actions: in a state [state_dim]; the last actions of
    all allies, one-hot, are None where the state does not hold them.
    place: features of own, enemies and allies that say where they are. Where an observation holds places
    alone, `split_obs` adds what they are to one another. () as in SMAC, which shows distances.
    place_unit: places that are so far apart differ by 1 there.
    """

    n_allies: int
    n_enemies: int
    own_features: tuple[str, ...]
    enemy_features: tuple[str, ...]
    ally_features: tuple[str, ...]
    state_ally_features: tuple[str, ...]
    state_enemy_features: tuple[str, ...]
    base_actions: tuple[str, ...]
    has_targets: bool
    own: tuple[Span, ...]
    enemies: Span
    allies: Span
    obs_dim: int
    state_allies: Span
    state_enemies: Span
    state_last_actions: Span | None
    state_dim: int
    place: tuple[str, ...] = ()
    place_unit: float = 1.0

    @classmethod
    def of(
        cls,
        n_allies: int,
        n_enemies: int,
        *,
        own: Sequence[str],
        enemy: Sequence[str],
        ally: Sequence[str],
        state_ally: Sequence[str],
        state_enemy: Sequence[str],
        base_actions: Sequence[str],
        has_targets: bool,
        obs_order: Sequence[Piece] = ("own", "enemies", "allies"),
        state_order: Sequence[str] = ("allies", "enemies", "last_actions"),
        place: Sequence[str] = (),
        place_unit: float = 1.0,
    ) -> EntityLayout:
        """The layout of vectors whose parts stand in this order.

        own, enemy, ally, state_ally, state_enemy: names of the features of one entity.
        base_actions: names of the actions without a target. obs_order: "own", "enemies" and
        "allies" (of one agent, the A - 1 others), or pieces of own as ("own", first, end).
        state_order: "allies", "enemies" and, where the state holds them, "last_actions".
        place, place_unit: as in the class.
        """
        n_actions = len(base_actions) + (n_enemies if has_targets else 0)
        sizes = {"enemies": n_enemies * len(enemy), "allies": (n_allies - 1) * len(ally), "own": len(own)}
        obs, obs_dim = _spans(obs_order, sizes)
        state_sizes = {
            "allies": n_allies * len(state_ally),
            "enemies": n_enemies * len(state_enemy),
            "last_actions": n_allies * n_actions,
        }
        state, state_dim = _spans(state_order, state_sizes)
        return cls(
            n_allies=n_allies,
            n_enemies=n_enemies,
            own_features=tuple(own),
            enemy_features=tuple(enemy),
            ally_features=tuple(ally),
            state_ally_features=tuple(state_ally),
            state_enemy_features=tuple(state_enemy),
            base_actions=tuple(base_actions),
            has_targets=has_targets,
            own=tuple(obs["own"]),
            enemies=obs["enemies"][0],
            allies=obs["allies"][0],
            obs_dim=obs_dim,
            state_allies=state["allies"][0],
            state_enemies=state["enemies"][0],
            state_last_actions=state["last_actions"][0] if "last_actions" in state else None,
            state_dim=state_dim,
            place=tuple(place),
            place_unit=place_unit,
        )

    @property
    def widths(self) -> EntityWidths:
        """What a network for this task and all others of its family is built from."""
        return EntityWidths(
            own=len(self.own_features),
            enemy=len(self.enemy_features) + 2 * len(self.place),
            ally=len(self.ally_features) + 2 * len(self.place),
            state_ally=len(self.state_ally_features),
            state_enemy=len(self.state_enemy_features),
            base_actions=len(self.base_actions),
            has_targets=self.has_targets,
            state_has_last_actions=self.state_last_actions is not None,
        )

    @property
    def n_actions(self) -> int:
        """K: base actions and, where actions have targets, one per enemy."""
        return len(self.base_actions) + (self.n_enemies if self.has_targets else 0)

    def split_obs(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """obs [..., obs_dim] -> own [..., own], enemies [..., E, enemy], allies [..., A-1, ally].

        Widths are those of `widths`: where there is a `place`, enemies and allies carry two ways besides:
        to them from the agent, and to an enemy from the nearest ally, to an ally from the nearest enemy.
        """
        import torch

        pieces = [obs[..., start:end] for start, end in self.own]
        own = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)
        enemies = obs[..., slice(*self.enemies)].unflatten(-1, (self.n_enemies, len(self.enemy_features)))
        allies = obs[..., slice(*self.allies)].unflatten(-1, (self.n_allies - 1, len(self.ally_features)))
        if not self.place:
            return own, enemies, allies
        names = self.own_features, self.enemy_features, self.ally_features
        columns = ([of.index(name) for name in self.place] for of in names)
        here, there, beside = (x[..., at] / self.place_unit for x, at in zip((own, enemies, allies), columns))
        here, apart = here.unsqueeze(-2), there.unsqueeze(-2) - beside.unsqueeze(-3)  # [..., E, A-1, P]
        enemies = torch.cat([enemies, there - here, _shortest(apart)], dim=-1)
        return own, enemies, torch.cat([allies, beside - here, _shortest(-apart.transpose(-2, -3))], dim=-1)

    def split_state(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """state [..., state_dim] -> allies [..., A, ·], enemies [..., E, ·], last actions [..., A, K].

        The last actions are None where the state does not hold them. All share the state's memory.
        """
        widths = len(self.state_ally_features), len(self.state_enemy_features)
        allies = state[..., slice(*self.state_allies)].unflatten(-1, (self.n_allies, widths[0]))
        enemies = state[..., slice(*self.state_enemies)].unflatten(-1, (self.n_enemies, widths[1]))
        if self.state_last_actions is None:
            return allies, enemies, None
        last = state[..., slice(*self.state_last_actions)]
        return allies, enemies, last.unflatten(-1, (self.n_allies, self.n_actions))

    def obs_feature_names(self, enemy: str = "enemy") -> list[str]:
        """One name per number of an observation, obs_dim in all. enemy: what enemies are called."""
        names = [""] * self.obs_dim
        own = iter(self.own_features)
        for start, end in self.own:
            names[start:end] = [f"own.{next(own)}" for _ in range(start, end)]
        names[slice(*self.enemies)] = _numbered(enemy, range(self.n_enemies), self.enemy_features)
        names[slice(*self.allies)] = _numbered("ally", range(1, self.n_allies), self.ally_features)
        return names

    def state_feature_names(self, enemy: str = "enemy") -> list[str]:
        """One name per number of a state, state_dim in all. enemy: what enemies are called."""
        names = [""] * self.state_dim
        allies = range(self.n_allies)
        names[slice(*self.state_allies)] = _numbered("ally", allies, self.state_ally_features)
        names[slice(*self.state_enemies)] = _numbered(enemy, range(self.n_enemies), self.state_enemy_features)
        if self.state_last_actions is not None:
            last = [f"last_action{k}" for k in range(self.n_actions)]
            names[slice(*self.state_last_actions)] = _numbered("ally", allies, last)
        return names

    def action_names(self, enemy: str = "enemy") -> list[str]:
        """One name per action, K in all. enemy: what enemies are called."""
        targets = [f"{enemy}{k}" for k in range(self.n_actions - len(self.base_actions))]
        return [*self.base_actions, *targets]


def _shortest(ways: Tensor) -> Tensor:
    """ways [..., N, M, P] -> the shortest of each N [..., N, P], zeros where there is none."""
    if ways.shape[-2] == 0:
        return ways.sum(dim=-2)
    nearest = ways.square().sum(dim=-1, keepdim=True).argmin(dim=-2, keepdim=True)
    return ways.take_along_dim(nearest, dim=-2).squeeze(-2)


def _spans(order: Sequence[Piece], sizes: dict[str, int]) -> tuple[dict[str, list[Span]], int]:
    """Spans of the parts of a vector that follow each other in this order, and the vector's length."""
    spans: dict[str, list[Span]] = {}
    start = 0
    for piece in order:
        name, first, end = piece if isinstance(piece, tuple) else (piece, 0, sizes[piece])
        spans.setdefault(name, []).append((start, start + end - first))
        start += end - first
    return spans, start


def _numbered(entity: str, numbers: range, features: Sequence[str]) -> list[str]:
    return [f"{entity}{i}.{feature}" for i in numbers for feature in features]
