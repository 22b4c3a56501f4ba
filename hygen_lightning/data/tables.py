"""CSV tables that only grow: a resumed run writes some rows again, and the last ones count."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hygen_lightning.data.files import append_whole, replacing

Row = dict[str, Any]


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Append rows to a table, or leave the table as it was and raise OSError.

    A line that was cut off (the writer was killed) is dropped first. A new column rewrites the
    file under a temporary name, with empty cells above.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_half_line(path)
    columns, old = _read(path) if path.is_file() else ([], [])
    wanted = [*columns, *dict.fromkeys(name for row in rows for name in row if name not in columns)]
    if columns and wanted == columns:
        append_whole(path, _text(columns, rows))
        return
    header = dict(zip(wanted, wanted))
    with replacing(path) as temporary:
        temporary.write_text(_text(wanted, [header, *old, *rows]), encoding="utf-8", newline="")


def read_rows(path: Path, *key: str) -> list[Row]:
    """Rows of a table without their empty cells; of rows with equal `key` columns, the last cells count.

    OSError where there is no table.
    metrics.csv: read_rows(path, "step"). evaluations.csv: read_rows(path, "stage", "step", "task", "seed").
    In pandas: read_csv(path).groupby(list(key)).last().
    """
    merged: dict[tuple[Any, ...], Row] = {}
    for row in _read(path)[1]:
        cells = {name: value for name, value in row.items() if value}
        merged.setdefault(tuple(row.get(name) for name in key), {}).update(cells)
    return list(merged.values())


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and whole rows of a table."""
    whole_lines = path.read_text(encoding="utf-8").rpartition("\n")[0]
    reader = csv.DictReader(io.StringIO(whole_lines))
    return list(reader.fieldnames or []), list(reader)


def _drop_half_line(path: Path) -> None:
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _text(columns: list[str], rows: Sequence[Row]) -> str:
    buffer = io.StringIO(newline="")
    csv.DictWriter(buffer, columns, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
