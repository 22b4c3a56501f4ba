"""Describe and check recordings: what is in them, and whether it can be learned from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks import load_task

if TYPE_CHECKING:
    from hygen_lightning.data.summary import Summary


def inspect(
    path: Path,
    task: str | None = None,
    features: Literal["grouped", "all", "none"] = "grouped",
    json: bool = False,
) -> int:
    """Describe and check recordings in the ODIS layout; exit code 2 if anything is wrong with them.

    Args:
        path: a recorded file, or a folder of them: a run, a quality, a task, or a whole data set
        task: the task that was recorded; if not given, the folder <task>/<quality>/<run> names it
        features: how to list the numbers of an observation and a state: units of a kind together,
            each by itself, or not at all
        json: one JSON object with everything on stdout, instead of tables
    """
    try:
        report = examine(path, task)
    except UserError as error:
        if not json:
            raise
        report = {"ok": False, "problems": [str(error)], "tasks": {}}
    if json:
        print_json(report)
    else:
        _print_report(report, features)
    return 0 if report["ok"] else 2


COMMAND = inspect


def examine(path: Path, task: str | None = None) -> dict[str, Any]:
    """{"ok": bool, "problems": [str], "tasks": {task: {"qualities": {quality: statistics}}}}.

    UserError if there is nothing at `path`, or the task is unknown.
    """
    from hygen_lightning.data.odis import find_parts

    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a recorded file or a folder of them")
    if task is not None:
        load_task(task)
    parts = find_parts(path) if path.is_dir() else [path]
    if not parts:
        raise UserError(f"{path} holds no .h5 files; give a folder of recordings, or record with `collect`")
    problems: list[str] = []
    groups: dict[tuple[str, str], list[Path]] = {}
    for part in parts:
        try:
            groups.setdefault((task or task_of(part), _quality_of(part)), []).append(part)
        except UserError as error:
            problems.append(str(error))
    tasks: dict[str, Any] = {}
    seen: dict[str, set[bytes]] = {}
    for (name, quality), files in groups.items():
        summary, found, about = _summarise(files, load_task(name))
        problems += found
        statistics = {"runs": len({file.parent for file in files}), "parts": len(files), **summary.to_dict()}
        keys, others = set(summary.episode_keys), seen.setdefault(name, set())
        statistics["also_in_other_qualities"] = len(keys & others)
        others |= keys
        tasks.setdefault(name, {"qualities": {}})["qualities"][quality] = {**statistics, "about": about}
    return {"ok": not problems, "problems": problems, "tasks": tasks}


def task_of(part: Path) -> str:
    """The task in a file's path, `<task>/<quality>/<run>/part_0.h5`; UserError if there is none."""
    from hygen_lightning.data.checks import REQUIRED_KEYS, tasks_that_fit
    from hygen_lightning.data.odis import read_header

    for folder in part.resolve().parents:
        try:
            return load_task(folder.name).name
        except UserError:
            continue
    shapes = read_header(part).shapes
    fitting = tasks_that_fit(shapes) if shapes.keys() >= set(REQUIRED_KEYS) else []
    hint = f"its arrays fit {' or '.join(fitting)}" if fitting else "its arrays fit none that is known"
    raise UserError(f"{part}: no folder above it names a task, {hint}; give --task NAME")


def _quality_of(part: Path) -> str:
    """`<quality>` of `<task>/<quality>/<run>/part_0.h5`."""
    return part.resolve().parent.parent.name


def _summarise(files: Iterable[Path], task: TaskSpec) -> tuple[Summary, list[str], dict[str, list[str]]]:
    """(statistics of the sound episodes, problems, all that the files say of their recording)."""
    from hygen_lightning.data.odis import examine_part, read_attributes
    from hygen_lightning.data.summary import Summary

    summary, problems = Summary(task), list[str]()
    about: dict[str, dict[str, None]] = {}
    for file in files:
        try:
            for key, value in read_attributes(file).items():
                about.setdefault(key, {})[str(value)] = None
            for found, block in examine_part(file, task, with_onehot=True):
                problems += [str(problem) for problem in found]
                if block is not None:
                    summary.add(block)
        except UserError as error:
            problems.append(str(error))
    return summary, problems, {key: list(values) for key, values in about.items()}


def _print_report(report: dict[str, Any], features: str) -> None:
    """Tables for people: one line per data set, then each in detail, then the problems."""
    sets = {
        f"{task}/{quality}": statistics
        for task, entry in report["tasks"].items()
        for quality, statistics in entry["qualities"].items()
    }
    columns = ("data set", "runs", "files", "episodes", "steps", "win rate", "return", "twice")
    print_table("Recordings", columns, [_overview_row(name, s) for name, s in sets.items()])
    for name, statistics in sets.items():
        if statistics["episodes"]:
            _print_details(name, statistics, features)
    for problem in report["problems"]:
        print(f"problem: {problem}")
    n_problems = len(report["problems"])
    print("checks: all passed" if report["ok"] else f"checks: {n_problems} problem{'s' * (n_problems > 1)}")


def _overview_row(name: str, s: dict[str, Any]) -> tuple[str, ...]:
    """One line of the first table; "twice" counts episodes that repeat another of the data set."""
    counts = (name, str(s["runs"]), str(s["parts"]), str(s["episodes"]))
    if not s["episodes"]:
        return (*counts, *["-"] * 4)
    win_rate = "-" if s["win_rate"] is None else f"{s['win_rate']:.1%}"
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
