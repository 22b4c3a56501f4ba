"""Where episodes lie between their use: packed in memory, or left in their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hygen_lightning.data.odis import read_blocks, read_rows
from hygen_lightning.specs import Episodes, TaskSpec

TENSOR_NAMES = tuple(f.name for f in fields(Episodes) if f.name != "task")
"""Names of the tensors of `Episodes`."""


class Rows(Protocol):
    """Numbered episodes of one task."""

    def __len__(self) -> int: ...

    def take(self, rows: Tensor) -> Episodes:
        """The episodes with these numbers [n] int64, in this order, trimmed."""
        ...


def pack(episodes: Episodes) -> dict[str, Tensor]:
    """Tensors of episodes on the CPU; actions, which are small numbers, as int16. Lossless."""
    return {
        name: (tensor.to(torch.int16) if tensor.dtype == torch.int64 else tensor).cpu()
        for name in TENSOR_NAMES
        for tensor in [getattr(episodes, name)]
    }


def unpack(task: str, packed: dict[str, Tensor], rows: Tensor) -> Episodes:
    """The episodes at `rows` [n] int64 of packed tensors [N, T, ...], trimmed; the inverse of `pack`."""
    longest = max(int(packed["filled"][rows].sum(dim=1).max()), 2)
    chosen = {name: tensor[:, :longest][rows] for name, tensor in packed.items()}
    whole = {name: x.long() if x.dtype == torch.int16 else x for name, x in chosen.items()}
    return Episodes(task=task, **whole)


def packed_bytes(task: TaskSpec) -> int:
    """Bytes of one packed episode, padded to the episode limit."""
    n_steps, n_allies, layout = task.episode_limit_env_steps + 1, task.n_allies, task.layout
    floats = n_allies * layout.obs_dim + layout.state_dim + 1
    actions = 2 * n_allies
    flags = n_allies * layout.n_actions + 3
    return n_steps * (4 * floats + actions + flags)


class MemoryRows:
    """Episodes packed in memory."""

    def __init__(self, task: str, packed: dict[str, Tensor]) -> None:
        self.task, self.packed = task, packed

    def __len__(self) -> int:
        return self.packed["filled"].shape[0]

    def take(self, rows: Tensor) -> Episodes:
        return unpack(self.task, self.packed, rows)


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
    kept: list[dict[str, Tensor]] = []
    counts: list[int] = []
    for path in paths:
        counts.append(0)
        for block in read_blocks(path, task):
            visit(block)
            counts[-1] += len(block)
            if in_memory:
                kept.append(pack(block))
    if not in_memory:
        return FileRows(task, list(zip(paths, counts)))
    whole = {name: torch.cat([k[name] for k in kept]) for name in TENSOR_NAMES} if len(kept) > 1 else kept[0]
    return MemoryRows(task.name, whole)
