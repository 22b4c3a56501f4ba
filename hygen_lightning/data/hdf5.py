"""Recordings in the ODIS format, `<dataset>/<task>/<quality>/<run>/part_<k>.h5`: found, read, written.

From a file to the optimiser: `read_blocks` here, checks in `validation`, `load_offline` in `buffers`,
batches in `datamodule` by the shares of `mixing`, `training_step` in `algorithms.base`.

Each file holds arrays [episodes, episode limit + 1, ...], compressed with gzip. The last filled
step of an episode has the final observation, a chosen action and no reward; nothing follows it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from hygen_lightning.data.files import files_below, write_whole
from hygen_lightning.data.validation import (
    REQUIRED_KEYS,
    Arrays,
    Findings,
    check_header,
    check_values,
    unmarked_timeouts,
    without_unit_axis,
)
from hygen_lightning.specs import Episodes, TaskSpec, UserError

DTYPES: dict[str, type] = {
    "actions": np.int64,
    "actions_onehot": np.float32,
    "avail_actions": np.int32,
    "filled": np.int64,
    "obs": np.float32,
    "reward": np.float32,
    "state": np.float32,
    "terminated": np.uint8,
}
"""What the format stores, under these names."""

BLOCK_EPISODES = 1024
"""Episodes read and checked at once; a check needs memory for as many."""
_CHUNK_BYTES = 1 << 16
_GZIP_LEVEL = 4

Attributes = Mapping[str, str | int | float]


def find_parts(folder: Path) -> list[Path]:
    """Recorded files below a folder: runs and parts in natural order (part_2 before part_10).

    What lies in hidden folders is unfinished and left out.
    """
    inside = {path: path.relative_to(folder).parts for path in files_below(folder, "*.h5")}
    visible = [path for path, names in inside.items() if not any(n.startswith(".") for n in names)]

    def natural(path: Path) -> list[list[tuple[int, str]]]:
        pieces = [re.split(r"(\d+)", name) for name in inside[path]]
        return [[(int(p), "") if p.isdigit() else (-1, p) for p in name] for name in pieces]

    return sorted(visible, key=natural)


def parts_of(dataset_dir: Path, task: TaskSpec, quality: str) -> list[Path]:
    """Files of a data set; a UserError that says what there is instead, if there are none."""
    folder = dataset_dir / task.name / quality
    paths = find_parts(folder)
    if not paths:
        raise UserError(f"no recordings at {folder}; {_what_is_there(dataset_dir)}")
    return paths


def check_dataset(dataset_dir: Path) -> None:
    """UserError unless there are recordings below this folder."""
    if not find_parts(dataset_dir):
        raise UserError(_what_is_there(dataset_dir))


def _what_is_there(dataset_dir: Path) -> str:
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


# Reading


class Header(NamedTuple):
    """Shape and type of each array of a file, and how its episodes came to be (`write_part`)."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]
    about: dict[str, str | int | float]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A file for reading; whatever HDF5 makes of missing, foreign or broken ones is a UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a recorded .h5 file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        what = "not an HDF5 file" if "file signature not found" in reason else "truncated or damaged"
        raise UserError(f"{path}: {what} ({reason}); copy it again, or leave it out") from error


def read_header(path: Path) -> Header:
    """The header of a file; UserError where it is missing, foreign, or broken."""
    with _opened(path) as file:
        arrays = {str(key): value for key, value in file.items() if isinstance(value, h5py.Dataset)}
        notes = {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
        return Header(
            {key: tuple(value.shape or ()) for key, value in arrays.items()},
            {key: value.dtype for key, value in arrays.items()},
            {key: value for key, value in notes.items() if isinstance(value, (str, int, float))},
        )


def read_blocks(
    path: Path, task: TaskSpec, with_onehot: bool = False
) -> Iterator[tuple[Findings, Episodes | None]]:
    """The episodes of a file, block by block, with what the checks found; None where there are problems.

    with_onehot: also compare the redundant `actions_onehot`, which nothing reads.
    """
    shapes, dtypes, about = read_header(path)
    found = check_header(shapes, dtypes, about.get("task"), task, str(path))
    if found.problems:
        yield found, None
        return
    redundant = [key for key in ("actions_onehot",) if with_onehot and key in shapes]
    for start in range(0, shapes["filled"][0], BLOCK_EPISODES):
        arrays = _read_arrays(path, [*REQUIRED_KEYS, *redundant], slice(start, start + BLOCK_EPISODES))
        found = check_values(arrays, task, str(path), first_episode=start)
        yield found, None if found.problems else to_episodes(arrays, task)


def read_part(path: Path, task: TaskSpec) -> Episodes:
    """All episodes of one file, checked. UserError names file, array, episode and remedy."""
    blocks = []
    for found, block in read_blocks(path, task):
        found.raise_first()
        blocks.append(block)
    return Episodes.cat([block for block in blocks if block is not None])


def read_folder(folder: Path, task: TaskSpec) -> Episodes:
    """All episodes below a run, quality or task folder, checked, in natural order of the files."""
    parts = find_parts(folder)
    if not parts:
        raise UserError(f"{folder}: holds no .h5 files; record some with `collect` or give another folder")
    return Episodes.cat([read_part(path, task) for path in parts])


def read_rows(path: Path, task: TaskSpec, rows: np.ndarray) -> Episodes:
    """Episodes of a file at these rows (ascending, each once), values unchecked."""
    return to_episodes(_read_arrays(path, REQUIRED_KEYS, rows), task)


def _read_arrays(path: Path, keys: Iterable[str], rows: slice | np.ndarray) -> dict[str, np.ndarray]:
    """Rows of the arrays of a file, as they are stored.

    Where each chunk holds whole episodes, as `write_part` writes them, row by row is three to four
    times as fast as a list of rows; with other chunks the list is faster.
    """
    arrays = {}
    with _opened(path) as file:
        for key in keys:
            stored = file[key]
            if isinstance(rows, slice) or stored.chunks is None or stored.chunks[1:] != stored.shape[1:]:
                arrays[key] = np.asarray(stored[rows])
            else:
                arrays[key] = np.concatenate([stored[row : row + 1] for row in rows])
    return arrays


def to_episodes(arrays: Arrays, task: TaskSpec) -> Episodes:
    """Arrays of a file [B, T, ...] -> Episodes; `truncated` is derived, steps not filled become zeros."""
    data = {key: arrays[key].reshape(without_unit_axis(key, arrays[key].shape)) for key in REQUIRED_KEYS}
    filled = data["filled"] > 0
    terminated = (data["terminated"] > 0) & filled
    unmarked = unmarked_timeouts(terminated, filled)
    terminated[unmarked, -2] = True
    acted = np.roll(filled, -1, axis=1)
    acted[:, -1] = False

    def kept(key: str, where: np.ndarray, dtype: type) -> torch.Tensor:
        values: np.ndarray = data[key].astype(dtype, copy=False)
        return torch.from_numpy(np.where(where.reshape(*where.shape, *[1] * (values.ndim - 2)), values, 0))

    episodes = Episodes(
        task=task,
        obs=kept("obs", filled, np.float32),
        state=kept("state", filled, np.float32),
        actions=kept("actions", filled, np.int64),
        avail_actions=torch.from_numpy((data["avail_actions"] > 0) & filled[..., None, None]),
        reward=kept("reward", acted, np.float32),
        terminated=torch.from_numpy(terminated),
        truncated=torch.zeros(terminated.shape, dtype=torch.bool),
        filled=torch.from_numpy(filled),
    )
    timed_out = task.timed_out(episodes) | torch.from_numpy(unmarked)
    episodes.truncated = episodes.terminated & timed_out[:, None]
    return episodes


# Writing


def to_arrays(episodes: Episodes) -> dict[str, np.ndarray]:
    """Episodes -> the arrays of a file, padded to the episode limit + 1, `actions_onehot` derived."""
    task, n_steps = episodes.task, episodes.task.episode_limit_env_steps + 1
    if episodes.n_steps > n_steps:
        raise ValueError(f"{episodes.n_steps} stored steps, but {task.name} has at most {n_steps}")
    host = episodes.to("cpu")
    onehot = torch.nn.functional.one_hot(host.actions, task.layout.n_actions) * host.filled[..., None, None]
    tensors = {
        "actions": host.actions[..., None],
        "actions_onehot": onehot,
        "avail_actions": host.avail_actions,
        "filled": host.filled[..., None],
        "obs": host.obs,
        "reward": host.reward[..., None],
        "state": host.state,
        "terminated": host.terminated[..., None],
    }
    missing = n_steps - episodes.n_steps
    return {
        key: np.pad(tensor.numpy().astype(DTYPES[key]), [(0, 0), (0, missing), *[(0, 0)] * (tensor.ndim - 2)])
        for key, tensor in tensors.items()
    }


def write_part(path: Path, episodes: Episodes, about: Attributes | None = None) -> None:
    """Write one file, checked and all at once: readers see the old file or the whole new one.

    It is made in memory: HDF5 itself may crash the process where a disk is full. about: how the
    episodes came to be, kept as attributes of the file. UserError if the episodes break the rules
    that loading enforces, or if they cannot be written.
    """
    arrays = to_arrays(episodes)
    check_values(arrays, episodes.task, str(path)).raise_first()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs.update({"task": episodes.task.name, **(about or {})})
        for key, array in arrays.items():
            rows = max(1, min(len(array), _CHUNK_BYTES // max(1, array[0].nbytes)))
            chunks = (rows, *array.shape[1:])
            options = {"chunks": chunks, "compression": "gzip", "compression_opts": _GZIP_LEVEL}
            file.create_dataset(key, data=array, **options)
    write_whole(path, content.getvalue())


def write_run(
    folder: Path, episodes: Episodes, part_episodes: int = 2000, about: Attributes | None = None
) -> list[Path]:
    """Write `<dataset>/<task>/<quality>/<run>` as part_0.h5, part_1.h5, ...; returns the files."""
    if part_episodes < 1:
        raise UserError(f"part_episodes is {part_episodes}; give at least 1")
    if find_parts(folder):
        raise UserError(f"{folder} already holds recordings; give another run name")
    starts = range(0, len(episodes), part_episodes)
    paths = [folder / f"part_{number}.h5" for number in range(len(starts))]
    for path, start in zip(paths, starts):
        write_part(path, episodes[start : start + part_episodes], about)
    return paths
