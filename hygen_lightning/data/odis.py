"""The ODIS recordings: `<dataset>/<task>/<quality>/<run>/part_<k>.h5`, read, checked, written.

Each file holds arrays [episodes, episode limit + 1, ...], compressed with gzip. The last filled
step of an episode has the final observation, a chosen action and no reward; nothing follows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from hygen_lightning.data.checks import (
    REQUIRED_KEYS,
    Problem,
    check_header,
    check_values,
    without_unit_axis,
)
from hygen_lightning.data.files import replacing
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
"""Episodes read and checked at a time, which bounds the memory that a check needs."""
_CHUNK_BYTES = 1 << 16
_GZIP_LEVEL = 4

Attributes = Mapping[str, str | int | float]


def find_parts(folder: Path) -> list[Path]:
    """Recorded files below a folder: runs and parts in natural order (part_2 before part_10).

    What lies in hidden folders is unfinished and left out.
    """
    inside = {path: path.relative_to(folder) for path in folder.rglob("*.h5") if path.is_file()}
    visible = [path for path, names in inside.items() if not any(n.startswith(".") for n in names.parts)]
    return sorted(visible, key=lambda path: natural_key(inside[path]))


def natural_key(path: Path) -> list[list[tuple[int, str]]]:
    """Sorts numbers inside names by their value."""
    return [
        [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]
        for name in path.parts
    ]


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


class Header(NamedTuple):
    """Shape and type of each array of a file."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]


def read_header(path: Path) -> Header:
    """The header of a file; UserError where it is missing, foreign, or broken."""
    with _opened(path) as file:
        arrays = {str(key): value for key, value in file.items() if isinstance(value, h5py.Dataset)}
        return Header(
            {key: tuple(value.shape or ()) for key, value in arrays.items()},
            {key: value.dtype for key, value in arrays.items()},
        )


def read_attributes(path: Path) -> dict[str, str | int | float]:
    """How the episodes of a file came to be, as `write_part` noted it; empty for other recordings."""
    with _opened(path) as file:
        values = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()
        }
    return {key: value for key, value in values.items() if isinstance(value, (str, int, float))}


def _read_arrays(path: Path, keys: Iterable[str], rows: slice | np.ndarray) -> dict[str, np.ndarray]:
    """Rows of the arrays of a file, as they are stored."""
    with _opened(path) as file:
        return {key: _read_dataset(file[key], rows) for key in keys}


def _read_dataset(dataset: h5py.Dataset, rows: slice | np.ndarray) -> np.ndarray:
    """One array. Files of `write_part`, with whole episodes in each chunk, are read row by row.

    That is three to four times as fast there as a list of rows; recordings with other chunks are
    read faster by the list.
    """
    chunks = dataset.chunks
    if isinstance(rows, slice) or chunks is None or chunks[1:] != dataset.shape[1:]:
        return np.asarray(dataset[rows])
    return np.concatenate([dataset[row : row + 1] for row in rows])


def count_steps(path: Path, task: TaskSpec) -> int:
    """Filled steps of a file; UserError where its header is not this task's."""
    _, problems = _checked_header(path, task)
    _raise_first(problems)
    return int(np.count_nonzero(_read_arrays(path, ["filled"], slice(None))["filled"]))


def _checked_header(path: Path, task: TaskSpec) -> tuple[Header, list[Problem]]:
    """The header of a file, and what it and the note of the recorder say against its being the task's."""
    header = read_header(path)
    problems = check_header(*header, task, str(path))
    recorded = read_attributes(path).get("task", task.name)
    if not problems and recorded != task.name:
        what, remedy = f"was recorded on {recorded}", f"give the data of {task.name}"
        problems.append(Problem(str(path), "", None, what, remedy))
    return header, problems


def read_rows(path: Path, task: TaskSpec, rows: slice | np.ndarray) -> Episodes:
    """Episodes of a file at these rows (an array: ascending, each once), values unchecked."""
    return to_episodes(_read_arrays(path, REQUIRED_KEYS, rows), task)


def read_blocks(path: Path, task: TaskSpec) -> Iterator[Episodes]:
    """The episodes of a file in blocks, checked; UserError at the first problem."""
    for problems, block in examine_part(path, task):
        _raise_first(problems)
        if block is not None:
            yield block


def examine_part(
    path: Path, task: TaskSpec, with_onehot: bool = False
) -> Iterator[tuple[list[Problem], Episodes | None]]:
    """Problems and episodes of a file, block by block; no episodes where the header is wrong.

    with_onehot: also compare the redundant `actions_onehot`, which nothing reads.
    """
    header, problems = _checked_header(path, task)
    if problems:
        yield problems, None
        return
    redundant = [key for key in ("actions_onehot",) if with_onehot and key in header.shapes]
    for start in range(0, header.shapes["filled"][0], BLOCK_EPISODES):
        rows = slice(start, start + BLOCK_EPISODES)
        arrays = _read_arrays(path, [*REQUIRED_KEYS, *redundant], rows)
        problems = check_values(arrays, task, str(path), first_episode=start)
        yield problems, None if problems else to_episodes(arrays, task)


def read_part(path: Path, task: TaskSpec) -> Episodes:
    """All episodes of one file, checked. UserError names file, array, episode and remedy."""
    return Episodes.cat(list(read_blocks(path, task)))


def read_folder(folder: Path, task: TaskSpec) -> Episodes:
    """All episodes below a run, quality or task folder, checked, in natural order of the files."""
    parts = find_parts(folder)
    if not parts:
        raise UserError(f"{folder}: holds no .h5 files; record some with `collect` or give another folder")
    return Episodes.cat([read_part(path, task) for path in parts])


def to_episodes(arrays: Mapping[str, np.ndarray], task: TaskSpec) -> Episodes:
    """Arrays of a file [B, T, ...] -> Episodes with `truncated` derived; padding becomes zeros."""
    data = {key: arrays[key].reshape(without_unit_axis(key, arrays[key].shape)) for key in REQUIRED_KEYS}
    filled = torch.from_numpy(data["filled"] > 0)
    terminated = torch.from_numpy(data["terminated"] > 0)
    episodes = Episodes(
        task=task,
        obs=torch.from_numpy(data["obs"].astype(np.float32, copy=False)),
        state=torch.from_numpy(data["state"].astype(np.float32, copy=False)),
        actions=torch.from_numpy(data["actions"].astype(np.int64, copy=False)) * filled[..., None],
        avail_actions=torch.from_numpy(data["avail_actions"] > 0),
        reward=torch.from_numpy(data["reward"].astype(np.float32, copy=False)),
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        filled=filled,
    )
    episodes.truncated = terminated & task.timed_out(episodes)[:, None]
    return episodes


def to_arrays(episodes: Episodes, task: TaskSpec) -> dict[str, np.ndarray]:
    """Episodes -> the arrays of a file, padded to the episode limit + 1, `actions_onehot` derived."""
    n_steps = task.episode_limit_env_steps + 1
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


def write_part(path: Path, episodes: Episodes, task: TaskSpec, about: Attributes | None = None) -> None:
    """Write one file, checked and all at once: readers see the old file or the whole new one.

    about: how the episodes came to be, kept as attributes of the file. UserError if the episodes
    break the rules that loading enforces.
    """
    arrays = to_arrays(episodes, task)
    _raise_first(check_values(arrays, task, str(path)))
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"task": task.name, **(about or {})})
        for key, array in arrays.items():
            rows = max(1, min(len(array), _CHUNK_BYTES // max(1, array[0].nbytes)))
            file.create_dataset(
                key,
                data=array,
                chunks=(rows, *array.shape[1:]),
                compression="gzip",
                compression_opts=_GZIP_LEVEL,
            )


def write_run(
    folder: Path,
    episodes: Episodes,
    task: TaskSpec,
    part_episodes: int = 2000,
    about: Attributes | None = None,
) -> list[Path]:
    """Write `<dataset>/<task>/<quality>/<run>` as part_0.h5, part_1.h5, ...; returns the files."""
    if part_episodes < 1:
        raise UserError(f"part_episodes is {part_episodes}; give at least 1")
    if find_parts(folder):
        raise UserError(f"{folder} already holds recordings; give another run name")
    starts = range(0, len(episodes), part_episodes)
    paths = [folder / f"part_{number}.h5" for number in range(len(starts))]
    for path, start in zip(paths, starts):
        write_part(path, episodes[start : start + part_episodes], task, about)
    return paths


def _raise_first(problems: list[Problem]) -> None:
    if problems:
        more = f" ({len(problems) - 1} more kinds of problems: see `inspect`)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")
