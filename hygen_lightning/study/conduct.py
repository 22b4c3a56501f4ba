"""A study from its first check to its report."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hygen_lightning.data.files import check_place
from hygen_lightning.specs import UserError
from hygen_lightning.study.cells import CellRun
from hygen_lightning.study.cost import asked_of, check_recordings, keep_asked, tell_cost
from hygen_lightning.study.launch import Launcher, LocalPool, Pool, SubmititPool, Watched, watch
from hygen_lightning.study.plan import Cell
from hygen_lightning.study.table import StudyTable

POLL_S = 0.5


@dataclass(frozen=True)
class Place:
    """Where and how the cells of a study run.

    root: the study's folder. jobs: cells at once, None for as many as the cores (or GPUs) hold. threads: CPU
    threads of each. slurm: options of submitit's AutoExecutor.
    """

    root: Path
    jobs: int | None = None
    threads: int = 1
    launcher: Launcher = "local"
    slurm: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, number in {"jobs": self.jobs, "threads": self.threads}.items():
            if number is not None and number < 1:
                raise UserError(f"--{name} is {number}; give at least 1")
        if self.slurm and self.launcher != "slurm":
            raise UserError("--slurm holds options of the cluster; give --launcher slurm with it")


def conduct(cells: Sequence[Cell], place: Place, cost: bool, quiet: bool) -> dict[str, Any]:
    """Train every cell that is not done; one that fails stops no other. What came of each.

    cost: time each setting first. quiet: say nothing on stdout. KeyboardInterrupt and SIGTERM let the
    running cells save.
    """
    root = place.root.absolute()
    check_place(root / "report")
    asked = asked_of(cells)
    gpus = _gpus()
    jobs = place.jobs or gpus or max((os.cpu_count() or 1) // place.threads, 1)
    every = [Watched(CellRun(cell, root, place.threads)) for cell in cells]
    for watched in every:
        if watched.run.finished_run() is not None:
            watched.state = "done"
    left = [watched for watched in every if watched.state != "done"]
    check_recordings({watched.run.cell.name: asked[watched.run.cell.name] for watched in left})
    keep_asked(asked, root)
    steps = {name: int(options["trainer"]["max_steps"]) for name, options in asked.items()}
    pool: Pool = LocalPool(jobs, gpus)
    if place.launcher == "slurm" and left:
        pool = SubmititPool(root / "slurm", jobs, place.slurm or {})
    with _stopping():
        hours = tell_cost(left, asked, root, jobs, quiet) if cost else None
        with StudyTable(every, steps, quiet) as table:
            if left:
                pool.submit(left)
                watch(pool, lambda _: table.show(), POLL_S)
    runs = [
        {
            "name": watched.run.cell.name,
            "seed": watched.run.cell.seed,
            "state": watched.state,
            "why": watched.why,
            "folder": str(watched.run.finished_run() or ""),
            **watched.run.progress(),
        }
        for watched in every
    ]
    return {"folder": str(root), "hours_expected": hours, "runs": runs}


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


@contextmanager
def _stopping() -> Iterator[None]:
    """Inside, SIGTERM ends the study as Ctrl-C does: the runs save."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
