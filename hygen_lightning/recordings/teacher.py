"""A teacher: an ordinary run of `fit` with a trail of checkpoints, found again or gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hygen_lightning.checkpoint import load_policy
from hygen_lightning.envs import environment_class, make_env
from hygen_lightning.recordings.qualities import Point, chosen
from hygen_lightning.recordings.recipe import Recipe, digest, task_digest
from hygen_lightning.recordings.trail import Trail, trail_points
from hygen_lightning.rollouts.recording import smoothed_win_rate
from hygen_lightning.seeding import stream_seed
from hygen_lightning.specs import RunError, TaskSpec

FOLDER = "teachers"
"""Beside the recordings, unless it is said where: teachers/<task>/<name>/<run>."""

TRAIN_S_PER_UNIT_STEP = 6e-5
"""Seconds of one core for one environment step of training, by units of both sides; the trail included."""


@dataclass
class Teacher:
    """Teacher `number` (from 1) of a task, in `root`/<task>/<name>; the name stands for all it depends on.

    source: what `load_task` finds the task by. seed: of teacher 1; every other has its own.
    max_steps: optimiser steps, instead of the recipe's.
    """

    recipe: Recipe
    task: TaskSpec
    source: str
    number: int
    seed: int
    env: str
    root: Path
    max_steps: int
    _measured: dict[Path, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Another one for other options, another task, seed or environment."""
        kind = environment_class(self.env)
        r = self.recipe
        way = (r.points, r.point_battles, r.choice_battles, r.stop_at)
        env = (kind.name, kind.version, task_digest(self.task))
        return digest(self.options, self.max_steps, self._seed, way, env)[:8]

    @property
    def seconds(self) -> float:
        """A guess at how long the training takes, on one core."""
        units = self.task.n_allies + self.task.n_enemies
        return self.max_steps * self.recipe.env_steps_per_step * units * TRAIN_S_PER_UNIT_STEP

    @property
    def _seed(self) -> int:
        return (self.seed + self.number - 1) % 2**32

    @property
    def _folder(self) -> Path:
        return self.root / self.task.name / self.name

    def run_folder(self) -> Path | None:
        """The newest run of this teacher that can be used or gone on with; None before the first."""
        runs = sorted(self._folder.glob("*"), key=lambda path: path.name, reverse=True)
        return next((run for run in runs if _last(run).is_file() or self._is_done(run)), None)

    @property
    def trained(self) -> bool:
        """Whether nothing is left to train."""
        run = self.run_folder()
        return run is not None and self._is_done(run)

    def _is_done(self, run: Path) -> bool:
        points = trail_points(run, self.task.name)
        return bool(points) and (
            points[-1].step >= self.max_steps or points[-1].win_rate >= self.recipe.stop_at
        )

    def train(self) -> None:
        """Train to the end, or go on from where a run was stopped; nothing where it is done.

        UserError for options that `fit` refuses; SystemExit with the signal's code where it was asked
        to stop, with everything saved.
        """
        from hygen_lightning.trainer_cli import run_trainer_command

        run = self.run_folder()
        if run is not None and self._is_done(run):
            return
        for other in self._folder.glob("*"):  # killed before it had saved anything
            if other != run:
                shutil.rmtree(other)
        words = [] if run is None else ["--ckpt_path", str(_last(run))]
        code = run_trainer_command(["fit", *self._words(), *words])
        if code or not self.trained:
            raise RunError(f"the teacher of {self.task.name} ended before its last step; see {self._folder}")

    def _words(self) -> list[str]:
        """The command line of `fit`."""
        every = max(1, self.max_steps // self.recipe.points)
        trail = {"every_n_steps": every, "battles": self.recipe.point_battles, "stop_at": self.recipe.stop_at}
        fixed = {
            "--data.train_tasks": f"[{self.source}]",
            "--data.eval_tasks": f"[{self.source}]",
            "--rollouts.env": self.env,
            "--seed_everything": str(self._seed),
            "--run.root": str(self.root),
            "--run.name": f"{self.task.name}/{self.name}",
            "--trainer.max_steps": str(self.max_steps),
            "--trainer.callbacks+": f"{Trail.__module__}.{Trail.__qualname__}",
            **{f"--trainer.callbacks.init_args.{key}": str(value) for key, value in trail.items()},
        }
        return [f"{name}={value}" for name, value in {**self.options, **fixed}.items()]

    @property
    def options(self) -> dict[str, str]:
        """Its own options of `fit`."""
        return self.recipe.options(self.number)

    def points_of(self, quality: str) -> list[Point]:
        """The checkpoints that play a quality; UnreachedError where the teacher has none."""
        run = self.run_folder()
        points = [] if run is None else trail_points(run, self.task.name)
        return chosen(quality, self.task.name, points, self._win_rate, self.recipe.bounds)

    def _win_rate(self, point: Point) -> float:
        """Of the recipe's choice_battles, played once."""
        if point.path not in self._measured:
            battles = self.recipe.choice_battles
            seed = stream_seed(self._seed, "choice", self.task.name, point.step)
            env = make_env(self.env, self.task, battles)
            self._measured[point.path] = smoothed_win_rate(
                load_policy(point.path, self.task), env, battles, seed
            )
            env.close()
        return self._measured[point.path]


def _last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


@contextmanager
def told_how_to_go_on() -> Iterator[None]:
    """One line after `fit` was asked to stop: its own names an option that `collect` does not have."""
    try:
        yield
    except SystemExit as stop:
        if stop.code:
            print("collect: the same command goes on from there", flush=True)
        raise
