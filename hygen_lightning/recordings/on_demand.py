"""Recordings that `fit` makes by itself where none are given: by scripted policies, or by teachers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hygen_lightning.data.files import write_whole
from hygen_lightning.recordings.qualities import RANDOM, named_qualities
from hygen_lightning.recordings.recipe import digest, task_digest
from hygen_lightning.recordings.run_folder import facts_of
from hygen_lightning.rollouts.recording import (
    cache_dir,
    cache_name,
    scripted_recordings,
    scripted_team,
    scripted_win_rate,
)
from hygen_lightning.specs import TaskSpec, UserError

RUN = "collected"
LEAST_WON = 0.25
"""Share (0..1) of battles that scripted policies must win to stand in for a teacher."""
_PROBE_BATTLES = 64
_OF_SEVERAL_PROCESSES = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_", "SLURM_")
_OF_THIS_RUN = ("TORCHELASTIC_", "PL_", "HYGEN_LIGHTNING_")
"""Beginnings of environment variables that would make `collect` a part of this run."""


@dataclass(frozen=True)
class Wanted:
    """Recordings that are wanted of every task."""

    quality: str
    episodes: int
    env: str


def recordings_for(
    tasks: Sequence[TaskSpec], sources: Mapping[str, str], wanted: Wanted, teachers: str
) -> Path:
    """A dataset folder in the cache with recordings of every task, made on first use.

    sources: task -> what `load_task` finds it by. teachers: "scripted", "trained", or "auto": a
    teacher where scripted policies win too seldom. One process of a machine makes them, the others
    wait for it.
    """
    scripted = [task for task in tasks if _is_scripted(task, wanted, teachers)]
    if len(scripted) == len(tasks):
        return scripted_recordings(tasks, wanted.quality, wanted.episodes, wanted.env)
    root = cache_dir() / cache_name(wanted.env, f"{teachers}-teachers", wanted.episodes)
    if scripted:
        scripted_recordings(scripted, wanted.quality, wanted.episodes, wanted.env, root)
    left = [task for task in tasks if task not in scripted and not _is_recorded(root, task, wanted.quality)]
    if left:
        names = ", ".join(task.name for task in left)
        print(f"{names}: {wanted.quality} recordings are made, once, and kept in {root}", flush=True)
        _collect([sources[task.name] for task in left], root, wanted)
    return root


def _is_scripted(task: TaskSpec, wanted: Wanted, teachers: str) -> bool:
    """Whether scripted policies play the recordings of a task."""
    if wanted.quality == RANDOM or teachers != "auto":
        return wanted.quality != RANDOM and teachers == "scripted"
    return _win_rate(task, wanted) >= LEAST_WON


def _win_rate(task: TaskSpec, wanted: Wanted) -> float:
    """Of the best scripted policy; measured once, then read from the cache."""
    team = scripted_team(task, wanted.quality, wanted.env)
    key = digest(task_digest(task), team.label, team.env)
    path = cache_dir() / cache_name(wanted.env, "win-rates", _PROBE_BATTLES) / f"{task.name}-{key}.json"
    if path.is_file():
        return float(json.loads(path.read_text(encoding="utf-8")))
    rate = scripted_win_rate(task, wanted.quality, wanted.env, _PROBE_BATTLES)
    write_whole(path, json.dumps(rate).encode())
    if rate < LEAST_WON:
        print(
            f"{task.name}: scripted policies win {rate:.0%} of {_PROBE_BATTLES} battles, too few to learn "
            "from (--run.teachers scripted takes them all the same)",
            flush=True,
        )
    return rate


def _is_recorded(root: Path, task: TaskSpec, quality: str) -> bool:
    folders = [root / task.name / part / RUN for part in named_qualities(quality)]
    return all(facts_of(folder).get("complete") for folder in folders)


def _collect(sources: Sequence[str], root: Path, wanted: Wanted) -> None:
    """`collect` in a process of its own: it seeds, trains and may be one of many otherwise."""
    options = {
        "--dataset_dir": root,
        "--teacher_dir": cache_dir() / "teachers",
        "--quality": wanted.quality,
        "--episodes": wanted.episodes,
        "--run": RUN,
        "--env": wanted.env,
    }
    words = [f"{name}={value}" for name, value in options.items()]
    foreign = _OF_SEVERAL_PROCESSES + _OF_THIS_RUN
    process = subprocess.Popen(
        [sys.executable, "-m", "hygen_lightning", "collect", *sources, *words],
        env={name: value for name, value in os.environ.items() if not name.startswith(foreign)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate()
    except KeyboardInterrupt:
        process.wait()  # the terminal has told it too; it saves and ends
        raise
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode:
        reason = (said.strip() or f"it ended with code {process.returncode}").splitlines()[-1]
        raise UserError(reason.removeprefix("hygen_lightning collect: "))
