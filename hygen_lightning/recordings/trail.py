"""The way of a teacher: checkpoints from the first step to the last, each with its win rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from hygen_lightning.data.tables import append_rows, read_rows
from hygen_lightning.recordings.qualities import Point
from hygen_lightning.rollouts.evaluation import BattleEvaluation
from hygen_lightning.rollouts.open_envs import OpenEnvs
from hygen_lightning.rollouts.recording import smoothed_win_rate
from hygen_lightning.seeding import stream_seed
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm

FOLDER, TABLE = "trail", "points.csv"
"""In the run's folder: step<k>.ckpt, and their win rates."""


class Trail(Callback):
    """Keeps the weights every so many steps, with win rates of smoothed play on the training tasks.

    One process. The battles of a step depend on the run's seed and the step only, and disturb no
    generator of the run. The run ends early once all training tasks are won often enough.

    Args:
        every_n_steps: optimiser steps between two checkpoints
        battles: battles of each training task that measure one
        stop_at: win rate (0..1) of every training task at which training ends
    """

    def __init__(self, every_n_steps: int, battles: int = 128, stop_at: float = 1.0) -> None:
        if every_n_steps < 1 or battles < 1 or not 0 <= stop_at <= 1:
            raise UserError(
                f"Trail: every_n_steps {every_n_steps} and battles {battles} count from 1 on, "
                f"stop_at {stop_at} is a share, 0 to 1"
            )
        self.every_n_steps, self.battles, self.stop_at = every_n_steps, battles, stop_at
        self._last_step = -1
        self._envs: OpenEnvs | None = None

    def on_train_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        self._last_step = trainer.global_step
        if trainer.global_step == 0:
            self._keep(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, *_: Any) -> None:
        step, before = trainer.global_step, self._last_step
        self._last_step = step
        if step // self.every_n_steps > before // self.every_n_steps or (step == trainer.max_steps != before):
            self._keep(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, stage: str) -> None:
        if self._envs is not None:
            self._envs.close()

    def _keep(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        """Measure, write the checkpoint, then its row: a row without a checkpoint does not occur."""
        step, run = trainer.global_step, Path(trainer.default_root_dir)
        rates = self._win_rates(trainer, pl_module, step)
        trainer.save_checkpoint(checkpoint_path(run, step), weights_only=True)
        if not getattr(trainer.strategy.checkpoint_io, "written", True):
            raise UserError(f"{run / FOLDER}: a checkpoint could not be written; make room, then go on")
        rows = [{"step": step, "task": task, "win_rate": rate} for task, rate in rates.items()]
        append_rows(run / FOLDER / TABLE, rows)
        told = ", ".join(f"{task} {rate:.3f}" for task, rate in rates.items())
        print(f"step {step}: smoothed win rate {told}", flush=True)
        if min(rates.values()) >= self.stop_at:
            trainer.should_stop = True

    def _win_rates(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, step: int) -> dict[str, float]:
        if self._envs is None:
            self._envs = OpenEnvs(_played_in(trainer))
        data, was_training = trainer.datamodule, pl_module.training
        pl_module.eval()
        rates = {}
        for task in data.train_tasks:
            env = self._envs.of(task, self.battles, pl_module.device)
            seed = stream_seed(data.seed, "trail", task.name, step)
            rates[task.name] = smoothed_win_rate(pl_module, env, self.battles, seed)
        pl_module.train(was_training)
        return rates


def _played_in(trainer: Trainer) -> str:
    """The environment that the run is evaluated in."""
    return next(c.env_name for c in trainer.callbacks if isinstance(c, BattleEvaluation))


def checkpoint_path(run: Path, step: int) -> Path:
    """Where a run keeps its weights of a step."""
    return run / FOLDER / f"step{step}.ckpt"


def trail_points(run: Path, task: str) -> list[Point]:
    """The points of a run for one task, by step; [] where there are none yet."""
    table = run / FOLDER / TABLE
    if not table.is_file():
        return []
    rows = [row for row in read_rows(table, "step", "task") if row["task"] == task]
    points = [
        Point(checkpoint_path(run, int(row["step"])), int(row["step"]), float(row["win_rate"]))
        for row in rows
    ]
    return sorted((point for point in points if point.path.is_file()), key=lambda point: point.step)
