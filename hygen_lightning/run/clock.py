"""clock.csv: what had been spent at each evaluation of a run: seconds, battles, environment steps."""

from __future__ import annotations

import time
from pathlib import Path

from hygen_lightning.data.tables import append_rows
from hygen_lightning.report.runs import CLOCK_FILE, read_clock


class RunClock:
    """Goes on where the run was stopped; a file of its own, for two equal runs take unequal time.

    A row: step (optimiser steps), seconds (of training and evaluation, all starts together), battles and
    env_steps (played to learn from, all processes together).
    """

    def __init__(self, folder: Path, step: int) -> None:
        """step: the optimiser step that the run begins at or goes on from."""
        self.path = folder / CLOCK_FILE
        before = [row for row in read_clock(folder) if row["step"] <= step]
        self._before = before[-1]["seconds"] if before else 0.0
        self._begun = time.monotonic()

    def note(self, step: int, battles: int, env_steps: int) -> None:
        """Write a row; of a step, the last one counts."""
        seconds = round(self._before + time.monotonic() - self._begun, 2)
        row = {"step": step, "seconds": seconds, "battles": battles, "env_steps": env_steps}
        append_rows(self.path, [row])
