"""One run: its folder `runs/<name>/<time>-s<seed>/`, what it says, how it ended, what it leaves there."""

from __future__ import annotations

import errno
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer

from hygen_lightning import __version__
from hygen_lightning.checkpoint import WHAT_TO_GIVE
from hygen_lightning.data.files import check_place
from hygen_lightning.data.tables import read_rows
from hygen_lightning.envs import environment_class
from hygen_lightning.report.results import (
    RESULTS_FILE,
    read_results,
    task_results,
    write_atomically,
    write_results,
)
from hygen_lightning.report.runs import PROGRESS
from hygen_lightning.run.logger import METRICS_FILE
from hygen_lightning.specs import UserError, check_is_file

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.rollouts.evaluation import BattleRecord

PACKAGES = ("torch", "lightning", "numpy", "jsonargparse")
"""Packages whose versions are written into every result."""
LOCK_FILE = ".lock"
"""In a run's folder: locked by the process that trains it."""
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""What a file system says that has no locks."""
_RUN_DIR_VARIABLE = "HYGEN_LIGHTNING_RUN_DIR"
"""Tells the other processes of one multi-process run which folder the first one chose."""


# The folder


def is_first_process() -> bool:
    """Whether this is the first process of its run, started by Lightning, torchrun or srun."""
    ranks = ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


@contextmanager
def new_run_dir(root: str, name: str, seed: int) -> Iterator[Path]:
    """A new folder that no other run has, even one that begins in the same second; taken away if it is left
    empty. All processes of one run get the same one."""
    stem = Path(root) / name / f"{time.strftime('%Y%m%d-%H%M%S')}-s{seed}"
    if not is_first_process():
        yield Path(os.environ.get(_RUN_DIR_VARIABLE) or stem)
        return
    check_place(stem)
    new = [folder for folder in stem.parents if not folder.exists()]
    stem.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    os.environ[_RUN_DIR_VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        with suppress(OSError):  # the first one that is not empty ends it
            for made in (folder, *new):
                made.rmdir()


def last_checkpoint(root: str, name: str, seed: int) -> Path | None:
    """`last.ckpt` of the newest unfinished run of this name and seed; None if there is none."""
    for run in runs_of(root, name, seed):
        checkpoint = checkpoint_of(run)
        if checkpoint.is_file() and not is_finished(run):
            return checkpoint
    return None


def checkpoint_of(run: Path) -> Path:
    """Where a run keeps its `last.ckpt`."""
    return run / "checkpoints" / "last.ckpt"


def runs_of(root: str | Path, name: str, seed: int) -> list[Path]:
    """Run folders of this name and seed, the newest first."""
    exactly = re.compile(rf".*-s{seed}(-\d+)?")
    found = [run for run in (Path(root) / name).glob(f"*-s{seed}*") if exactly.fullmatch(run.name)]
    return sorted(found, key=lambda run: run.name, reverse=True)


def is_finished(run: Path) -> bool:
    """Whether a run did all its steps: its results can be read and do not say otherwise."""
    try:
        return bool(read_results(run / RESULTS_FILE).get("finished", True))
    except (OSError, UserError):
        return False


def run_dir_of(checkpoint: Path) -> Path:
    """The run folder that a checkpoint lies in (`<run>/checkpoints/<file>`).

    UserError for a copy elsewhere: a run that goes on writes to its folder.
    """
    check_is_file(checkpoint, WHAT_TO_GIVE)
    place = checkpoint.resolve().parent
    if place.name != checkpoint_of(place).parent.name:
        raise UserError(
            f"{checkpoint} lies outside a run; to go on from it, put it back into <run>/checkpoints, "
            "with the folder ranks that lay beside it"
        )
    check_place(place)
    return place.parent


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; UserError while another one holds it.

    The folder is created. UserError too where it cannot be written to. Where its file system has no locks,
    nobody is kept away, or filelock leaves a marker instead, which a run that dies on another machine leaves
    behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{folder}: another process trains this run; wait for its end, or stop it") from error
    except (NotImplementedError, OSError) as error:  # the first is an older filelock's word for no locks
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise UserError(
                f"{folder / LOCK_FILE} cannot be locked: {error.strerror}; make it writable, or copy the run"
            ) from error
    try:
        yield
    finally:
        lock.release()


# What it says


class RunFiles(Callback):
    """Announces the run's folder and its stages, and keeps its options in config.yaml.

    Args:
        curve: draw learning_curves.png at the end of fit
        battle_gif: draw battle.gif of one unseen battle at the end of fit
        skills: play a few battles with each skill of HyGen at the end of fit; skills.json, skills.png
    """

    def __init__(self, curve: bool = True, battle_gif: bool = True, skills: bool = True) -> None:
        self.curve, self.battle_gif, self.skills = curve, battle_gif, skills
        self.config_yaml: str | None = None
        """All options of the run, for config.yaml."""
        self.held = ExitStack()
        """Whoever opened it lets go of the run's folder."""
        self._stage = ""

    def on_train_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        """Now that data and checkpoint are good: a failed start leaves no trace."""
        if trainer.is_global_zero and self.config_yaml is not None:
            folder = Path(trainer.default_root_dir)
            if trainer.ckpt_path is None:  # a run that goes on was claimed before its checkpoint was read
                self.held.enter_context(claimed(folder))
            print(f"run folder: {folder}", flush=True)
            write_atomically(folder / "config.yaml", self.config_yaml)

    def on_train_batch_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, *_: Any) -> None:
        if pl_module.stage_name() != self._stage:
            self._stage = pl_module.stage_name()
            if trainer.is_global_zero:
                print(f"step {trainer.global_step}: {self._stage}", flush=True)


# How it ended, and what it leaves


def early_end(trainer: Trainer, saved_step: int) -> str | None:
    """Why training ended before all its steps were done and saved; None if they are.

    saved_step: the optimiser step of last.ckpt; -1 where there is none.
    """
    step, steps = trainer.global_step, trainer.max_steps
    out_of_time = any(isinstance(c, Timer) and (c.time_remaining() or 0) <= 0 for c in trainer.callbacks)
    if step < steps or (steps == -1 and not out_of_time):
        return f"stopped at step {step} of {steps}, because {_reason(trainer, out_of_time)}"
    if saved_step < 0:
        return f"all {step} steps are done, but no checkpoint could be written"
    if saved_step < step:
        return f"all {step} steps are done, but the last checkpoint that was written is of step {saved_step}"
    return None


def _reason(trainer: Trainer, out_of_time: bool) -> str:
    if out_of_time:
        return "trainer.max_time is over"
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            return f"EarlyStopping says: {' '.join(callback.stopping_reason_message.split()).rstrip('.')}"
    epochs = trainer.max_epochs
    if epochs is not None and 0 <= epochs <= trainer.current_epoch:
        return f"trainer.max_epochs is {epochs}"
    return "a callback asked for it"


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
        "commit": commit(),
    }


def spent(folder: Path) -> dict[str, Any]:
    """What a whole run took up to its last evaluation: battles and env_steps learned from, minutes."""
    metrics = folder / METRICS_FILE
    rows = read_rows(metrics, "step") if metrics.is_file() else []
    known = [row for row in rows if all(name in row for name in PROGRESS.values())]
    return {name: round(float(known[-1][metric]), 2) for name, metric in PROGRESS.items() if known}


def commit() -> str | None:
    """The commit of this source tree, with + where files differ from it; None for an installed package."""
    root = Path(__file__).parent.parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_run_results(
    folder: Path, records: list[BattleRecord], seen: set[str], extra: set[str], facts: dict[str, Any]
) -> None:
    """results.json and the table on the terminal."""
    from hygen_lightning.report.tables import print_results

    results = task_results(records, seen, extra)
    write_results(folder / RESULTS_FILE, results, facts)
    print_results(results)
