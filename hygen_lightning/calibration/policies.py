"""Policies trained in StarCraft II as a measure of the simulator: what they win here beside there."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from hygen_lightning.data.files import files_below
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import BattleTask, all_task_names, battle_task

AGENT_FILES = ("agent.th", "rnn_net_params.pkl")
"""Names of an agent's state dict; a folder that holds one of them also holds mixers and optimisers."""
COLUMNS = ("policy", "map", "win_percent")
"""Columns of a reference table; a file may have others too."""


@dataclass(frozen=True)
class TrainedPolicy:
    """A state dict in a folder named after its map; `name` is that of the folder above, the algorithm's."""

    name: str
    task: BattleTask
    file: Path

    @property
    def key(self) -> tuple[str, str]:
        """Policy and map, as reference tables name them."""
        return self.name, self.task.name


def find_policies(folder: Path, suffixes: Collection[str]) -> list[TrainedPolicy]:
    """The policies FOLDER/**/<map>/<file>, sorted by path: the file of a folder that has a usual name of
    an agent's (AGENT_FILES), else every one with such a suffix.

    UserError where there is no folder, no such file, a file of no known map, or one name for two files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give --policies one of <algorithm>/<map>/<state dict>")
    files = [file for file in files_below(folder, "*") if file.suffix in suffixes]
    named = {file.parent for file in files if file.name in AGENT_FILES}
    found: dict[tuple[str, str], TrainedPolicy] = {}
    for file in files:
        if file.name in AGENT_FILES or file.parent not in named:
            policy = _policy(folder, file)
            first = found.setdefault(policy.key, policy)
            if first is not policy:
                raise UserError(f"{file}: another {' '.join(policy.key)} is {first.file}; keep one of them")
    if not found:
        raise UserError(f"{folder}: holds no state dict (*{', *'.join(sorted(suffixes))})")
    return list(found.values())


def _policy(folder: Path, file: Path) -> TrainedPolicy:
    """Its map is the nearest folder that is called like one, its name all folders above that."""
    root = folder.resolve()
    above = [root.name, *file.resolve().parent.relative_to(root).parts]
    maps = [i for i, part in enumerate(above) if part in all_task_names()]
    if not maps:
        raise UserError(f"{file}: no folder above it is named after a map, as in <algorithm>/3m/{file.name}")
    map_name = above.pop(maps[-1])
    name = "/".join(above[1:] or above) or root.parent.name
    if file.name not in AGENT_FILES:
        name += f"/{file.stem}"
    return TrainedPolicy(name, battle_task(map_name), file)


def read_reference(file: Path) -> dict[tuple[str, str], float]:
    """(policy, map) -> win rate 0..1 of a table in percent: a CSV file with the columns COLUMNS, or a JSON
    list of objects with these keys. UserError for every other file, naming the row."""
    try:
        text = file.read_text(encoding="utf-8")
        rows = json.loads(text) if file.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give --reference a CSV or JSON file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as CSV or JSON ({error})") from None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file}: holds no rows of {', '.join(COLUMNS)}")
    figures: dict[tuple[str, str], float] = {}
    for number, row in enumerate(rows, start=1):
        key, percent = _figure(f"{file}: row {number}", row)
        if key in figures:
            raise UserError(f"{file}: row {number}: {' '.join(key)} has a row already")
        figures[key] = percent / 100.0
    return figures


def _figure(where: str, row: Any) -> tuple[tuple[str, str], float]:
    """One row -> (policy, map), percent."""
    if not isinstance(row, dict) or any(row.get(column) is None for column in COLUMNS):
        raise UserError(f"{where}: {', '.join(COLUMNS)} expected")
    try:
        percent = float(row["win_percent"])
    except (TypeError, ValueError):
        percent = -1.0
    if not 0.0 <= percent <= 100.0:
        raise UserError(f"{where}: win_percent is {row['win_percent']!r}; a number from 0 to 100 expected")
    return (str(row["policy"]).strip(), str(row["map"]).strip()), percent


def check_match(file: Path, figures: Iterable[tuple[str, str]], policies: Iterable[TrainedPolicy]) -> None:
    """UserError if a reference table has no row for any of the policies."""
    names = [policy.key for policy in policies]
    if not set(figures) & set(names):
        raise UserError(f"{file}: no row is of one of these policies, such as {' '.join(names[0])}")


def differences(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Rows with "policy", "map", "difference" (here minus there, or None) -> how many have one, the mean
    of their absolute values, and the row of the largest; None for both where none has one."""
    compared = list(_compared(rows))
    largest = max(compared, key=lambda row: abs(row["difference"]), default=None)
    return {
        "compared": len(compared),
        "mean_absolute_difference": fmean(abs(row["difference"]) for row in compared) if compared else None,
        "largest_difference": largest and {key: largest[key] for key in ("policy", "map", "difference")},
    }


def _compared(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if row["difference"] is not None)
