"""Describe and check recordings: what is in them, and whether it can be learned from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.specs import UserError


def inspect(
    path: Path,
    task: str | None = None,
    env: str | None = None,
    features: Literal["grouped", "all", "none"] = "grouped",
    json: bool = False,
) -> int:
    """Describe and check recordings in the ODIS layout; exit code 2 if anything is wrong with them.

    Args:
        path: a recorded file, or a folder of them: a run, a quality, a task, or a whole data set
        task: the task that was recorded, by name or as a task file; if not given, the folder
            <task>/<quality>/<run> names it
        env: environment whose tasks were recorded, package.module:Class of one from outside
        features: how to list the numbers of an observation and a state: units of a kind together,
            each by itself, or not at all
        json: one JSON object with everything on stdout, instead of tables
    """
    from hygen_lightning.data.summary import examine
    from hygen_lightning.envs import environment_class
    from hygen_lightning.tasks import load_task

    try:
        if env is not None:
            environment_class(env)  # a file that is imported for it may register tasks
        report = examine(path, None if task is None else load_task(task))
    except UserError as error:
        if not json:
            raise
        report = {"ok": False, "problems": [str(error)], "accepted": {}, "tasks": {}}
    if json:
        print_json(report)
    else:
        _print_report(report, features)
    return 0 if report["ok"] else 2


def _print_report(report: dict[str, Any], features: str) -> None:
    """Tables for people: one line per data set, then each in detail, then the problems."""
    sets = {
        f"{task}/{quality}": statistics
        for task, entry in report["tasks"].items()
        for quality, statistics in entry["qualities"].items()
    }
    columns = ("data set", "runs", "files", "episodes", "steps", "win rate", "return", "twice")
    if sets:
        print_table("Recordings", columns, [_overview_row(name, s) for name, s in sets.items()])
    for name, statistics in sets.items():
        if statistics["episodes"]:
            _print_details(name, statistics, features)
    for what, n in report["accepted"].items():
        print(f"accepted: {n} episodes: {what}")
    for problem in report["problems"]:
        print(f"problem: {problem}")
    n_problems = len(report["problems"])
    print("checks: all passed" if report["ok"] else f"checks: {n_problems} problem{'s' * (n_problems > 1)}")


def _overview_row(name: str, s: dict[str, Any]) -> tuple[str, ...]:
    """One line of the first table; "twice" counts episodes that repeat another of the data set."""
    counts = (name, str(s["runs"]), str(s["parts"]), str(s["episodes"]))
    if not s["episodes"]:
        return (*counts, *["-"] * 4)
    win_rate = "not told" if s["win_rate"] is None else f"{s['win_rate']:.1%}"
    return (*counts, str(s["steps"]), win_rate, f"{s['return']['mean']:.2f}", str(s["duplicates"]))


def _print_details(name: str, s: dict[str, Any], features: str) -> None:
    """Returns, lengths, endings, actions and features of one data set."""
    ranges = ("mean", "min", "max")
    rows = [(kind, *(f"{s[kind][c]:.2f}" for c in ranges)) for kind in ("return", "length")]
    print_table(f"{name}: returns and lengths (stored steps)", ("", *ranges), rows)
    for title, counts in (("how episodes ended", s["outcomes"]), ("actions", s["actions"])):
        total = max(sum(counts.values()), 1)
        shares = [(kind, n, f"{n / total:.1%}") for kind, n in counts.items()]
        print_table(f"{name}: {title}", ("", "times", "share"), shares)
    for kind in () if features == "none" else ("obs", "state"):
        numbers = s["features"][kind]
        shown = numbers if features == "all" else grouped(numbers)
        values = [(feature, *(f"{v[c]:.3f}" for c in ranges)) for feature, v in shown.items()]
        print_table(f"{name}: {kind}, {len(numbers)} numbers", ("feature", *ranges), values)
    if s["also_in_other_qualities"]:
        print(f"{name}: {s['also_in_other_qualities']} episodes also stand in another quality")
    for key, values in s["about"].items():
        print(f"{name}: {key}: {', '.join(values)}")


def grouped(features: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Features with the units of a kind together: enemy0.health, enemy1.health -> enemy*.health."""
    groups: dict[str, list[dict[str, float]]] = {}
    for name, values in features.items():
        unit, dot, feature = name.partition(".")
        group = re.sub(r"\d+$", "*", unit) + dot + re.sub(r"(?<=last_action)\d+$", "*", feature)
        groups.setdefault(group, []).append(values)
    return {
        name: {
            "min": min(v["min"] for v in members),
            "mean": sum(v["mean"] for v in members) / len(members),
            "max": max(v["max"] for v in members),
        }
        for name, members in groups.items()
    }
