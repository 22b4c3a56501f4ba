"""The episodes that batches are drawn from: recordings in memory or on disk, and replay buffers.

Every buffer has `len`, `sample(n, generator) -> Episodes` [n, T, ...] (trimmed), and a `state_dict`
of tensors and plain Python with which a stopped run draws on exactly as it would have.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from hygen_lightning.data.hdf5 import find_parts, parts_of, read_blocks, read_header, read_rows
from hygen_lightning.specs import EPISODE_TENSORS, DataStatistics, Episodes, TaskSpec, UserError

MIXED_QUALITY = "medium-expert"
"""Half of every batch from `medium`, half from `expert`."""

Packed = dict[str, Tensor]
"""The filled steps of one episode: tensors [t, ...] by name."""


def pack(episodes: Episodes) -> list[Packed]:
    """Each episode's filled steps on the CPU; actions, which are small numbers, as int16. Lossless."""
    lengths, filled = episodes.length.tolist(), episodes.filled
    parts = []
    for name in EPISODE_TENSORS:
        steps = getattr(episodes, name)[filled].cpu()
        parts.append((steps.to(torch.int16) if steps.dtype == torch.int64 else steps).split(lengths))
    return [dict(zip(EPISODE_TENSORS, episode)) for episode in zip(*parts)]


def unpack(task: TaskSpec, packed: Sequence[Packed]) -> Episodes:
    """One batch of packed episodes, padded with zeros to the longest one, at least two steps."""
    n_steps = max(2, *(len(episode["filled"]) for episode in packed))
    tensors = {}
    for name in EPISODE_TENSORS:
        like = packed[0][name]
        kind = torch.int64 if like.dtype == torch.int16 else like.dtype
        tensors[name] = torch.zeros((len(packed), n_steps, *like.shape[1:]), dtype=kind)
        for row, episode in zip(tensors[name], packed):
            row[: len(episode[name])] = episode[name]
    return Episodes(task=task, **tensors)


# Recordings


class OfflineEpisodes(ABC):
    """Recorded episodes of one task and quality, drawn without replacement, epoch after epoch.

    groups: row numbers [n] int64 to draw from. `medium-expert` has two groups, each gives half of
    every batch, and they give the last episode of an odd batch in turn. name: of the data set, for
    messages. statistics: of all episodes, whatever the shard. accepted: what was put right on
    reading -> in how many episodes. asked: episodes that the recorder was asked for; 0 if unknown.
    """

    def __init__(
        self,
        task: TaskSpec,
        name: str,
        groups: Sequence[Tensor],
        statistics: DataStatistics,
        accepted: Counter[str],
        asked: int,
    ) -> None:
        self.task, self.name, self.groups = task, name, list(groups)
        self.statistics, self.accepted, self.asked = statistics, accepted, asked
        self._episodes = [len(group) for group in groups]
        self._left = [torch.empty(0, dtype=torch.int64) for _ in groups]
        """Rows of each group's current shuffle that are still to be drawn."""
        self._turn = 0

    @abstractmethod
    def take(self, rows: Tensor) -> Episodes:
        """The episodes with these numbers [n] int64, in this order, trimmed."""

    def __len__(self) -> int:
        """Episodes to draw from: of this shard, where the data set is sharded."""
        return sum(map(len, self.groups))

    def sample(self, n: int, generator: Generator) -> Episodes:
        """The next n episodes of the shuffle, trimmed: n different ones, where there are as many."""
        if n < 1:
            raise ValueError(f"{n} episodes asked for, at least 1 expected")
        drawn = []
        for i, group in enumerate(self.groups):
            count = n // len(self.groups) + int((i - self._turn) % len(self.groups) < n % len(self.groups))
            while len(self._left[i]) < count:  # rows left over come again last, so that a batch has them once
                fresh = group[torch.randperm(len(group), generator=generator)]
                again = torch.isin(fresh, self._left[i])
                self._left[i] = torch.cat([self._left[i], fresh[~again], fresh[again]])
            drawn.append(self._left[i][:count])
            self._left[i] = self._left[i][count:].clone()
        self._turn = (self._turn + n) % len(self.groups)
        return self.take(torch.cat(drawn))

    def all(self) -> Episodes:
        """Every episode to draw from, in the order of the files, trimmed."""
        return self.take(torch.cat(self.groups))

    def shard(self, rank: int, world_size: int) -> OfflineEpisodes:
        """Every world_size-th episode from `rank` on: shards are disjoint and cover all.

        Shards share the memory of the whole. UserError if there are fewer episodes than shards.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        fewest = min(map(len, self.groups))
        if fewest < world_size:
            raise UserError(
                f"{self.name}: {fewest} episodes cannot be shared by {world_size} processes; "
                "use fewer devices or more data"
            )
        shard = copy.copy(self)
        shard.groups = [group[rank::world_size] for group in self.groups]
        shard._left = [left[:0] for left in self._left]
        return shard

    def state_dict(self) -> dict[str, Any]:
        """What is left of the current shuffles."""
        left = [rows.clone() for rows in self._left]
        return {"left": left, "episodes": list(self._episodes), "turn": self._turn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; UserError if the data or the shard is another one."""
        if state["episodes"] != self._episodes:
            raise UserError(
                f"{self.name}: the checkpoint was written with {state['episodes']} recorded episodes, "
                f"here are {self._episodes}; give the same data set"
            )
        if not all(torch.isin(rows, group).all() for rows, group in zip(state["left"], self.groups)):
            raise UserError(
                f"{self.name}: the checkpoint was written by another number of processes; "
                "resume on as many devices as before"
            )
        self._turn, self._left = state["turn"], [rows.clone() for rows in state["left"]]


class EpisodesInMemory(OfflineEpisodes):
    """Recordings packed in memory."""

    def __init__(self, *about: Any, packed: Sequence[Packed]) -> None:
        super().__init__(*about)
        self.packed = packed

    def take(self, rows: Tensor) -> Episodes:
        return unpack(self.task, [self.packed[row] for row in rows.tolist()])


class EpisodesOnDisk(OfflineEpisodes):
    """Recordings left in their files (path, episodes in it); every `take` reads them anew."""

    def __init__(self, *about: Any, files: Sequence[tuple[Path, int]]) -> None:
        super().__init__(*about)
        self.files = files

    def take(self, rows: Tensor) -> Episodes:
        ends = np.cumsum([count for _, count in self.files])
        wanted, place = np.unique(rows.numpy(), return_inverse=True)
        file_of = np.searchsorted(ends, wanted, side="right")
        pieces = []
        for file in np.unique(file_of):
            path, count = self.files[file]
            pieces.append(read_rows(path, self.task, wanted[file_of == file] - (ends[file] - count)))
        return Episodes.cat(pieces)[torch.from_numpy(place.reshape(-1))].trimmed()


class _Loading:
    """Reads files one by one; keeps their episodes packed, or none of them where they exceed max_bytes."""

    def __init__(self, task: TaskSpec, max_bytes: float) -> None:
        self.task, self.max_bytes = task, max_bytes
        self.packed: list[Packed] = []
        self.n_bytes = self.n_episodes = 0
        self.files: list[tuple[Path, int]] = []
        self.accepted: Counter[str] = Counter()
        self.asked: dict[Path, int] = {}
        """Episodes that the recorder was asked for, by run."""

    def read(self, paths: Sequence[Path]) -> tuple[Tensor, DataStatistics]:
        """Rows [n] and statistics of the episodes of these files; UserError at the first problem."""
        first, blocks = self.n_episodes, []
        sources: dict[str, None] = {}
        for path in paths:
            about, before = read_header(path).about, self.n_episodes
            self.asked[path.parent] = int(about.get("asked_episodes", 0))
            sources[source_of(about, path)] = None
            for found, block in read_blocks(path, self.task):
                found.raise_first()
                assert block is not None
                self.accepted += found.accepted
                self._keep(block)
                returns = (block.reward.double() * block.mask).sum(dim=1)
                blocks.append((returns, block.length, self.task.success(block)))
            self.files.append((path, self.n_episodes - before))
        return torch.arange(first, self.n_episodes), _statistics(blocks, ", ".join(sources))

    def _keep(self, block: Episodes) -> None:
        self.n_episodes += len(block)
        if self.fits:
            packed = pack(block)
            self.n_bytes += sum(x.nbytes for episode in packed for x in episode.values())
            self.packed += packed
            if not self.fits:
                self.packed.clear()

    @property
    def fits(self) -> bool:
        return self.n_bytes <= self.max_bytes


def source_of(about: dict[str, str | int | float], path: Path) -> str:
    """Who recorded a file, as its header tells; its run folder where it does not."""
    who = about.get("policy")
    return f"{who} ({about.get('environment', 'unknown environment')})" if who else path.parent.name


def _statistics(blocks: list[tuple[Tensor, Tensor, Tensor | None]], source: str) -> DataStatistics:
    """blocks: returns [N], lengths [N] (stored steps), success [N] or None."""
    returns, lengths = torch.cat([b[0] for b in blocks]), torch.cat([b[1] for b in blocks]).double()
    success = [told for _, _, told in blocks if told is not None]
    return DataStatistics(
        episodes=len(returns),
        win_rate=float(torch.cat(success).double().mean()) if success else None,
        mean_return=float(returns.mean()),
        best_return=float(returns.max()),
        mean_length_env_steps=float(lengths.mean()) - 1,
        source=source,
    )


def _halves(sets: Sequence[DataStatistics]) -> DataStatistics:
    """Statistics of batches that hold equally many episodes of each set, whatever their sizes."""
    rates = [s.win_rate for s in sets if s.win_rate is not None]
    return DataStatistics(
        episodes=sum(s.episodes for s in sets),
        win_rate=fmean(rates) if len(rates) == len(sets) else None,
        mean_return=fmean(s.mean_return for s in sets),
        best_return=max(s.best_return for s in sets),
        mean_length_env_steps=fmean(s.mean_length_env_steps for s in sets),
        source=", ".join(dict.fromkeys(s.source for s in sets)),
    )


def load_offline(
    dataset_dir: str | Path, task: TaskSpec, quality: str, max_in_memory_gb: float = 8.0
) -> OfflineEpisodes:
    """The recordings `<dataset_dir>/<task>/<quality>`, all runs, every episode checked.

    Above max_in_memory_gb (10^9 bytes, packed) the episodes stay in their files and each batch is
    read from them. `medium-expert` draws from both, unless it was recorded as such. UserError if
    there is no such data set (it says what there is), or if a file breaks the rules.
    """
    root = Path(dataset_dir)
    mixed = quality == MIXED_QUALITY and not find_parts(root / task.name / quality)
    parts = [parts_of(root, task, q) for q in (("medium", "expert") if mixed else (quality,))]
    loading = _Loading(task, max_in_memory_gb * 1e9)
    groups, statistics = zip(*map(loading.read, parts))
    name, asked = f"{task.name}/{quality}", sum(loading.asked.values())
    facts = (_halves(statistics), loading.accepted, asked)
    if loading.fits:
        return EpisodesInMemory(task, name, groups, *facts, packed=loading.packed)
    return EpisodesOnDisk(task, name, groups, *facts, files=loading.files)


# Replay


class ReplayBuffer:
    """Keeps the last `capacity_episodes` played episodes of one task, packed, on the CPU.

    Memory grows with the steps of the episodes kept: padding takes none.
    """

    def __init__(self, task: TaskSpec, capacity_episodes: int = 2000) -> None:
        if capacity_episodes < 1:
            raise UserError(f"replay capacity is {capacity_episodes} episodes; give at least 1")
        self.task, self.capacity_episodes = task, capacity_episodes
        self.added_episodes = 0
        """Episodes ever added."""
        self._packed: deque[Packed] = deque(maxlen=capacity_episodes)

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, episodes: Episodes) -> None:
        """Append episodes [B, T, ...] of this task, T at most the limit + 1; the oldest give way."""
        if episodes.task.name != self.task.name:
            raise ValueError(f"episodes of {episodes.task.name} for the replay buffer of {self.task.name}")
        n_steps = self.task.episode_limit_env_steps + 1
        if episodes.n_steps > n_steps:
            raise ValueError(f"{episodes.n_steps} steps, but {self.task.name} stores at most {n_steps}")
        self._packed.extend(pack(episodes))
        self.added_episodes += len(episodes)

    def sample(self, n: int, generator: Generator) -> Episodes:
        """n different episodes, uniformly drawn, trimmed. ValueError if the replay buffer holds fewer."""
        if not 1 <= n <= len(self):
            raise ValueError(
                f"{n} episodes asked for, the replay buffer of {self.task.name} holds {len(self)}"
            )
        rows = torch.randperm(len(self), generator=generator)[:n].tolist()
        return unpack(self.task, [self._packed[row] for row in rows])

    def state_dict(self) -> dict[str, Any]:
        """Lengths [n] int64, and the steps of all episodes in a row."""
        kept = self._packed
        steps = {name: torch.cat([e[name] for e in kept]) for name in EPISODE_TENSORS} if kept else {}
        return {
            "task": self.task.name,
            "capacity_episodes": self.capacity_episodes,
            "added_episodes": self.added_episodes,
            "lengths": torch.tensor([len(e["filled"]) for e in kept], dtype=torch.int64),
            "steps": steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the replay buffer that wrote `state`; UserError if that one had another task or capacity."""
        for name, own in (("task", self.task.name), ("capacity_episodes", self.capacity_episodes)):
            if state[name] != own:
                raise UserError(
                    f"the saved replay buffer has {name} {state[name]}, this run {own}; use the same"
                )
        self.added_episodes = state["added_episodes"]
        lengths = state["lengths"].tolist()
        steps = [state["steps"][name].split(lengths) for name in EPISODE_TENSORS if lengths]
        self._packed.clear()
        for episode in zip(*steps):  # each a copy of its own, so that it goes alone
            self._packed.append({name: x.clone() for name, x in zip(EPISODE_TENSORS, episode)})
