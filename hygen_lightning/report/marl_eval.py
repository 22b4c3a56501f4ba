"""Runs in the JSON that instadeepai/marl-eval reads: environment, task, algorithm, run, step, metric."""

from __future__ import annotations

from typing import Any

from hygen_lightning.data.tables import read_rows
from hygen_lightning.report.runs import PROGRESS, Groups, Run
from hygen_lightning.specs import UserError

METRICS = {"success": "win_rate", "ret": "return"}
"""Column of evaluations.csv -> name of the metric, one value per battle."""


def marl_eval_json(groups: Groups) -> dict[str, Any]:
    """Every evaluation as `step_<k>`, the final one as `absolute_metrics`; lists have a value per battle.

    A run whose battles are not at hand (of a results.csv) has its final win rate as the only value.
    UserError for a table of a run in which a number is none.
    """
    told: dict[str, Any] = {}
    for label, runs in groups.items():
        for number, run in enumerate(runs):
            environment = (run.results.get("environment") or {}).get("name") or "unknown"
            tasks = told.setdefault(environment, {})
            seed = number if run.seed is None else run.seed
            try:
                told_of_run = _of(run)
            except ValueError as error:
                where = f"evaluations.csv or metrics.csv in {run.folder}"
                raise UserError(f"{where}: {error}; mend the cell, or leave the run out") from error
            for task, steps in told_of_run.items():
                tasks.setdefault(task, {}).setdefault(label, {})[f"seed_{seed}"] = steps
    return told


def _of(run: Run) -> dict[str, Any]:
    """By task: steps and absolute metrics of one run."""
    rows = run.folder / "evaluations.csv"
    battles = read_rows(rows, "stage", "step", "task", "seed") if rows.is_file() else []
    metrics = run.folder / "metrics.csv"
    logged = read_rows(metrics, "step") if metrics.is_file() else []
    minutes = PROGRESS["minutes"]
    clock = {int(float(row["step"])): 60 * float(row[minutes]) for row in logged if minutes in row}
    found: dict[str, Any] = {}
    for task, entry in run.results["tasks"].items():
        own = [row for row in battles if row["task"] == task]
        steps = sorted({int(float(row["step"])) for row in own if row["stage"] == "val"})
        told: dict[str, Any] = {}
        for number, step in enumerate(steps):
            time = {"elapsed_time": clock[step]} if step in clock else {}
            chosen = [row for row in own if row["stage"] == "val" and int(float(row["step"])) == step]
            told[f"step_{number}"] = {"step_count": step, **time, **_values(chosen)}
        last = _values([row for row in own if row["stage"] == "test"])
        found[task] = {**told, "absolute_metrics": last or {"win_rate": [entry["win_rate"]]}}
    return found


def _values(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    numbers = {"True": 1.0, "False": 0.0}
    return {
        name: [numbers[row[column]] if row[column] in numbers else float(row[column]) for row in rows]
        for column, name in METRICS.items()
        if rows
    }
