"""Made-up finished runs for tests of comparisons."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from hygen_lightning.report.results import TaskResult, write_results

FACTS: dict[str, Any] = {
    "environment": {"name": "simulator", "version": "1"},
    "versions": {"torch": "2.13", "numpy": "2"},
    "data": {"quality": "expert", "dataset_dir": "there"},
}


def finished_run(
    root: Path,
    group: str,
    seed: int,
    wins: dict[str, int],
    episodes: int = 10,
    extra: Collection[str] = (),
    **facts: Any,
) -> Path:
    """A run folder with results.json: wins of `episodes` battles by task, of which 3m alone is seen."""
    folder = root / group / f"20260101-000000-s{seed}"
    results = [
        TaskResult(task, task == "3m", episodes, n, 20.0, 30.0, task in extra) for task, n in wins.items()
    ]
    write_results(folder / "results.json", results, {"seed": seed, **FACTS, **facts})
    return folder


def with_metrics(folder: Path, seen: list[float], unseen: list[float]) -> None:
    """A metrics.csv with one evaluation every 100 steps."""
    rows = [f"{100 * k},{a},{b}" for k, (a, b) in enumerate(zip(seen, unseen))]
    header = "step,val/mean/seen_win_rate,val/mean/unseen_win_rate"
    (folder / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
