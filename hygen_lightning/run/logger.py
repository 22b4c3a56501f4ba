"""metrics.csv: one table per run that only grows, beside whatever other loggers a run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from hygen_lightning.data.tables import Row, append_rows

METRICS_FILE = "metrics.csv"


class MetricsLogger(Logger):
    """Appends to `<folder>/metrics.csv`; `hygen_lightning.data.tables.read_rows(path, "step")` reads it.

    A row holds what was logged together at one `step` (optimiser steps). A run that goes on from a
    checkpoint logs the steps behind it again: of a step, the last cells count.

    Args:
        folder: where metrics.csv lies; made with the first rows
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS_FILE
        self._rows: list[Row] = []
        """Rows that are not written yet."""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @property
    def name(self) -> str:
        """With `save_dir`, where a user's ModelCheckpoint writes by itself: <run>/lightning/checkpoints."""
        return "lightning"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds every option of a run."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Remember the cells of one step; they are written every fifty rows and at each checkpoint."""
        cells = {name: x.item() if isinstance(x, Tensor) else x for name, x in metrics.items()}
        cells.pop("epoch", None)  # Lightning's count; a run is one epoch here
        if self._rows and self._rows[-1]["step"] == step:
            self._rows[-1].update(cells)
            return
        if self._rows and len(self._rows) % 50 == 0:
            self.save()
        self._rows.append({"step": step, **cells})

    @rank_zero_only
    def save(self) -> None:
        """Write the remembered rows; on a full disk they stay remembered, and one line says so."""
        if not self._rows:
            return
        try:
            append_rows(self.path, self._rows)
        except OSError as error:
            print(f"could not write {self.path}: {error.strerror}; its rows are kept for later", flush=True)
        else:
            self._rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
