"""A file or a folder of recordings, described and checked: what `inspect` shows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hygen_lightning.data.checks import REQUIRED_KEYS, tasks_that_fit
from hygen_lightning.data.odis import examine_part, find_parts, read_attributes, read_header
from hygen_lightning.data.summary import Summary
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks import load_task

NO_QUALITY = "unsorted"
"""Stands for the quality of files that no folder `<task>/<quality>` holds."""


def examine(path: Path, task: str | None = None) -> dict[str, Any]:
    """{"ok": bool, "problems": [str], "tasks": {task: {"qualities": {quality: statistics}}}}.

    UserError if there is nothing at `path`, or the task is unknown.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a recorded file or a folder of them")
    if task is not None:
        load_task(task)
    parts = find_parts(path) if path.is_dir() else [path]
    if not parts:
        raise UserError(f"{path} holds no .h5 files; give a folder of recordings, or record with `collect`")
    problems: list[str] = []
    groups: dict[tuple[str, str], list[Path]] = {}
    for part in parts:
        try:
            groups.setdefault(task_and_quality(part, task), []).append(part)
        except UserError as error:
            problems.append(str(error))
    tasks: dict[str, Any] = {}
    seen: dict[str, set[bytes]] = {}
    for (name, quality), files in groups.items():
        summary, found, about = _summarise(files, load_task(name))
        problems += found
        statistics = {"runs": len({file.parent for file in files}), "parts": len(files), **summary.to_dict()}
        keys, others = set(summary.episode_keys), seen.setdefault(name, set())
        statistics["also_in_other_qualities"] = len(keys & others)
        others |= keys
        tasks.setdefault(name, {"qualities": {}})["qualities"][quality] = {**statistics, "about": about}
    return {"ok": not problems, "problems": problems, "tasks": tasks}


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
    shapes = read_header(part).shapes
    fitting = tasks_that_fit(shapes) if shapes.keys() >= set(REQUIRED_KEYS) else []
    hint = f"its arrays fit {' or '.join(fitting)}" if fitting else "its arrays fit none that is known"
    raise UserError(f"{part}: no folder above it names a task, {hint}; give --task NAME")


def _is_task(name: str) -> bool:
    try:
        load_task(name)
    except UserError:
        return False
    return True


def _summarise(files: Iterable[Path], task: TaskSpec) -> tuple[Summary, list[str], dict[str, list[str]]]:
    """(statistics of the sound episodes, problems, all that the files say of their recording)."""
    summary, problems = Summary(task), list[str]()
    about: dict[str, dict[str, None]] = {}
    for file in files:
        try:
            for key, value in read_attributes(file).items():
                about.setdefault(key, {})[str(value)] = None
            for found, block in examine_part(file, task, with_onehot=True):
                problems += [str(problem) for problem in found]
                if block is not None:
                    summary.add(block)
        except UserError as error:
            problems.append(str(error))
    return summary, problems, {key: list(values) for key, values in about.items()}
