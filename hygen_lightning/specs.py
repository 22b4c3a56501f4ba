"""The shared vocabulary: shape letters, tasks, layouts of flat vectors, batches of episodes.

Shape letters, used in every docstring of the package:

    B  episodes (or environments)            K  actions of a task (base actions + E targets)
    T  stored time steps, the last one       Z  skills
       has an observation but no reward      D  embedding width
    A  allies (agents)                       R  agent rows (B x A)
    E  enemies (or landmarks)

This module imports torch for type checking only: reading a task table costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]
"""Start and end of a slice of a flat vector."""
Piece = str | tuple[str, int, int]
"""A part of a flat vector by name, or (name, first feature, end) where it lies in several pieces."""


class UserError(Exception):
    """Bad input from a user: one line that says what, where and what to do. Exit code 2."""


class RunError(Exception):
    """A run that cannot go on: one line that says why, where and what to do. Exit code 1."""


# Tasks


@dataclass(frozen=True)
class EntityWidths:
    """Widths of the entity features that a network is built for; equal for all tasks of a family.

    own: the observing agent itself (without id and last action).  enemy, ally: one observed enemy
    or ally.  state_ally, state_enemy: one unit in the state.  base_actions: actions that have no
    target.  has_targets: whether each enemy is also an action.  state_has_last_actions: whether
    the state ends with the last actions of all allies.
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
    ) -> EntityLayout:
        """The layout of vectors whose parts stand in this order.

        own, enemy, ally, state_ally, state_enemy: names of the features of one entity.
        base_actions: names of the actions without a target. obs_order: "own", "enemies" and
        "allies" (of one agent, the A - 1 others), or pieces of own as ("own", first, end).
        state_order: "allies", "enemies" and, where the state holds them, "last_actions".
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
        )

    @property
    def widths(self) -> EntityWidths:
        """What a network for this task and all others of its family is built from."""
        return EntityWidths(
            own=len(self.own_features),
            enemy=len(self.enemy_features),
            ally=len(self.ally_features),
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
        """obs [..., obs_dim] -> own [..., own], enemies [..., E, enemy], allies [..., A-1, ally]."""
        import torch

        pieces = [obs[..., start:end] for start, end in self.own]
        return (
            pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1),
            obs[..., slice(*self.enemies)].unflatten(-1, (self.n_enemies, len(self.enemy_features))),
            obs[..., slice(*self.allies)].unflatten(-1, (self.n_allies - 1, len(self.ally_features))),
        )

    def split_state(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """state [..., state_dim] -> allies [..., A, ·], enemies [..., E, ·], last actions [..., A, K].

        The last actions are None where the state does not hold them. All are views of the state.
        """
        last = None
        if self.state_last_actions is not None:
            last = state[..., slice(*self.state_last_actions)].unflatten(-1, (self.n_allies, self.n_actions))
        return (
            state[..., slice(*self.state_allies)].unflatten(
                -1, (self.n_allies, len(self.state_ally_features))
            ),
            state[..., slice(*self.state_enemies)].unflatten(
                -1, (self.n_enemies, len(self.state_enemy_features))
            ),
            last,
        )

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


def _spans(order: Sequence[Piece], sizes: dict[str, int]) -> tuple[dict[str, list[Span]], int]:
    """Where the parts of a vector lie that stand in this order, by name, and how long it is."""
    spans: dict[str, list[Span]] = {}
    start = 0
    for piece in order:
        name, first, end = piece if isinstance(piece, tuple) else (piece, 0, sizes[piece])
        spans.setdefault(name, []).append((start, start + end - first))
        start += end - first
    return spans, start


def _numbered(entity: str, numbers: range, features: Sequence[str]) -> list[str]:
    return [f"{entity}{i}.{feature}" for i in numbers for feature in features]


@dataclass
class Side:
    """The entities of one side, for pictures and scripted policies. N is A or E.

    position [..., N, 2] (a dead unit lies anywhere). health, shield [..., N] in 0..1 of the maximum.
    alive [..., N] bool. cooldown [..., N]: weapon cooldown as a share of the longest one (energy
    for a Medivac), zeros where it is not told.
    """

    position: Tensor
    health: Tensor
    shield: Tensor
    alive: Tensor
    cooldown: Tensor

    @classmethod
    def always_alive(cls, position: Tensor) -> Side:
        """Entities at position [..., N, 2] that cannot be hurt."""
        ones = position.new_ones(position.shape[:-1])
        return cls(position, ones, ones * 0, ones > 0, ones * 0)


@dataclass(frozen=True)
class Look:
    """What a picture of a task shows beside its sides; the defaults suit a task without unit types.

    ally_units, enemy_units: a type per unit, which gives it a shape and a size. healers: allies (by
    index) whose targets are allies. ground: rows of cells one unit wide, row 0 at y in [0, 1): "0"
    closed, "1" low, "2" high, "r" a ramp. Without ground, positions are scaled to the picture.
    """

    ally_units: tuple[str, ...] = ()
    enemy_units: tuple[str, ...] = ()
    healers: frozenset[int] = frozenset()
    ground: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSpec:
    """One task: its entities, where their numbers lie, and how long an episode lasts.

    An environment hands out the specs of its tasks. What an outcome means belongs to the
    environment too, so its tasks may derive from this class and say what counts as success.
    """

    name: str
    episode_limit_env_steps: int
    layout: EntityLayout

    enemy_name: ClassVar[str] = "enemy"
    """What users call the entities on the other side."""

    @property
    def n_allies(self) -> int:
        return self.layout.n_allies

    @property
    def n_enemies(self) -> int:
        return self.layout.n_enemies

    def success(self, episodes: Episodes) -> Tensor | None:
        """[B] bool: which recorded episodes reached the goal; None where recordings do not tell."""
        return None

    def timed_out(self, episodes: Episodes) -> Tensor:
        """[B] bool: which recorded episodes only the time limit ended."""
        return episodes.length == self.episode_limit_env_steps + 1

    def outcomes(self, episodes: Episodes) -> dict[str, Tensor]:
        """Each way that recorded episodes can end, by name -> [B] bool; every episode ended in one."""
        timed_out, success = episodes.truncated.any(dim=1), self.success(episodes)
        if success is None:
            return {"ended": ~timed_out, "timed out": timed_out}
        return {"success": success, "timed out": timed_out, "broken off": ~success & ~timed_out}

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        """state [..., state_dim] -> (allies, enemies); UserError where the state tells no places."""
        raise UserError(f"{self.name}: its environment does not say where its units stand")

    def look(self) -> Look:
        """How pictures draw the entities that `sides` places."""
        return Look()

    def survivors(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """state [..., state_dim] -> allies and enemies in play, each [...] int64; all of them here."""
        import torch

        shape = state.shape[:-1]
        counts = self.n_allies, self.n_enemies
        allies, enemies = (torch.full(shape, n, dtype=torch.int64, device=state.device) for n in counts)
        return allies, enemies


# Tensors


Struct = TypeVar("Struct", bound="TensorStruct")


class TensorStruct:
    """A dataclass of tensors with a common leading dimension; other fields stay as they are."""

    def map(self: Struct, function: Callable[[Tensor], Tensor]) -> Struct:
        """A copy with `function` applied to every tensor."""
        import torch

        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        changed = {name: function(x) for name, x in values.items() if isinstance(x, torch.Tensor)}
        return replace(self, **changed)  # type: ignore[type-var]

    def __getitem__(self: Struct, rows: Any) -> Struct:
        """The rows (a slice, an index or a bool tensor) of every tensor."""
        return self.map(lambda x: x[rows])

    def to(self: Struct, device: Any) -> Struct:
        """On this device; what comes back to the CPU is all there when this returns."""
        return self.map(lambda x: x.to(device, non_blocking=str(device) != "cpu"))


@dataclass
class Observation(TensorStruct):
    """What B environments show between two steps.

    obs [B, A, obs_dim] float32, state [B, state_dim] float32, avail_actions [B, A, K] bool.
    """

    obs: Tensor
    state: Tensor
    avail_actions: Tensor


@dataclass
class TimeStep:
    """What one step of B environments brought; zeros and False for those that were over before.

    observation: after the step. reward [B] float32. terminated [B] bool: this step ended the
    episode, time-outs included. truncated [B] bool: only the time limit ended it. success [B] bool.
    """

    observation: Observation
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    success: Tensor


@dataclass
class Episodes(TensorStruct):
    """A batch of episodes of one task, padded at the end to the longest one.

    obs [B, T, A, obs_dim] float, state [B, T, state_dim] float, actions [B, T, A] int64,
    avail_actions [B, T, A, K] bool, reward [B, T] float, terminated [B, T] bool (the step that
    ended the episode, time-outs included), truncated [B, T] bool (of those, the ones that only
    the time limit ended), filled [B, T] bool. The last filled step of an episode holds the final
    observation; it has no reward."""

    task: TaskSpec
    obs: Tensor
    state: Tensor
    actions: Tensor
    avail_actions: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    filled: Tensor

    def __len__(self) -> int:
        return self.obs.shape[0]

    @property
    def n_steps(self) -> int:
        """T, stored time steps including the final one."""
        return self.obs.shape[1]

    @property
    def mask(self) -> Tensor:
        """[B, T] bool: filled and not after the step that ended the episode."""
        mask = self.filled.clone()
        mask[:, 1:] &= ~self.terminated[:, :-1]
        return mask

    @property
    def length(self) -> Tensor:
        """[B] int64: filled time steps, the final one included."""
        return self.filled.sum(dim=1)

    @property
    def last_actions(self) -> Tensor:
        """[B, T, A] int64: action of the step before; -1 at the first step (nothing done yet)."""
        import torch

        return torch.nn.functional.pad(self.actions[:, :-1], (0, 0, 1, 0), value=-1)

    @property
    def last_reward(self) -> Tensor:
        """[B, T] float: reward of the step before; 0 at the first step."""
        import torch

        return torch.nn.functional.pad(self.reward[:, :-1], (1, 0))

    @property
    def final_state(self) -> Tensor:
        """[B, state_dim]: the state at the last filled step."""
        import torch

        return self.state[torch.arange(len(self), device=self.state.device), self.length - 1]

    def trimmed(self) -> Episodes:
        """The same episodes without the steps that none of them fills; at least two steps."""
        longest = max(int(self.length.max()), 2)
        return self.map(lambda x: x[:, :longest])

    @classmethod
    def cat(cls, parts: Sequence[Episodes]) -> Episodes:
        """One batch of several of the same task; shorter ones are padded with zeros."""
        import torch

        if len({p.task.name for p in parts}) != 1:
            raise ValueError(f"episodes of one task expected, got {sorted({p.task.name for p in parts})}")
        longest = max(p.n_steps for p in parts)
        joined = {
            name: torch.cat([_padded(getattr(p, name), longest) for p in parts]) for name in EPISODE_TENSORS
        }
        return cls(task=parts[0].task, **joined)


EPISODE_TENSORS = tuple(f.name for f in fields(Episodes) if f.name != "task")
"""Names of the tensors of `Episodes`."""


def _padded(x: Tensor, n_steps: int) -> Tensor:
    """x [B, T, ...] with zeros appended along time up to n_steps."""
    missing = n_steps - x.shape[1]
    if missing == 0:
        return x
    import torch

    return torch.cat([x, x.new_zeros((x.shape[0], missing, *x.shape[2:]))], dim=1)


@dataclass(frozen=True)
class DataStatistics:
    """What the recordings of one task hold: over all episodes, all files, all ranks.

    win_rate (0..1) is None where recordings do not tell success. source: who recorded them.
    """

    episodes: int
    win_rate: float | None
    mean_return: float
    best_return: float
    mean_length_env_steps: float
    source: str = ""


@dataclass
class HybridBatch:
    """What one optimiser step learns from: episodes of every training task.

    offline_share: which share (0..1) of a task's episodes really is recorded, whatever was scheduled.
    """

    episodes: dict[str, Episodes]
    offline_share: dict[str, float]

    def to(self, device: Any) -> HybridBatch:
        moved = {name: episodes.to(device) for name, episodes in self.episodes.items()}
        return replace(self, episodes=moved)


@dataclass(frozen=True)
class BattleRequest:
    """Episodes to be played greedily: a task, whether it was trained on, seeds [B] int64.

    extra: played for interest, reported, but part of no mean.
    """

    task: TaskSpec
    seen: bool
    seeds: Tensor
    extra: bool = False
