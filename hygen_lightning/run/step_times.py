"""When a run's optimiser steps ended: what `benchmark ddp` computes its throughput from."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class StepTimes(Callback):
    """Writes when rank 0 ended its optimiser steps: wall clock and own CPU time, both in seconds.

    Each process keeps to a core of its own.

    Args:
        path: JSON file with a list of [wall clock, CPU time]
    """

    def __init__(self, path: str) -> None:
        self.path, self.moments = Path(path), list[tuple[float, float]]()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[trainer.local_rank % len(cores)]})

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.moments.append((time.perf_counter(), time.process_time()))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.path.write_text(json.dumps(self.moments))
