"""Structs of tensors: what environments show, episodes, and what an optimiser step learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from hygen_lightning.specs.task import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

Struct = TypeVar("Struct", bound="TensorStruct")


def map_tree(function: Callable[..., Tensor], *trees: Any) -> Any:
    """`function` of the tensors that stand in the same place of equal trees (dict, tuple, tensor or None)."""
    first = trees[0]
    if isinstance(first, dict):
        return {name: map_tree(function, *(tree[name] for tree in trees)) for name in first}
    if isinstance(first, tuple):
        return tuple(map_tree(function, *parts) for parts in zip(*trees))
    return None if first is None else function(*trees)


class TensorStruct:
    """A dataclass of tensors with a common first dimension; what follows leaves its other fields alone."""

    def map(self: Struct, function: Callable[[Tensor], Tensor]) -> Struct:
        """A copy with `function` applied to every tensor."""
        import torch

        kinds = (torch.Tensor, dict, tuple)
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        changed = {name: map_tree(function, x) for name, x in values.items() if isinstance(x, kinds)}
        return replace(self, **changed)  # type: ignore[type-var]

    def __getitem__(self: Struct, rows: Any) -> Struct:
        """The rows (a slice, an index or a bool tensor) of every tensor."""
        return self.map(lambda x: x[rows])

    def to(self: Struct, device: Any) -> Struct:
        """On this device. Copies to a GPU are queued, copies to the CPU are complete on return."""
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
    lost [B] bool: the environment could not go on with the episode, which counts for nothing; it is
    terminated and truncated. None: no episode was.
    """

    observation: Observation
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    success: Tensor
    lost: Tensor | None = None


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


@dataclass
class OnPolicyEpisodes(Episodes):
    """Whole battles that a policy over skills has just played, with what it learns from beside them.

    skills [B, T, A] int64 (0 after the end), log_probs and skill_log_probs [B, T, A] float (of the
    actions, given the skills, and of the skills, by the policy that played), advantage [B, T, A] float
    (of each agent's action), skill_advantage [B, T, 1] float (of the team), value_target [B, T] float.
    """

    skills: Tensor
    log_probs: Tensor
    skill_log_probs: Tensor
    advantage: Tensor
    skill_advantage: Tensor
    value_target: Tensor


@dataclass
class Chunk(TensorStruct):
    """T steps of B battles that go on for ever: where one ends, the next begins.

    obs [B, T, A, obs_dim] float, state [B, T + 1, state_dim] float (the last one follows the chunk),
    avail_actions [B, T, A, K] bool, last_actions [B, T, A] int64 (-1: none yet), actions [B, T, A]
    int64, log_probs [B, T, A] float (of the actions, by the policy that played), reward [B, T] float,
    begins [B, T] bool (a battle begins with this step), terminated and truncated [B, T] bool as in
    `Episodes`, success [B, T] bool, clock [B, T + 1] int64 (environment steps since the battle began),
    hidden (tree of tensors [B, ...] or None: the policy's, before the first step).

    What a learner adds before it learns: advantage [B, T], value_target [B, T].
    """

    task: TaskSpec
    obs: Tensor
    state: Tensor
    avail_actions: Tensor
    last_actions: Tensor
    actions: Tensor
    log_probs: Tensor
    reward: Tensor
    begins: Tensor
    terminated: Tensor
    truncated: Tensor
    success: Tensor
    clock: Tensor
    hidden: Any
    advantage: Tensor | None = None
    value_target: Tensor | None = None

    def __len__(self) -> int:
        return self.obs.shape[0]

    @property
    def acts(self) -> Tensor:
        """[B, T, A] bool: the agent can do something else than no-op, so it is alive."""
        return self.avail_actions.sum(dim=-1) > 1


def zero_outside(x: Tensor, mask: Tensor) -> Tensor:
    """x [B, T, ...] with zeros, instead of NaN too, where mask [B, T] bool is False."""
    return x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.dim() - 2)), 0)


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

    offline_share: share (0..1) of recorded episodes, by task, as drawn; not the scheduled one.
    chunks: what an algorithm that learns on-policy has just played, by task.
    """

    episodes: dict[str, Episodes]
    offline_share: dict[str, float]
    chunks: dict[str, Chunk | OnPolicyEpisodes] = field(default_factory=dict)

    def to(self, device: Any) -> HybridBatch:
        moved = {name: episodes.to(device) for name, episodes in self.episodes.items()}
        chunks = {name: chunk.to(device) for name, chunk in self.chunks.items()}
        return replace(self, episodes=moved, chunks=chunks)


@dataclass(frozen=True)
class BattleRequest:
    """Episodes to be played greedily: a task, whether it was trained on, seeds [B] int64.

    extra: played for interest, reported, but part of no mean.
    """

    task: TaskSpec
    seen: bool
    seeds: Tensor
    extra: bool = False
