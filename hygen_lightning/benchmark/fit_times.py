"""How long the parts of a `fit` take, and when its optimiser steps ended."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.utilities import rank_zero_only

from hygen_lightning.benchmark.timing import peak_bytes, wait_for

STEP = "run_training_batch"
"""End of the name of Lightning's action for one optimiser step."""


class FitTimes(SimpleProfiler):
    """Lightning's profiler, writing rank 0's numbers to a file instead of a table to the terminal.

    A GPU is waited for when a part begins and ends, so that each part bears its own work.

    Args:
        path: JSON file, {"seconds": {action: [duration in seconds, one per call]}, "ends": [[wall
            clock, CPU time of the process] at the end of each optimiser step, in seconds], "peak_bytes"}
        own_core: whether each process keeps to a core of its own
    """

    def __init__(self, path: str, own_core: bool = False) -> None:
        super().__init__()
        self.path, self.own_core = Path(path), own_core
        self.ends: list[tuple[float, float]] = []

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        if self.own_core and hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            if len(cores) > 1:
                os.sched_setaffinity(0, {cores[(local_rank or 0) % len(cores)]})

    def start(self, action_name: str) -> None:
        _wait_for_gpu()
        super().start(action_name)

    def stop(self, action_name: str) -> None:
        _wait_for_gpu()
        super().stop(action_name)
        if action_name.endswith(STEP):
            self.ends.append((time.perf_counter(), time.process_time()))

    @rank_zero_only
    def describe(self) -> None:
        """Lightning calls it after fit, and again after the final test, in every process."""
        numbers = {"seconds": self.recorded_durations, "ends": self.ends, "peak_bytes": peak_bytes()}
        self.path.write_text(json.dumps(numbers))

    def teardown(self, stage: str | None) -> None:
        """Nothing to close."""


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        wait_for("cuda")


def calls(seconds: dict[str, list[float]], *ends: str) -> list[float]:
    """Durations of the actions whose name ends so, call by call; [] if there is none."""
    found: list[Any] = [times for action, times in seconds.items() if action.endswith(ends)]
    return [sum(times) for times in zip(*found, strict=False)] if found else []
