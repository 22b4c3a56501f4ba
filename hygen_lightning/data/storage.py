"""Where episodes lie between their use: packed in memory, their padding left out, or left in their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hygen_lightning.data.odis import read_blocks, read_rows
from hygen_lightning.specs import EPISODE_TENSORS, Episodes, TaskSpec


class Rows(Protocol):
    """Numbered episodes of one task."""

    def __len__(self) -> int: ...

    def take(self, rows: Tensor) -> Episodes:
        """The episodes with these numbers [n] int64, in this order, trimmed."""
        ...


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


def step_bytes(task: TaskSpec) -> int:
    """Bytes of one packed step."""
    n_allies, layout = task.n_allies, task.layout
    floats = n_allies * layout.obs_dim + layout.state_dim + 1
    actions = 2 * n_allies
    flags = n_allies * layout.n_actions + 3
    return 4 * floats + actions + flags


class MemoryRows:
    """Episodes packed in memory."""

    def __init__(self, task: TaskSpec, packed: list[Packed]) -> None:
        self.task, self.packed = task, packed

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, rows: Tensor) -> Episodes:
        return unpack(self.task, [self.packed[row] for row in rows.tolist()])


class FileRows:
    """Episodes left in their files; every `take` reads them anew."""

    def __init__(self, task: TaskSpec, parts: Sequence[tuple[Path, int]]) -> None:
        """parts: files that were checked, and the number of episodes in each."""
        self.task, self.paths = task, [path for path, _ in parts]
        self.ends = np.cumsum([count for _, count in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, rows: Tensor) -> Episodes:
        wanted, place = np.unique(rows.numpy(), return_inverse=True)
        files = np.searchsorted(self.ends, wanted, side="right")
        starts = np.concatenate([[0], self.ends[:-1]])
        pieces = [
            read_rows(self.paths[file], self.task, wanted[files == file] - starts[file])
            for file in np.unique(files)
        ]
        return Episodes.cat(pieces)[torch.from_numpy(place.reshape(-1))].trimmed()


def load_rows(
    paths: Sequence[Path], task: TaskSpec, in_memory: bool, visit: Callable[[Episodes], None]
) -> Rows:
    """Check all episodes of these files, show each block to `visit`, and keep them or leave them."""
    kept: list[Packed] = []
    counts: list[int] = []
    for path in paths:
        counts.append(0)
        for block in read_blocks(path, task):
            visit(block)
            counts[-1] += len(block)
            if in_memory:
                kept += pack(block)
    if not in_memory:
        return FileRows(task, list(zip(paths, counts)))
    return MemoryRows(task, kept)
