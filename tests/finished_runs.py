"""Made-up finished runs for tests of comparisons."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from hygen_lightning.report.results import TaskResult, write_results

FACTS: dict[str, Any] = {
    "environment": {"name": "simulator", "version": "1"},
    "versions": {"torch": "2.13", "numpy": "2"},
    "data": {"quality": "expert", "dataset_dir": "there"},
}


def finished_run(
    root: Path,
    algorithm: str,
    seed: int,
    wins: dict[str, int],
    episodes: int = 10,
    extra: Collection[str] = (),
    name: str = "",
    time: str = "20260101-000000",
    model: dict[str, Any] | None = None,
    seed_known: bool = True,
    noisy: bool = False,
    **facts: Any,
) -> Path:
    """A run folder with results.json: wins of `episodes` battles by task, of which 3m alone is seen.

    model: options of the model, in config.yaml. noisy: with random actions a battle fewer is won.
    """
    name = name or algorithm
    folder = root / name / f"{time}-s{seed}"
    results = [
        TaskResult(task, task == "3m", episodes, n, 20.0, 30.0, task in extra, n - 1 if noisy and n else None)
        for task, n in wins.items()
    ]
    facts = {"algorithm": algorithm, "seed": seed if seed_known else None, **FACTS, **facts}
    write_results(folder / "results.json", results, facts)
    unfinished_run(folder, algorithm, seed, name, model)
    return folder


def unfinished_run(folder: Path, algorithm: str, seed: int, name: str, model: dict[str, Any] | None) -> None:
    """A run folder with config.yaml alone."""
    config = {
        "seed_everything": seed,
        "run": {"name": name, "root": "runs"},
        "model": {"class_path": f"hygen_lightning.algorithms.{algorithm}", "init_args": model or {}},
        "trainer": {"max_steps": 500, "default_root_dir": None},
        "files": {"curve": seed > 1},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def with_metrics(folder: Path, seen: list[float], unseen: list[float]) -> None:
    """A metrics.csv with one evaluation every 100 steps."""
    rows = [f"{100 * k},{a},{b}" for k, (a, b) in enumerate(zip(seen, unseen))]
    header = "step,val/mean/seen_win_rate,val/mean/unseen_win_rate"
    (folder / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
