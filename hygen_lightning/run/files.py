"""What a run leaves behind: config.yaml, metrics.csv, results.json, a learning curve, a battle."""

from __future__ import annotations

import csv
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from hygen_lightning import __version__
from hygen_lightning.data.files import replacing
from hygen_lightning.envs import environment_class

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.rollouts.evaluation import BattleRecord

PACKAGES = ("torch", "lightning", "numpy", "jsonargparse")
"""Packages whose versions are written into every result."""


class ResumableCSVLogger(CSVLogger):
    """metrics.csv that a resumed run goes on with: rows of the time before it stay.

    `keep_steps`: rows of the folder's metrics.csv up to this optimiser step are kept, so that what
    was logged after the checkpoint is not there twice.
    """

    def __init__(self, folder: Path, keep_steps: int | None = None) -> None:
        super().__init__(str(folder), name="", version="", flush_logs_every_n_steps=50)
        self._kept = _rows_before(folder / "metrics.csv", keep_steps) if keep_steps is not None else []

    @property
    def experiment(self) -> Any:
        fresh = self._experiment is None
        writer = super().experiment
        if fresh and self._kept:
            writer.metrics = [*self._kept, *writer.metrics]
            self._kept = []
        return writer


def _rows_before(path: Path, step: int) -> list[dict[str, Any]]:
    """Rows that were written before the checkpoint of this step, empty cells left out."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if v != ""} for row in rows if _is_before(row, step)]


def _is_before(row: dict[str, str], step: int) -> bool:
    """Rollouts of a step come before its checkpoint, its losses after it."""
    at = int(float(row["step"]))
    return at < step or (at == step and any(k.startswith("rollout/") and v != "" for k, v in row.items()))


class RunFiles(Callback):
    """Announces the stages and writes what a run leaves in its folder.

    Args:
        curve: draw learning_curves.png at the end of fit
        battle_gif: draw battle.gif of one unseen battle at the end of fit
    """

    def __init__(self, curve: bool = True, battle_gif: bool = True) -> None:
        self.curve, self.battle_gif = curve, battle_gif
        self._stage = ""
        self._started = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, *_: Any) -> None:
        if pl_module.stage_name() != self._stage:
            self._stage = pl_module.stage_name()
            if trainer.is_global_zero:
                print(f"step {trainer.global_step}: {self._stage}", flush=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def run_facts(trainer: Trainer, pl_module: MultiTaskAlgorithm, env: str, seconds: float) -> dict[str, Any]:
    """Where results come from: versions, seed, data, environment, duration in seconds."""
    data = trainer.datamodule
    return {
        "algorithm": type(pl_module).__name__,
        "seed": data.seed,
        "optimiser_steps": trainer.global_step,
        "duration_s": round(seconds, 1),
        "environment": {"name": env, "version": environment_class(env).version},
        "data": {"quality": data.quality, "dataset_dir": data.dataset_dir},
        "train_tasks": [task.name for task in data.train_tasks],
        "versions": {"hygen_lightning": __version__, **{name: version(name) for name in PACKAGES}},
        "python": platform.python_version(),
    }


def write_run_results(
    folder: Path, records: list[BattleRecord], seen: set[str], facts: dict[str, Any]
) -> None:
    """results.json and the table on the terminal."""
    from hygen_lightning.report.results import task_results, write_results
    from hygen_lightning.report.tables import print_results

    results = task_results(records, seen)
    write_results(folder / "results.json", results, facts)
    print_results(results)
