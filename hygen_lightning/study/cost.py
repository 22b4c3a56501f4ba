"""What a study will cost, from a short timing of each of its settings; asked options are kept beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hygen_lightning.benchmark.run import reckon, resolved
from hygen_lightning.commands.output import print_table
from hygen_lightning.data.datamodule import NO_RECORDINGS, HybridDataModule
from hygen_lightning.data.hdf5 import check_dataset
from hygen_lightning.envs import environment_class
from hygen_lightning.parsing import differences, read_yaml
from hygen_lightning.report.results import write_atomically
from hygen_lightning.report.runs import STUDY_FILE
from hygen_lightning.specs import UserError
from hygen_lightning.study.cells import has_begun
from hygen_lightning.study.launch import Watched
from hygen_lightning.study.plan import Cell

TIMED_STEPS = 3
"""Optimiser steps of each stage that count, after two that do not."""
COST_FILE = "cost.json"
COST_KEYS = {"hours", "peak_mb", "seconds"}


def asked_of(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """All options of each cell by name, as `fit` understands them; UserError where it refuses them."""
    asked: dict[str, dict[str, Any]] = {}
    for cell in cells:
        if cell.name in asked:
            continue
        try:
            options = asked[cell.name] = resolved(cell.words)
            for env in {options[group]["env"] for group in ("rollouts", "evaluation")} - {None}:
                environment_class(env)  # its file may register tasks
            HybridDataModule(**options["data"])
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from error
    return asked


def check_recordings(asked: Mapping[str, dict[str, Any]]) -> None:
    """UserError where cells with these options learn from recordings of a folder that holds none."""
    for name, options in asked.items():
        folder, quality = options["data"]["dataset_dir"], options["data"]["quality"]
        try:
            if folder is not None and quality != NO_RECORDINGS:
                check_dataset(Path(folder))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error


def changed_cells(asked: Mapping[str, dict[str, Any]], root: Path) -> list[str]:
    """Names of the cells whose options are not kept yet, or were others.

    UserError where runs of this name were begun with others.
    """
    changed = []
    for name, options in asked.items():
        kept = root / name / STUDY_FILE
        old = read_yaml(kept) if kept.is_file() else {}
        if not isinstance(old, dict):
            raise UserError(f"{kept}: no options in it; give another --out")
        other = next(iter(differences(old, options)), None)
        if other is not None and has_begun(root, name):
            raise UserError(f"{kept.parent} was begun with other options ({other}); give another --out")
        if other is not None or not old:
            changed.append(name)
    return changed


def keep_asked(asked: Mapping[str, dict[str, Any]], root: Path) -> None:
    """Write the options of cells beside their runs; changed options discard a cell's timing.

    UserError as in `changed_cells`.
    """
    import yaml

    costs = _known_costs(root)
    for name in changed_cells(asked, root):
        costs.pop(name, None)
    if (root / COST_FILE).is_file():
        _keep_costs(root, costs)
    for name, options in asked.items():
        write_atomically(root / name / STUDY_FILE, yaml.safe_dump(options, sort_keys=False))


def tell_cost(
    left: Sequence[Watched], asked: dict[str, dict[str, Any]], root: Path, jobs: int, quiet: bool
) -> float:
    """Hours that the cells which are left take, `jobs` at once; printed as a table unless `quiet`.

    A setting is timed once and kept; UserError where `fit` would not start with it.
    """
    known = _known_costs(root)
    first = {watched.run.cell.name: watched.run for watched in left}
    new = [name for name in first if name not in known]
    if new and not quiet:
        print(f"timing {len(new)} settings, {jobs} at once (missing recordings are made first)", flush=True)

    def timed(name: str) -> dict[str, Any]:
        run = first[name]
        try:
            found = reckon(run.cell.words, asked[name], TIMED_STEPS, threads=run.threads)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        seconds = {part: told["seconds"] for part, told in found["parts"].items()}
        return {"hours": found["hours"], "peak_mb": found["measured_peak_mb"], "seconds": seconds}

    with ThreadPoolExecutor(jobs) as pool:
        for name, cost in zip(new, pool.map(timed, new)):
            known[name] = cost
            _keep_costs(root, known)
    counts = {name: sum(watched.run.cell.name == name for watched in left) for name in first}
    hours = sum(known[name]["hours"] * count for name, count in counts.items()) / min(jobs, max(len(left), 1))
    if left and not quiet:
        rows = [_row(name, count, known[name]) for name, count in counts.items()]
        title = f"{len(left)} runs, about {_told(hours)} in all, {jobs} at once"
        columns = ("run", "seeds left", "minutes each", "peak MB", "s per update", "s per rollout")
        print_table(title, columns, rows)
    return hours


def _known_costs(root: Path) -> dict[str, Any]:
    """By setting; without damaged entries, which are timed again."""
    try:
        known = json.loads((root / COST_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {name: cost for name, cost in entries if isinstance(cost, dict) and cost.keys() >= COST_KEYS}


def _keep_costs(root: Path, costs: dict[str, Any]) -> None:
    write_atomically(root / COST_FILE, json.dumps(costs, indent=2) + "\n")


def _row(name: str, count: int, cost: dict[str, Any]) -> tuple[str, ...]:
    """One setting in the table of costs."""
    parts = ("policy update", "rollout")
    seconds = [f"{cost['seconds'][part]:.3f}" if part in cost["seconds"] else "–" for part in parts]
    return name, str(count), f"{60 * cost['hours']:.1f}", str(cost["peak_mb"]), *seconds


def _told(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(60 * hours, 1):.0f} minutes"
