"""metrics.csv and evaluations.csv: tables that a killed run goes on with, no row lost or doubled."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from hygen_lightning.data.files import append_whole, replacing
from hygen_lightning.rollouts.evaluation import EVALUATIONS_FILE

METRICS_FILE = "metrics.csv"

Row = dict[str, Any]


class MetricsTable:
    """Rows of metrics, appended to a CSV file that may exist already.

    A new column rewrites the file under a temporary name and renames it, so that a run that is
    killed while it writes leaves either table whole, or a last row that `forget_rows_after` drops.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics: list[Row] = []
        """Rows that are not written yet."""

    def log_metrics(self, metrics: dict[str, Tensor | float], step: int) -> None:
        """Remember one row; `save` writes it."""
        values = {name: x.item() if isinstance(x, Tensor) else x for name, x in metrics.items()}
        self.metrics.append({**values, "step": step})

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Nothing: config.yaml holds every option of a run."""

    def save(self) -> None:
        """Write the remembered rows; on a full disk they stay remembered, and one line says so."""
        if not self.metrics:
            return
        try:
            self._save()
        except OSError as error:
            print(f"could not write {self.path}: {error.strerror}; its rows are kept for later", flush=True)
        else:
            self.metrics = []

    def _save(self) -> None:
        columns, rows = _read(self.path)
        wanted = sorted({*columns, *(name for row in self.metrics for name in row)})
        if wanted == columns:
            append_whole(self.path, _text(columns, self.metrics, header=False))
        else:
            _write(self.path, wanted, [*rows, *self.metrics])


def forget_rows_after(folder: Path, step: int) -> None:
    """Drop what a run logged after its checkpoint of this optimiser step; it is logged again.

    The checkpoint is written before the batch of its step is drawn: rollouts and validations of
    that step lie before it, losses of that step and the final test after it.
    """
    _keep(folder / METRICS_FILE, lambda row: _metrics_are_before(row, step))
    _keep(folder / EVALUATIONS_FILE, lambda row: row["stage"] == "val" and int(row["step"]) <= step)


def _metrics_are_before(row: Row, step: int) -> bool:
    at = int(row["step"])
    before = any(name.startswith(("rollout/", "val/")) and row[name] for name in row)
    return at < step or (at == step and before)


def _keep(path: Path, is_before: Callable[[Row], bool]) -> None:
    columns, rows = _read(path)
    kept = [row for row in rows if is_before(row)]
    if columns:
        _write(path, columns, kept)


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and whole rows of a table; a row that was cut off while it was written is none."""
    if not path.is_file():
        return [], []
    whole_lines = path.read_text(encoding="utf-8").rpartition("\n")[0]
    reader = csv.DictReader(io.StringIO(whole_lines))
    return list(reader.fieldnames or []), list(reader)


def _write(path: Path, columns: list[str], rows: list[Row]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(_text(columns, rows, header=True), encoding="utf-8", newline="")


def _text(columns: list[str], rows: list[Row], header: bool) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
