"""The shared vocabulary: shape letters, tasks, layouts of flat vectors, batches of episodes.

Shape letters, used in every docstring of the package:

    B  episodes (or battles) in a batch      K  actions of a task (base actions + E)
    T  stored time steps, the last one       Z  skills
       has an observation but no reward      D  embedding width
    A  allies (agents)                       R  agent rows (B x A)
    E  enemies (or landmarks)

This module imports torch for type checking only: reading a task table costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NO_OP, STOP, NORTH, SOUTH, EAST, WEST = range(6)
FIRST_TARGET = 6
"""Action 6 + j attacks enemy j (a Medivac heals ally j)."""

SIGHT_RANGE = 9.0
"""Sight of every agent in map units, as SMAC defines it for all unit types."""
SHOOT_RANGE = 6.0
"""Distance in map units within which SMAC offers an attack action, for all unit types."""


class UserError(Exception):
    """Bad input from a user: one line that says what, where and what to do. Exit code 2."""


class RunError(Exception):
    """A run that cannot go on: one line that says why, where and what to do. Exit code 1."""


@dataclass(frozen=True)
class EntityWidths:
    """Widths of the entity features that a network is built for; equal for all tasks of a family.

    own: moves, health, shield and type of the observing agent (without id and last action).
    enemy, ally: one observed enemy or ally.  state_ally, state_enemy: one unit in the state.
    base_actions: actions that have no target (6 in StarCraft, 5 in cooperative navigation).
    has_targets: whether each enemy is also an action.
    state_has_last_actions: whether the state ends with the last actions of all allies.
    """

    own: int
    enemy: int
    ally: int
    state_ally: int
    state_enemy: int
    base_actions: int = 6
    has_targets: bool = True
    state_has_last_actions: bool = True

    @property
    def compact_action(self) -> int:
        """Width of a compact action: base actions, plus one flag for "acted on a target"."""
        return self.base_actions + int(self.has_targets)


@dataclass(frozen=True)
class TaskSpec:
    """One task: who fights whom, where and for how long (SMAC map registry and map files).

    Units stand in SMAC's order: allies by unit type, enemies as the map creates them.
    Spawns are map coordinates, one per unit; `enemy_attack_move_to` is where the enemies are
    ordered to attack-move at the start (None: they hold their place until they see somebody).
    """

    name: str
    ally_units: tuple[str, ...]
    enemy_units: tuple[str, ...]
    episode_limit_env_steps: int
    ally_spawns: tuple[tuple[float, float], ...] = ()
    enemy_spawns: tuple[tuple[float, float], ...] = ()
    enemy_attack_move_to: tuple[float, float] | None = None
    ally_race: Literal["T", "P", "Z", ""] = "T"
    enemy_race: Literal["T", "P", "Z", ""] = "T"
    unit_type_bits: int = 0
    map_type: str = "marines"
    terrain: str = "plain"
    kind: Literal["battle", "navigation"] = "battle"

    @property
    def n_allies(self) -> int:
        return len(self.ally_units)

    @property
    def n_enemies(self) -> int:
        return len(self.enemy_units)

    @cached_property
    def layout(self) -> EntityLayout:
        """Where each entity's numbers lie in the flat vectors of this task."""
        return EntityLayout.of(self)


@dataclass(frozen=True)
class EntityLayout:
    """Slices SMAC's flat observation, state and action vectors into entities.

    The only place that knows an offset. Battles (SMAC, `get_obs_agent` and `get_state`):

        observation  [move 4 | E x enemy | (A-1) x ally | own]
        state        [A x ally | E x enemy | A x last action one-hot]

    Navigation (ODIS): observation [own 2 | (A-1) x ally 2 | E x landmark 2], state
    [A x position 2 | E x landmark 2].
    """

    n_allies: int
    n_enemies: int
    widths: EntityWidths
    move_width: int
    shield_ally: int
    shield_enemy: int
    unit_type_bits: int
    enemies_first: bool

    @classmethod
    def of(cls, task: TaskSpec) -> EntityLayout:
        """The layout of a task, from its races and unit type bits."""
        if task.kind == "navigation":
            return cls(
                task.n_allies,
                task.n_enemies,
                EntityWidths(2, 2, 2, 2, 2, 5, has_targets=False, state_has_last_actions=False),
                move_width=0,
                shield_ally=0,
                shield_enemy=0,
                unit_type_bits=0,
                enemies_first=False,
            )
        ally, enemy = int(task.ally_race == "P"), int(task.enemy_race == "P")
        types = task.unit_type_bits
        widths = EntityWidths(
            own=4 + 1 + ally + types,
            enemy=5 + enemy + types,
            ally=5 + ally + types,
            state_ally=4 + ally + types,
            state_enemy=3 + enemy + types,
        )
        return cls(task.n_allies, task.n_enemies, widths, 4, ally, enemy, types, True)

    @property
    def n_actions(self) -> int:
        """K: base actions and, in battles, one attack per enemy."""
        return self.widths.base_actions + (self.n_enemies if self.widths.has_targets else 0)

    @property
    def obs_dim(self) -> int:
        w = self.widths
        return w.own + self.n_enemies * w.enemy + (self.n_allies - 1) * w.ally

    @property
    def state_dim(self) -> int:
        w = self.widths
        units = self.n_allies * w.state_ally + self.n_enemies * w.state_enemy
        return units + (self.n_allies * self.n_actions if w.state_has_last_actions else 0)

    def split_obs(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """obs [..., obs_dim] -> own [..., own], enemies [..., E, enemy], allies [..., A-1, ally].

        In battles "own" is the four move flags followed by health, shield and type.
        """
        w = self.widths
        n_enemy, n_ally = self.n_enemies * w.enemy, (self.n_allies - 1) * w.ally
        head, own_tail = (self.move_width, w.own - self.move_width)
        if self.enemies_first:
            move, enemies, allies, rest = obs.split([head, n_enemy, n_ally, own_tail], dim=-1)
            import torch

            own = torch.cat([move, rest], dim=-1)
        else:
            own, allies, enemies = obs.split([w.own, n_ally, n_enemy], dim=-1)
        return (
            own,
            enemies.unflatten(-1, (self.n_enemies, w.enemy)),
            allies.unflatten(-1, (self.n_allies - 1, w.ally)),
        )

    def split_state(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """state [..., state_dim] -> allies [..., A, ·], enemies [..., E, ·], last actions [..., A, K].

        The last actions are None where the state does not hold them.
        """
        w = self.widths
        sizes = [self.n_allies * w.state_ally, self.n_enemies * w.state_enemy]
        allies, enemies, last = state.split([*sizes, self.state_dim - sum(sizes)], dim=-1)
        return (
            allies.unflatten(-1, (self.n_allies, w.state_ally)),
            enemies.unflatten(-1, (self.n_enemies, w.state_enemy)),
            last.unflatten(-1, (self.n_allies, self.n_actions)) if w.state_has_last_actions else None,
        )

    def obs_feature_names(self) -> list[str]:
        """One name per number of an observation, obs_dim in all."""
        moves = ["can_move_north", "can_move_south", "can_move_east", "can_move_west"]
        if not self.enemies_first:
            names = ["own.x", "own.y"]
            names += [f"ally{i}.{f}" for i in range(1, self.n_allies) for f in ("x", "y")]
            return names + [f"landmark{j}.{f}" for j in range(self.n_enemies) for f in ("x", "y")]
        types = [f"type{k}" for k in range(self.unit_type_bits)]
        enemy = ["attackable", "distance", "dx", "dy", "health"] + ["shield"] * self.shield_enemy + types
        ally = ["visible", "distance", "dx", "dy", "health"] + ["shield"] * self.shield_ally + types
        own = ["health"] + ["shield"] * self.shield_ally + types
        return (
            moves
            + [f"enemy{j}.{f}" for j in range(self.n_enemies) for f in enemy]
            + [f"ally{i}.{f}" for i in range(1, self.n_allies) for f in ally]
            + [f"own.{f}" for f in own]
        )

    def state_feature_names(self) -> list[str]:
        """One name per number of a state, state_dim in all."""
        if not self.enemies_first:
            units = [("ally", self.n_allies), ("landmark", self.n_enemies)]
            return [f"{kind}{i}.{f}" for kind, n in units for i in range(n) for f in ("x", "y")]
        types = [f"type{k}" for k in range(self.unit_type_bits)]
        ally = ["health", "cooldown", "x", "y"] + ["shield"] * self.shield_ally + types
        enemy = ["health", "x", "y"] + ["shield"] * self.shield_enemy + types
        last = [f"last_action{k}" for k in range(self.n_actions)]
        return (
            [f"ally{i}.{f}" for i in range(self.n_allies) for f in ally]
            + [f"enemy{j}.{f}" for j in range(self.n_enemies) for f in enemy]
            + [f"ally{i}.{f}" for i in range(self.n_allies) for f in last]
        )


@dataclass
class Episodes:
    """A batch of episodes of one task, padded at the end to the longest one.

    obs [B, T, A, obs_dim] float, state [B, T, state_dim] float, actions [B, T, A] int64,
    avail_actions [B, T, A, K] bool, reward [B, T] float, terminated [B, T] bool (the step that
    ended the episode, time-outs included), truncated [B, T] bool (of those, the ones that only
    the time limit ended), filled [B, T] bool. The last filled step of an episode holds the final
    observation; it has no reward."""

    task: str
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

    def map(self, function) -> Episodes:
        """A copy with `function` applied to every tensor."""
        tensors = {f.name: function(getattr(self, f.name)) for f in fields(self) if f.name != "task"}
        return replace(self, **tensors)

    def __getitem__(self, rows) -> Episodes:
        """The episodes at these rows (a slice or an index tensor)."""
        return self.map(lambda x: x[rows])

    def to(self, device) -> Episodes:
        """On this device; what comes back to the CPU is all there when this returns."""
        return self.map(lambda x: x.to(device, non_blocking=str(device) != "cpu"))

    def trimmed(self) -> Episodes:
        """The same episodes without the steps that none of them fills; at least two steps."""
        longest = max(int(self.length.max()), 2)
        return self.map(lambda x: x[:, :longest])

    @classmethod
    def cat(cls, parts: Sequence[Episodes]) -> Episodes:
        """One batch of several of the same task; shorter ones are padded with zeros."""
        import torch

        if len({p.task for p in parts}) != 1:
            raise ValueError(f"episodes of one task expected, got {sorted({p.task for p in parts})}")
        longest = max(p.n_steps for p in parts)
        joined = {
            f.name: torch.cat([_padded(getattr(p, f.name), longest) for p in parts])
            for f in fields(cls)
            if f.name != "task"
        }
        return cls(task=parts[0].task, **joined)


def _padded(x: Tensor, n_steps: int) -> Tensor:
    """x [B, T, ...] with zeros appended along time up to n_steps."""
    missing = n_steps - x.shape[1]
    if missing == 0:
        return x
    import torch

    return torch.cat([x, x.new_zeros((x.shape[0], missing, *x.shape[2:]))], dim=1)


@dataclass
class HybridBatch:
    """What one optimiser step learns from: episodes of every training task.

    offline_share: the scheduled share (0..1) by task; n_offline: how many of a task's episodes
    are recordings, which gives the share that was realised.
    """

    episodes: dict[str, Episodes]
    offline_share: dict[str, float]
    n_offline: dict[str, int] = field(default_factory=dict)

    def to(self, device) -> HybridBatch:
        moved = {name: episodes.to(device) for name, episodes in self.episodes.items()}
        return replace(self, episodes=moved)

    def realised_share(self, task: str) -> float:
        """Share of recorded episodes that this batch really holds for a task."""
        return self.n_offline[task] / len(self.episodes[task])


@dataclass(frozen=True)
class BattleRequest:
    """Battles to be played greedily: a task, whether it was trained on, seeds [B] int64.

    extra: played for interest, reported, but part of no mean.
    """

    task: TaskSpec
    seen: bool
    seeds: Tensor
    extra: bool = False
