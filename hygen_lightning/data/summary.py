"""What recordings hold, and whether they are sound: what `inspect` shows, and what a run says of its data."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.data.buffers import OfflineEpisodes
from hygen_lightning.data.hdf5 import find_parts, read_blocks, read_header
from hygen_lightning.data.validation import REQUIRED_KEYS, tasks_that_fit
from hygen_lightning.specs import Episodes, TaskSpec, UserError
from hygen_lightning.tasks import load_task

NO_QUALITY = "unsorted"
"""Stands for the quality of files that no folder `<task>/<quality>` holds."""
FEW_WON = 0.05
"""Share of won episodes under which a run warns that there is little success to learn from."""


def lines_about(data: OfflineEpisodes) -> list[str]:
    """What a run says of the recordings that it learns from: one line, then warnings and remarks."""
    s, name = data.statistics, data.name
    rate = "success is not told" if s.win_rate is None else f"{s.win_rate:.1%} won"
    lines = [
        f"{name}: {s.episodes} recorded episodes, {rate}, return {s.mean_return:.2f} on average, "
        f"{s.best_return:.2f} at best; recorded by {s.source}"
    ]
    if s.win_rate is not None and s.win_rate < FEW_WON:
        lines.append(
            f"warning: {name}: {s.win_rate:.1%} of the recorded episodes are won: little to learn from"
        )
    if s.episodes < data.asked:
        lines.append(
            f"warning: {name}: {s.episodes} episodes are recorded, of {data.asked} that were asked for"
        )
    return lines + [f"{name}: {n} episodes: {what}" for what, n in data.accepted.items()]


def examine(path: Path, task: TaskSpec | None = None) -> dict[str, Any]:
    """Problems and statistics of the recordings at `path`, a file or a folder, in plain Python values.

    "ok": bool. "problems": lines. "accepted": what was put right -> in how many episodes. "tasks":
    {task: {"qualities": {quality: statistics}}}. UserError if there is nothing at `path`.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a recorded file or a folder of them")
    parts = find_parts(path) if path.is_dir() else [path]
    if not parts:
        raise UserError(f"{path} holds no .h5 files; give a folder of recordings, or record with `collect`")
    problems: list[str] = []
    groups: dict[tuple[str, str], list[Path]] = {}
    for part in parts:
        try:
            groups.setdefault(task_and_quality(part, task.name if task else None), []).append(part)
        except UserError as error:
            problems.append(str(error))
    tasks: dict[str, Any] = {}
    seen: dict[str, set[bytes]] = {}
    accepted: Counter[str] = Counter()
    for (name, quality), files in groups.items():
        summary = Summary(task or load_task(name))
        problems += summary.read(files)
        accepted += summary.accepted
        keys, others = set(summary.episode_keys), seen.setdefault(name, set())
        statistics = {
            "runs": len({file.parent for file in files}),
            "parts": len(files),
            **summary.to_dict(),
            "also_in_other_qualities": len(keys & others),
        }
        others |= keys
        tasks.setdefault(name, {"qualities": {}})["qualities"][quality] = statistics
    return {"ok": not problems, "problems": problems, "accepted": dict(accepted), "tasks": tasks}


def task_and_quality(part: Path, task: str | None = None) -> tuple[str, str]:
    """(task, quality) that a file's path `<task>/<quality>/<run>/part_0.h5` names.

    task: what the user says it is. UserError if neither they nor the path says it.
    """
    *folders, _ = Path(os.path.abspath(part)).parts
    for index in reversed(range(len(folders))):
        if folders[index] == task or (task is None and _is_task(folders[index])):
            return folders[index], "".join(folders[index + 1 : index + 2]) or NO_QUALITY
    if task is not None:
        return task, NO_QUALITY
    shapes, _, about = read_header(part)
    if about.get("environment") is not None and about.get("task") is not None:
        raise UserError(
            f"{part}: was recorded on {about['task']} in the environment {about['environment']}, which is "
            f"not known here; give --env {about['environment']}, or --task with a task file"
        )
    fitting = tasks_that_fit(shapes) if shapes.keys() >= set(REQUIRED_KEYS) else []
    hint = f"its arrays fit {' or '.join(fitting)}" if fitting else "its arrays fit none that is known"
    raise UserError(f"{part}: no folder above it names a task, {hint}; give --task NAME, or a task file")


def _is_task(name: str) -> bool:
    try:
        load_task(name)
    except UserError:
        return False
    return True


class Summary:
    """Statistics of the episodes of one task and quality, gathered block by block."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self.episode_keys: Counter[bytes] = Counter()
        """How often each different episode occurs."""
        self.accepted: Counter[str] = Counter()
        """What was put right on reading -> in how many episodes."""
        self.about: dict[str, dict[str, None]] = {}
        """All that the files say of their recording."""
        self._returns: list[Tensor] = []
        self._lengths: list[Tensor] = []
        self._outcomes: Counter[str] = Counter()
        self._wins, self._tells_success = 0, True
        self._actions = torch.zeros(task.layout.n_actions, dtype=torch.int64)
        self._obs = _FeatureRange(task.layout.obs_feature_names(task.enemy_name))
        self._state = _FeatureRange(task.layout.state_feature_names(task.enemy_name))

    def read(self, files: Iterable[Path]) -> list[str]:
        """Add the sound episodes of these files; returns the problems of the others."""
        problems: list[str] = []
        for file in files:
            try:
                problems.extend(self._problems_of(file))  # keeps those before an error
            except UserError as error:
                problems.append(str(error))
        return problems

    def _problems_of(self, file: Path) -> Iterator[str]:
        """Add the sound episodes of this file; UserError where it cannot be read on."""
        for key, value in read_header(file).about.items():
            self.about.setdefault(key, {})[str(value)] = None
        for found, block in read_blocks(file, self.task, with_onehot=True):
            yield from map(str, found.problems)
            self.accepted += found.accepted
            if block is not None:
                self.add(block)

    def add(self, block: Episodes) -> None:
        """Add episodes [B, T, ...] that passed the checks."""
        self.episode_keys.update(_episode_keys(block))
        self._returns.append((block.reward.double() * block.mask).sum(dim=1))
        self._lengths.append(block.length)
        self._outcomes.update({kind: int(which.sum()) for kind, which in self.task.outcomes(block).items()})
        wins = self.task.success(block)
        self._wins += 0 if wins is None else int(wins.sum())
        self._tells_success = wins is not None
        taken = block.actions[block.mask].flatten()
        self._actions += torch.bincount(taken, minlength=len(self._actions))
        self._obs.add(block.obs[block.filled].flatten(0, 1))
        self._state.add(block.state[block.filled])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON. Lengths count stored steps, `steps` those that were played."""
        about = {key: list(values) for key, values in self.about.items()}
        if not self._lengths:
            return {"episodes": 0, "about": about}
        lengths, returns = torch.cat(self._lengths), torch.cat(self._returns)
        return {
            "episodes": len(lengths),
            "steps": int((lengths - 1).sum()),
            "return": _range_of(returns),
            "length": _range_of(lengths),
            "win_rate": self._wins / len(lengths) if self._tells_success else None,
            "outcomes": dict(self._outcomes),
            "duplicates": len(lengths) - len(self.episode_keys),
            "actions": dict(zip(self.task.layout.action_names(self.task.enemy_name), self._actions.tolist())),
            "features": {"obs": self._obs.to_dict(), "state": self._state.to_dict()},
            "about": about,
        }


class _FeatureRange:
    """Least, mean and greatest value of each named number."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.count = names, 0
        self.total = torch.zeros(len(names), dtype=torch.float64)
        self.least = torch.full((len(names),), torch.inf)
        self.greatest = torch.full((len(names),), -torch.inf)

    def add(self, values: Tensor) -> None:
        """values [N, features]."""
        self.count += len(values)
        self.total += values.sum(dim=0, dtype=torch.float64)
        self.least = torch.minimum(self.least, values.amin(dim=0))
        self.greatest = torch.maximum(self.greatest, values.amax(dim=0))

    def to_dict(self) -> dict[str, dict[str, float]]:
        columns = zip(self.least.tolist(), (self.total / self.count).tolist(), self.greatest.tolist())
        return {
            name: {"min": least, "mean": mean, "max": greatest}
            for name, (least, mean, greatest) in zip(self.names, columns)
        }


def _range_of(values: Tensor) -> dict[str, float]:
    exact = values.double()
    return {"mean": float(exact.mean()), "min": float(exact.min()), "max": float(exact.max())}


def _episode_keys(block: Episodes) -> Iterator[bytes]:
    """One digest per episode: equal episodes have equal ones."""
    arrays = [x.numpy() for x in (block.obs, block.state, block.actions, block.reward, block.filled)]
    for row in range(len(block)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(array[row].tobytes())
        yield digest.digest()
