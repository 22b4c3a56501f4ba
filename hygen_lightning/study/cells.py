"""One cell of a study: whether it is done, how far it is, and the process that trains it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hygen_lightning.data.tables import read_rows
from hygen_lightning.report.results import RESULTS_FILE, read_results
from hygen_lightning.run.run import checkpoint_of, is_finished, runs_of
from hygen_lightning.study.plan import Cell

try:
    import fcntl
except ImportError:  # no such locks on Windows: there, nobody else may work on the same study
    fcntl = None  # type: ignore[assignment]

OF_A_SEED = re.compile(r"(\.s|.*-s)(?P<seed>\d+)(-\d+|\.lock)?")
"""Names of run folders and of locks."""
PATIENCE_S = 60.0
"""How long a run that is told to stop has for its checkpoint."""


@dataclass
class CellRun:
    """Trains a cell in a process of its own, here or as the job of a cluster.

    A file beside the run is locked as long as that process lives, even if whoever started it is gone:
    two processes never train one cell.
    """

    cell: Cell
    root: Path
    threads: int = 1
    gpu: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Holds the runs of all seeds of this name, and their logs."""
        return self.root / self.cell.name

    @property
    def log(self) -> Path:
        """All that the process says."""
        return self.folder / f"s{self.cell.seed}.log"

    def finished_run(self) -> Path | None:
        """The newest run folder of this cell that did all its steps."""
        done = [run for run in runs_of(self.root, self.cell.name, self.cell.seed) if is_finished(run)]
        return done[0] if done else None

    def has_begun(self) -> bool:
        """Whether a process trains it, or has left something to go on from."""
        with self._lock() as lock:
            runs = runs_of(self.root, self.cell.name, self.cell.seed)
            return lock is None or any(checkpoint_of(run).is_file() or is_finished(run) for run in runs)

    def poll(self) -> int | None:
        """None while it runs, here or elsewhere; then its exit code. The first call starts it."""
        if self.process is not None:
            return self.process.poll()
        with self._lock() as lock:
            if self.finished_run() is not None:
                return 0
            if lock is not None:
                self._start(lock)
        return None

    def __call__(self) -> int:
        """Train to the end: what a cluster's job does."""
        code = self.poll()
        while code is None:
            time.sleep(0.5)
            code = self.poll()
        return code

    def stop(self) -> None:
        """Tell it to save and end; wait for that."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
            self.process.kill()
            self.process.wait()

    def checkpoint(self) -> Any:
        """Submitit asks for it when the cluster's time is up: save, and go on in another job."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(CellRun(self.cell, self.root, self.threads, self.gpu))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[IO[bytes] | None]:
        """This cell's lock file, or None while another process holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".s{self.cell.seed}.lock").open("ab") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield None
            else:
                yield file

    def _start(self, lock: IO[bytes]) -> None:
        for run in runs_of(self.root, self.cell.name, self.cell.seed):
            if not checkpoint_of(run).is_file():
                shutil.rmtree(run)  # it was broken before its first checkpoint: nothing to go on from
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        gpus = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": str(self.gpu)}
        inherited = {name: value for name, value in os.environ.items() if name != "HYGEN_LIGHTNING_RUN_DIR"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.cell.command(self.root),
                env={**inherited, **threads, **gpus},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),) if fcntl is not None else (),
                preexec_fn=_leave_requeueing_to_the_job if os.name == "posix" else None,
            )

    def complaint(self) -> str:
        """The last line that the process said."""
        if not self.log.exists():
            return f"it did not start; see {self.log.parent}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def progress(self) -> dict[str, Any]:
        """step, seen and unseen (mean win rates, 0..1, or None) of its newest run; {} before it began."""
        runs = runs_of(self.root, self.cell.name, self.cell.seed)
        if not runs:
            return {}
        done = self.finished_run()
        if done is not None:
            results = read_results(done / RESULTS_FILE)
            means = {kind: results.get(f"mean_{kind}_win_rate") for kind in ("seen", "unseen")}
            return {"step": results.get("optimiser_steps"), **means}
        metrics = runs[0] / "metrics.csv"
        rows = read_rows(metrics, "step") if metrics.is_file() else []
        known: dict[str, Any] = {}
        for row in rows:
            known["step"] = int(float(row["step"]))
            for kind in ("seen", "unseen"):
                if (value := row.get(f"val/mean/{kind}_win_rate")) is not None:
                    known[kind] = float(value)
        return known


def has_begun(root: Path, name: str) -> bool:
    """Whether a cell of this name has begun with any seed, of this study or of an earlier version of it."""
    named = [OF_A_SEED.fullmatch(path.name) for path in (root / name).iterdir()]
    seeds = {int(match["seed"]) for match in named if match}
    return any(CellRun(Cell(name, seed, ()), root).has_begun() for seed in seeds)


def _leave_requeueing_to_the_job() -> None:
    """With this signal submitit's jobs learn that their time is up; the job then stops the run."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
