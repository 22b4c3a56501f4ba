"""From wishes (tasks, qualities, teachers) to run folders: what is missing, what it costs, and the making."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hygen_lightning.checkpoint import load_policy
from hygen_lightning.data.files import check_place
from hygen_lightning.policy import Policy
from hygen_lightning.recordings.qualities import RANDOM, Point, UnreachedError, published_win_rates
from hygen_lightning.recordings.run_folder import Order, Player, RunFolder, weights_digest
from hygen_lightning.recordings.teacher import Teacher, told_how_to_go_on
from hygen_lightning.rollouts.scripted import RandomPolicy
from hygen_lightning.specs import TaskSpec

RECORD_S_PER_UNIT_STEP = 3e-5
"""Seconds of one core for one environment step of recording, by units of both sides."""
BYTES_PER_NUMBER = 0.8
"""On the disk, compressed, of one number of an observation or a state."""
LENGTH_SHARE = 0.45
"""Length of a usual battle, as a share of the episode limit."""


@dataclass(frozen=True)
class Job:
    """One run folder that is wanted, and who makes it: a teacher, or players that are known."""

    run: RunFolder
    teacher: Teacher | None = None
    players: tuple[Player, ...] = ()

    @property
    def label(self) -> str:
        """For people: 3m/expert."""
        return f"{self.run.order.task.name}/{self.run.order.quality}"


def teacher_jobs(
    dataset_dir: Path, teachers: Sequence[Teacher], qualities: Sequence[str], order: Order, run: str
) -> list[Job]:
    """The jobs of one task: every quality by every teacher, each an equal share of the episodes.

    order: its quality, policy and episodes are put in here. run: name of the run folder; of several
    teachers <run>-1, <run>-2, ...
    """
    jobs = []
    for quality in qualities:
        places = 1 if quality == RANDOM else len(teachers)
        for index in range(places):
            name = run if places == 1 else f"{run}-{index + 1}"
            folder = dataset_dir / order.task.name / quality / name
            total = order.episodes
            episodes = (index + 1) * total // places - index * total // places
            wanted = replace(order, quality=quality, episodes=episodes)
            if quality == RANDOM:
                player = Player("random", {}, RandomPolicy)
                jobs.append(
                    Job(RunFolder(folder, replace(wanted, policy="random", epsilon=0.0)), None, (player,))
                )
            else:
                teacher = teachers[index]
                wanted = replace(wanted, policy=f"teacher {teacher.name}")
                jobs.append(Job(RunFolder(folder, wanted), teacher))
    return jobs


def make(jobs: Sequence[Job], tell: Callable[[str], None]) -> list[str]:
    """Make what is missing; returns one line per quality that a teacher does not reach.

    UserError, before anything is played, where a run folder holds something else.
    """
    for job in jobs:
        job.run.check()
    unreached = []
    for job in jobs:
        if job.run.complete:
            tell(f"{job.label}: {job.run.folder} is there already")
            continue
        try:
            players = job.players or _players_of(job, tell)
        except UnreachedError as error:
            unreached.append(str(error))
            tell(str(error))
            continue
        tell(f"{job.label}: recording {job.run.order.episodes} battles of {_names(players)}")
        job.run.record(players)
    return unreached


def _players_of(job: Job, tell: Callable[[str], None]) -> tuple[Player, ...]:
    """Train the teacher of a job, unless it is, and take its checkpoints of the quality."""
    teacher = job.teacher
    assert teacher is not None
    if not teacher.trained:
        tell(f"{job.label}: training teacher {teacher.number}, at most {teacher.max_steps} optimiser steps")
        with told_how_to_go_on():
            teacher.train()
    return tuple(_player(teacher, point) for point in teacher.points_of(job.run.order.quality))


def _player(teacher: Teacher, point: Point) -> Player:
    about = {
        "teacher": teacher.name,
        "number": teacher.number,
        "step": point.step,
        "measured_win_rate": point.win_rate,
        "weights": weights_digest(point.path),
        "options": teacher.options,
    }
    name = f"teacher {teacher.number} ({teacher.name}), step {point.step}"
    return Player(name, about, partial(_loaded, point.path, teacher.task))


def _loaded(path: Path, task: TaskSpec, seed: int) -> Policy:
    return load_policy(path, task)


def _names(players: Sequence[Player]) -> str:
    return players[0].name if len(players) == 1 else f"{players[0].name} to {players[-1].name}"


@contextmanager
def alone(dataset_dir: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Inside, no other process makes recordings in this folder; waits for one that does."""
    lock = FileLock(dataset_dir / ".collect.lock")
    check_place(dataset_dir / "any")
    dataset_dir.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"another process makes recordings in {dataset_dir}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# What it costs


@dataclass(frozen=True)
class Cost:
    """minutes: of one core. n_bytes: on the disk."""

    tasks: int
    battles: int
    teachers: int
    minutes: float
    n_bytes: float

    def line(self, dataset_dir: Path) -> str:
        """For people, before it starts."""
        nearest = next(p for p in (dataset_dir.absolute(), *dataset_dir.absolute().parents) if p.exists())
        free = shutil.disk_usage(nearest).free
        return (
            f"to make: {self.battles} battles of {self.tasks} tasks, {self.teachers} teachers to train; "
            f"about {self.minutes:.0f} minutes of one core and {self.n_bytes / 1e6:.0f} MB of disk "
            f"({free / 1e9:.1f} GB are free)"
        )


def cost(jobs: Sequence[Job]) -> Cost:
    """A guess at what the jobs that are not complete cost."""
    left = [job for job in jobs if not job.run.complete]
    teachers = {job.teacher.name: job.teacher for job in left if job.teacher and not job.teacher.trained}
    seconds = n_bytes = 0.0
    for job in left:
        order, layout = job.run.order, job.run.order.task.layout
        env_steps = order.episodes * order.task.episode_limit_env_steps * LENGTH_SHARE
        units = layout.n_allies + layout.n_enemies
        seconds += env_steps * units * RECORD_S_PER_UNIT_STEP
        n_bytes += env_steps * (layout.n_allies * layout.obs_dim + layout.state_dim) * BYTES_PER_NUMBER
    seconds += sum(teacher.seconds for teacher in teachers.values())
    return Cost(
        tasks=len({job.run.order.task.name for job in left}),
        battles=sum(job.run.order.episodes for job in left),
        teachers=len(teachers),
        minutes=seconds / 60,
        n_bytes=n_bytes,
    )


def figures(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Of every run folder that is complete: what it holds, beside what was published."""
    rows = []
    for job in jobs:
        facts, order = job.run.facts(), job.run.order
        if facts.get("complete"):
            published = published_win_rates().get(order.task.name, {}).get(order.quality)
            row = {"task": order.task.name, "quality": order.quality, "folder": str(job.run.folder)}
            rows.append({**row, **facts["results"], "published_win_rate": published})
    return rows
