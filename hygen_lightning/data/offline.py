"""Recorded episodes of one task and quality, drawn without replacement epoch after epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from hygen_lightning.data.odis import count_steps, find_parts
from hygen_lightning.data.storage import Rows, load_rows, step_bytes
from hygen_lightning.specs import Episodes, TaskSpec, UserError

MIXED_QUALITY = "medium-expert"
"""Half from `medium`, half from `expert`."""


@dataclass(frozen=True)
class RecordedResults:
    """What the recorded team reached: returns [N] and lengths [N] (stored steps); wins [N] bool.

    Cooperative navigation knows no victory: its wins are None.
    """

    returns: Tensor
    lengths: Tensor
    wins: Tensor | None

    @property
    def mean_return(self) -> float:
        return float(self.returns.mean())

    @property
    def win_rate(self) -> float | None:
        return None if self.wins is None else float(self.wins.double().mean())


class Recordings:
    """Episodes of one data set, or one shard of it, and the shuffle that they are drawn in."""

    def __init__(self, rows: Rows, results: RecordedResults, subset: Tensor | None = None) -> None:
        """subset [n] int64: the rows to draw from (all of them if None)."""
        self.rows, self.results = rows, results
        self.subset = torch.arange(len(rows)) if subset is None else subset
        self.order = torch.empty(0, dtype=torch.int64)
        """Row numbers that are left of the current shuffle."""

    def draw(self, n: int, generator: Generator) -> Episodes:
        """The next n episodes, none again before all were drawn.

        They are n different ones, where there are as many: a new shuffle puts what is left of the
        old one last.
        """
        while len(self.order) < n:
            fresh = self.subset[torch.randperm(len(self.subset), generator=generator)]
            left_over = torch.isin(fresh, self.order)
            self.order = torch.cat([self.order, fresh[~left_over], fresh[left_over]])
        drawn, self.order = self.order[:n], self.order[n:].clone()
        return self.rows.take(drawn)


class OfflineEpisodes:
    """Recorded episodes of one task and quality, drawn without replacement, epoch after epoch.

    `medium-expert` has two sets of recordings, each of which gives half of every batch; where a
    batch is odd, they give the extra episode in turn. What is drawn depends on `state_dict()` and
    on the generator's state, and on nothing else.
    """

    def __init__(self, recordings: Sequence[Recordings], name: str) -> None:
        """name: what messages call it, e.g. `3m/medium`."""
        self.recordings, self.name = tuple(recordings), name
        self._turn = 0

    def __len__(self) -> int:
        """Episodes to draw from: of this shard, where the data set is sharded."""
        return sum(len(r.subset) for r in self.recordings)

    @property
    def win_rate(self) -> float | None:
        """Share of recorded battles won, over all shards; None for navigation.

        Of two sets of recordings the mean of both, whatever their sizes.
        """
        rates = [r.results.win_rate for r in self.recordings]
        known = [rate for rate in rates if rate is not None]
        return sum(known) / len(known) if len(known) == len(rates) else None

    @property
    def mean_return(self) -> float:
        """Mean return of the recorded episodes, over all shards and both sets alike."""
        return sum(r.results.mean_return for r in self.recordings) / len(self.recordings)

    @property
    def best_return(self) -> float:
        """Highest return of a recorded episode, over all shards."""
        return max(float(r.results.returns.max()) for r in self.recordings)

    def sample(self, n: int, generator: Generator) -> Episodes:
        """The next n episodes of the shuffled stream, trimmed. n may exceed the data set."""
        if n < 1:
            raise ValueError(f"{n} episodes asked for, at least 1 expected")
        sets = len(self.recordings)
        counts = [n // sets + int((i - self._turn) % sets < n % sets) for i in range(sets)]
        self._turn = (self._turn + n) % sets
        return Episodes.cat([r.draw(k, generator) for r, k in zip(self.recordings, counts) if k])

    def all(self) -> Episodes:
        """Every episode to draw from, in the order of the files, trimmed."""
        return Episodes.cat([r.rows.take(r.subset) for r in self.recordings])

    def shard(self, rank: int, world_size: int) -> OfflineEpisodes:
        """Every world_size-th episode from `rank` on: shards are disjoint and cover all.

        Shards share the memory of the whole. UserError if there are fewer episodes than shards.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        fewest = min(len(r.subset) for r in self.recordings)
        if fewest < world_size:
            raise UserError(
                f"{self.name}: {fewest} episodes cannot be shared by {world_size} processes; "
                "use fewer devices or more data"
            )
        shards = [Recordings(r.rows, r.results, r.subset[rank::world_size]) for r in self.recordings]
        return OfflineEpisodes(shards, self.name)

    def state_dict(self) -> dict[str, Any]:
        """What is left of the current shuffles; tensors and plain Python only."""
        return {
            "orders": [r.order.clone() for r in self.recordings],
            "episodes": [len(r.rows) for r in self.recordings],
            "turn": self._turn,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; UserError if the data or the shard is another one."""
        episodes = [len(r.rows) for r in self.recordings]
        if state["episodes"] != episodes:
            raise UserError(
                f"{self.name}: the checkpoint was written with {state['episodes']} recorded episodes, "
                f"here are {episodes}; give the same data set"
            )
        if not all(torch.isin(o, r.subset).all() for o, r in zip(state["orders"], self.recordings)):
            raise UserError(
                f"{self.name}: the checkpoint was written by another number of processes; "
                "resume on as many devices as before"
            )
        self._turn = state["turn"]
        for recordings, order in zip(self.recordings, state["orders"]):
            recordings.order = order.clone()


@dataclass
class _Tally:
    """Gathers the results of the blocks of a data set."""

    task: TaskSpec
    returns: list[Tensor] = field(default_factory=list)
    lengths: list[Tensor] = field(default_factory=list)
    wins: list[Tensor] = field(default_factory=list)

    def add(self, block: Episodes) -> None:
        self.returns.append((block.reward.double() * block.mask).sum(dim=1))
        self.lengths.append(block.length)
        wins = self.task.success(block)
        if wins is not None:
            self.wins.append(wins)

    def results(self) -> RecordedResults:
        wins = torch.cat(self.wins) if self.wins else None
        return RecordedResults(torch.cat(self.returns), torch.cat(self.lengths), wins)


def load_offline(
    dataset_dir: str | Path, task: TaskSpec, quality: str, max_in_memory_gb: float = 8.0
) -> OfflineEpisodes:
    """The recordings `<dataset_dir>/<task>/<quality>`, all runs, checked.

    Above max_in_memory_gb (10^9 bytes, packed) the episodes stay in their files and each batch is
    read from them. `medium-expert` draws from both, unless it was recorded as such. UserError if
    there is no such data set (it says what there is), or if a file breaks the rules.
    """
    root = Path(dataset_dir)
    mixed = quality == MIXED_QUALITY and not find_parts(root / task.name / quality)
    qualities = ("medium", "expert") if mixed else (quality,)
    parts = [_parts_of(root, task, name) for name in qualities]
    n_steps = sum(count_steps(path, task) for paths in parts for path in paths)
    in_memory = n_steps * step_bytes(task) <= max_in_memory_gb * 1e9
    return OfflineEpisodes([_load(paths, task, in_memory) for paths in parts], f"{task.name}/{quality}")


def _parts_of(root: Path, task: TaskSpec, quality: str) -> list[Path]:
    """Files of a data set; UserError if there are none."""
    folder = root / task.name / quality
    paths = find_parts(folder)
    if not paths:
        raise UserError(f"no recordings at {folder}; {what_is_there(root)}")
    return paths


def _load(paths: list[Path], task: TaskSpec, in_memory: bool) -> Recordings:
    tally = _Tally(task)
    rows = load_rows(paths, task, in_memory, tally.add)
    return Recordings(rows, tally.results())


def what_is_there(dataset_dir: Path) -> str:
    """One phrase: which tasks and qualities a dataset folder holds, and what to do."""
    if dataset_dir.is_file():
        return f"{dataset_dir} is a file; give as dataset_dir the folder that holds TASK/QUALITY/..."
    if not dataset_dir.is_dir():
        return f"the folder {dataset_dir} does not exist; give another dataset_dir, or record with `collect`"
    parts = [path.relative_to(dataset_dir).parts for path in find_parts(dataset_dir)]
    names = sorted({"/".join(names[:2]) for names in parts if len(names) > 2})
    if not names:
        return f"{dataset_dir} holds no recordings; give another dataset_dir, or record with `collect`"
    return f"{dataset_dir} holds {', '.join(names)}; choose one of these, or record with `collect`"
