"""How long the parts of a run take: what `benchmark run` reckons with."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.utilities import rank_zero_only


class PartTimes(SimpleProfiler):
    """Lightning's profiler, writing rank 0's durations to a file instead of a table to the terminal.

    A GPU is waited for when a part begins and ends, so that each part bears its own work.

    Args:
        path: JSON file, {"seconds": {action: [duration in seconds, one per call]}, "peak_bytes"}
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def start(self, action_name: str) -> None:
        _wait_for_gpu()
        super().start(action_name)

    def stop(self, action_name: str) -> None:
        _wait_for_gpu()
        super().stop(action_name)

    @rank_zero_only
    def describe(self) -> None:
        """Lightning calls it after fit, and again after the final test, in every process."""
        self.path.write_text(json.dumps({"seconds": self.recorded_durations, "peak_bytes": peak_bytes()}))

    def teardown(self, stage: str | None) -> None:
        """Nothing to close."""


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """The most memory that this process has held at any time so far.

    From /proc where there is one: getrusage also counts what a parent process held when it
    started this one.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def calls(seconds: dict[str, list[float]], *ends: str) -> list[float]:
    """Durations of the actions whose name ends so, call by call; [] if there is none."""
    found: list[Any] = [times for action, times in seconds.items() if action.endswith(ends)]
    return [sum(times) for times in zip(*found, strict=False)] if found else []
