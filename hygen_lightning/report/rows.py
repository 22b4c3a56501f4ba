"""Runs as rows of a CSV file, one each: small enough for a repository, enough to draw every table again.

Facts come first (`FACTS`), then a column per task, `seen:3m`, `unseen:4m` or `extra:5m_vs_6m`, whose cells
are wins/battles, as 277/320; `noisy:3m` where the same battles were played with some random actions too.
"""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hygen_lightning.report.results import AMOUNTS
from hygen_lightning.report.runs import TASK_KINDS, Groups, Run, kind_of
from hygen_lightning.specs import UserError

NOISY = "noisy"
FACTS = (
    *("group", "run", "algorithm", "seed", "commit", "command", "environment", "environment_version"),
    *("versions", "quality", "optimiser_steps", "battles", "env_steps", "minutes"),
)
NO_TABLE = "no table of runs as `report` writes to results.csv"

Value = TypeVar("Value")


def run_rows(groups: Groups) -> str:
    """The CSV text of these runs, group by group."""
    rows = [_row(label, run) for label, runs in groups.items() for run in runs]
    names = Counter(row["run"] for row in rows)
    for row in rows:
        if names[row["run"]] > 1:  # in one table each run has a name of its own
            row["run"] = f"{row['group']}/{row['run']}"
    count: Counter[str] = Counter()
    for row in rows:
        count[row["run"]] += 1
        if count[row["run"]] > 1:
            row["run"] += f" #{count[row['run']]}"
    tasks = list(dict.fromkeys(name for row in rows for name in row if ":" in name))
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, [*FACTS, *tasks], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _row(label: str, run: Run) -> dict[str, Any]:
    known = run.results
    environment = known.get("environment") or {}
    row: dict[str, Any] = {name: known.get(name) for name in FACTS}
    row |= {"group": label, "run": run.name, "algorithm": run.algorithm, "seed": run.seed}
    row |= {"environment": environment.get("name"), "environment_version": environment.get("version")}
    row["command"] = _without_place(row["command"] or "")
    row["versions"] = " ".join(f"{name}={value}" for name, value in (known.get("versions") or {}).items())
    for name in ("battles", "env_steps"):
        if row[name] not in (None, ""):
            row[name] = round(float(row[name]))
    row["quality"] = row["quality"] or (known.get("data") or {}).get("quality")
    for task, entry in known["tasks"].items():
        wins = round(entry["win_rate"] * entry["episodes"])
        row[f"{kind_of(entry)}:{task}"] = f"{wins}/{entry['episodes']}"
        if entry.get("win_rate_noisy") is not None:
            row[f"{NOISY}:{task}"] = (
                f"{round(entry['win_rate_noisy'] * entry['episodes'])}/{entry['episodes']}"
            )
    return {name: value for name, value in row.items() if value is not None}


def _without_place(command: str) -> str:
    """A command without the folder that one machine had for its runs."""
    if "--run.root " not in command:
        return command
    try:
        words = shlex.split(command)
        place = words.index("--run.root")
    except ValueError:  # edited by hand
        return command
    return shlex.join([*words[:place], *words[place + 2 :]])


def read_run_rows(path: Path) -> list[Run]:
    """The runs of such a file; UserError, with line and column, where it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel writes a byte-order mark
        rows = list(_whole_rows(path, text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {NO_TABLE} ({error})") from None
    seen: dict[Path, str] = {}
    for where, row in rows:
        place = _place(row)
        if place == Path():
            raise UserError(f"{where}, run: give each run a name of its own")
        if place in seen:
            raise UserError(f"{where}: run {row['run']!r} stands in {seen[place]} too; keep one of them")
        seen[place] = where
    runs = [_run(path, where, row) for where, row in rows]
    if not runs:
        raise UserError(f"{path}: {NO_TABLE}: it has no row")
    return runs


def is_table_of_runs(path: Path) -> bool:
    """Whether this is a CSV file with the header of a table of runs."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().startswith(",".join(FACTS[:2]))


def _whole_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row, and where it stands; UserError where columns or cells are missing or too many."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = list(reader.fieldnames or ())
    if not columns:
        raise UserError(f"{path}: {NO_TABLE}: it is empty")
    for name in FACTS:
        if name not in columns:
            raise UserError(f"{path}: {NO_TABLE}: no column {name!r}, or cells are not separated by commas")
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(f"{path}, line 1: {name} stands there twice; keep one of the columns")
        kind, colon, _ = name.partition(":")
        if colon and kind not in (*TASK_KINDS, NOISY):
            raise UserError(
                f"{path}, {name}: a task is {', '.join(TASK_KINDS)}, or {NOISY} beside one of them"
            )
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise UserError(
                f"{where}: the header has {len(columns)} cells, this row has not; is it complete?"
            )
        yield where, row


def _place(row: Mapping[str, str]) -> Path:
    """Where the run would lie in a folder with the table's name."""
    return Path(row["run"].lstrip("/"))


def _run(path: Path, where: str, row: dict[str, str]) -> Run:
    def told(column: str, read: Callable[[str], Value], wanted: str) -> Value:
        try:
            return read(row[column])
        except ValueError:
            raise UserError(f"{where}, {column}: {row[column]!r}; give {wanted}") from None

    tasks: dict[str, dict[str, Any]] = {}
    for column in sorted(row, key=lambda name: name.startswith(NOISY)):  # after those that they belong to
        kind, colon, task = column.partition(":")
        if not colon or not row[column]:
            continue
        wins, battles = told(column, _won_of, "wins/battles, as 277/320")
        if kind == NOISY and tasks.get(task, {}).get("episodes") == battles:
            tasks[task]["win_rate_noisy"] = wins / battles
        elif kind == NOISY or task in tasks:
            raise UserError(f"{where}, {column}: {task} has one kind, and as many noisy battles as others")
        else:
            tasks[task] = {"seen": kind == "seen", "extra": kind == "extra", "win_rate": wins / battles}
            tasks[task]["episodes"] = battles
    if not tasks:
        raise UserError(f"{where}: no task was played")
    for column in AMOUNTS:
        if row[column]:
            told(column, _amount, "a number, 0 or more, or nothing")
    versions = told("versions", _versions, "name=version, separated by spaces")
    environment = {"name": row["environment"], "version": row["environment_version"]}
    known: dict[str, Any] = {name: row[name] for name in FACTS if row[name]}
    known |= {"tasks": tasks, "environment": environment, "versions": versions or None, "finished": True}
    seed = told("seed", int, "a whole number, or nothing") if row["seed"] else None
    settings = {"group": row["group"], "environment": str(environment), "versions": row["versions"]}
    source = path.resolve()
    return Run(source / _place(row), seed, row["algorithm"], settings, known, source, row["group"])


def _won_of(cell: str) -> tuple[int, int]:
    """Wins and battles."""
    numbers = re.fullmatch(r"(\d+)/(\d+)", cell.strip())
    wins, battles = map(int, numbers.groups()) if numbers else (0, 0)
    if not battles or wins > battles:
        raise ValueError(cell)
    return wins, battles


def _amount(cell: str) -> float:
    amount = float(cell)
    if not 0 <= amount < math.inf:
        raise ValueError(cell)
    return amount


def _versions(cell: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in cell.split())
