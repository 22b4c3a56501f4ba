"""What a run leaves behind: config.yaml, metrics.csv, results.json, a learning curve, a battle."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from hygen_lightning import __version__
from hygen_lightning.envs import environment_class
from hygen_lightning.report.results import write_atomically
from hygen_lightning.run.metrics_table import METRICS_FILE, MetricsTable

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.rollouts.evaluation import BattleRecord

PACKAGES = ("torch", "lightning", "numpy", "jsonargparse")
"""Packages whose versions are written into every result."""


class ResumableCSVLogger(CSVLogger):
    """metrics.csv in the run's folder; a resumed run appends to the rows that are there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), name="", version="", flush_logs_every_n_steps=50)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = MetricsTable(Path(self.log_dir) / METRICS_FILE)
        return self._experiment


class RunFiles(Callback):
    """Announces the run's folder and its stages, and writes what it leaves there.

    Args:
        curve: draw learning_curves.png at the end of fit
        battle_gif: draw battle.gif of one unseen battle at the end of fit
    """

    def __init__(self, curve: bool = True, battle_gif: bool = True) -> None:
        self.curve, self.battle_gif = curve, battle_gif
        self.config_yaml: str | None = None
        """All options of the run, for config.yaml."""
        self._stage = ""

    def on_train_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        """Now that data and checkpoint are good: a failed start leaves no trace."""
        if trainer.is_global_zero and self.config_yaml is not None:
            folder = Path(trainer.default_root_dir)
            print(f"run folder: {folder}", flush=True)
            write_atomically(folder / "config.yaml", self.config_yaml)

    def on_train_batch_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, *_: Any) -> None:
        # A metric belongs to the steps that measured it; Lightning would log its last value for ever.
        trainer.fit_loop.epoch_loop._results.clear()
        if pl_module.stage_name() != self._stage:
            self._stage = pl_module.stage_name()
            if trainer.is_global_zero:
                print(f"step {trainer.global_step}: {self._stage}", flush=True)


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
    folder: Path, records: list[BattleRecord], seen: set[str], extra: set[str], facts: dict[str, Any]
) -> None:
    """results.json and the table on the terminal."""
    from hygen_lightning.report.results import task_results, write_results
    from hygen_lightning.report.tables import print_results

    results = task_results(records, seen, extra)
    write_results(folder / "results.json", results, facts)
    print_results(results)
