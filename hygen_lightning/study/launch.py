"""Where the cells of a study run: in processes here, or as jobs that `submitit` hands to SLURM."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hygen_lightning.specs import UserError
from hygen_lightning.study.cells import CellRun

Launcher = Literal["local", "slurm"]
State = Literal["waiting", "running", "done", "failed"]


@dataclass
class Watched:
    """A cell and where it stands. code: exit code once it has ended; why: what a failed one said."""

    run: CellRun
    state: State = "waiting"
    why: str = ""
    job: Any = None

    def settle(self, code: int | None) -> None:
        """Note what its process or job ended with; None: it goes on."""
        if code is None:
            self.state = "running"
        elif code == 0 and self.run.finished_run() is not None:
            self.state = "done"
        else:
            self.state, self.why = "failed", self.run.complaint()


@dataclass
class LocalPool:
    """Runs at most `jobs` cells at once in processes of this machine; GPUs are handed out in turn."""

    jobs: int
    gpus: int = 0
    cells: list[Watched] = field(default_factory=list)

    def submit(self, cells: Sequence[Watched]) -> None:
        """Take these cells, in this order."""
        for watched, gpu in zip(cells, itertools.cycle(range(max(self.gpus, 1)))):
            if self.gpus > 1:
                watched.run = replace(watched.run, gpu=gpu)
            self.cells.append(watched)

    def poll(self) -> None:
        """Note what has ended, and start what there is room for."""
        for watched in self.cells:
            if watched.state == "running":
                watched.settle(watched.run.poll())
        room = self.jobs - sum(watched.state == "running" for watched in self.cells)
        for watched in [watched for watched in self.cells if watched.state == "waiting"][: max(room, 0)]:
            watched.settle(watched.run.poll())

    def stop(self) -> None:
        """Let every running cell save and end."""
        for watched in self.cells:
            if watched.run.process is not None and watched.run.process.poll() is None:
                watched.run.process.terminate()
        for watched in self.cells:
            watched.run.stop()


@dataclass
class SubmititPool:
    """Hands all cells to a cluster as one job array, of which at most `jobs` run at once.

    options: of submitit's AutoExecutor, as timeout_min, gpus_per_node, mem_gb or slurm_partition. A job
    whose time is up saves and is requeued. cluster: "slurm"; "local" and "debug" are submitit's stand-ins.
    UserError where the cluster cannot be reached or an option is not known.
    """

    folder: Path
    jobs: int
    options: Mapping[str, Any]
    cluster: str = "slurm"
    cells: list[Watched] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            from submitit import AutoExecutor
        except ImportError as error:
            raise UserError(
                "--launcher slurm needs submitit: pip install 'hygen_lightning[slurm]'"
            ) from error
        with _explained("; --launcher local runs on this machine"):
            self._executor = AutoExecutor(folder=self.folder, cluster=self.cluster)
        with _explained():
            self._executor.update_parameters(
                slurm_array_parallelism=self.jobs, **{"name": "study", **self.options}
            )

    def submit(self, cells: Sequence[Watched]) -> None:
        """Take these cells."""
        with _explained():
            if "cpus_per_task" not in self.options:
                self._executor.update_parameters(cpus_per_task=max(c.run.threads for c in cells))
            jobs = self._executor.submit_array([watched.run for watched in cells])
        for watched, job in zip(cells, jobs, strict=True):
            watched.job = job
        self.cells += cells

    def poll(self) -> None:
        """Note which jobs have ended, and which have begun."""
        for watched in self.cells:
            if watched.state in ("done", "failed"):
                continue
            if watched.job.done():
                failure = watched.job.exception()
                watched.settle(1 if failure is not None else watched.job.result())
                watched.why = watched.why and (watched.why if failure is None else _last_line(failure))
            elif watched.run.progress():
                watched.state = "running"

    def stop(self) -> None:
        """Cancel the jobs; the runs save, and another study goes on with them."""
        for watched in self.cells:
            if not watched.job.done():
                watched.job.cancel()


@contextmanager
def _explained(advice: str = "") -> Iterator[None]:
    """What submitit raises, as one line."""
    try:
        yield
    except (RuntimeError, NameError, TypeError, ValueError, OSError) as error:
        raise UserError(f"--launcher slurm: {' '.join(str(error).split())}{advice}") from error


def _last_line(failure: Exception) -> str:
    return str(failure).strip().split("\n")[-1]


Pool = LocalPool | SubmititPool


def watch(pool: Pool, told: Callable[[Sequence[Watched]], None], every_s: float) -> None:
    """Poll until every cell has ended; `told` is called after each poll. An interrupt stops the cells."""
    import time

    try:
        while True:
            pool.poll()
            told(pool.cells)
            if all(watched.state in ("done", "failed") for watched in pool.cells):
                return
            time.sleep(every_s)
    except BaseException:
        pool.stop()
        raise
