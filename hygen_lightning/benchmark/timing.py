"""What all benchmarks share: one timer, the memory held, and the check of numbers."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hygen_lightning.specs import UserError


def timed(run: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of one call, all of its work on the device included."""
    wait_for(device)
    start = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: str) -> None:
    """Return when the device has done all that it was asked to do."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(device: str = "cpu") -> int:
    """The most memory held at any time so far, by this process or, on a GPU, by its tensors there.

    Of a process from /proc where there is one: getrusage also counts what a parent process held when
    it started this one.
    """
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def check_above_zero(**options: float | None) -> None:
    """UserError for the first of these options that is given and not above 0."""
    for name, value in options.items():
        if value is not None and value <= 0:
            raise UserError(f"--{name} is {value}; it must be above 0")


def set_threads(threads: int | None) -> int:
    """Let torch use so many CPU threads (None: as many as it takes); how many those are."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()
