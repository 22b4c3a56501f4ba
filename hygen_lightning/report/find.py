"""Finished runs, found by their folders or as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hygen_lightning.data.files import files_below
from hygen_lightning.report.results import RESULTS_FILE, read_results
from hygen_lightning.report.rows import is_table_of_runs, read_run_rows
from hygen_lightning.report.runs import COMPARED_FACTS, CONFIG_FILE, NO_SETTINGS, STUDY_FILE, Run
from hygen_lightning.specs import UserError


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Finished runs at or below each path, and a line for each that is left out as unfinished.

    A path may be a results file, a run folder, a folder of them, or a table of runs that a report has
    written (results.csv). UserError where a path holds no finished run.
    """
    runs: dict[Path, Run] = {}
    left_out: list[str] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist; give run folders, results.json or results.csv files")
        if path.suffix.lower() == ".csv" and path.is_file():
            runs |= {run.folder: run for run in read_run_rows(path)}
            continue
        files = [path] if path.is_file() else files_below(path, RESULTS_FILE)
        configs = [] if path.is_file() else files_below(path, CONFIG_FILE)
        found = {file.resolve().parent: _read_run(file.resolve()) for file in files}
        done = {folder: run for folder, run in found.items() if run.results.get("finished", True)}
        begun = dict.fromkeys([*found, *(config.resolve().parent for config in configs)])
        lines = [f"left out: {folder} is not finished" for folder in begun if folder not in done]
        if not done:
            hint = f"; {len(lines)} unfinished" if lines else ""
            there = sorted(path.glob("*.csv")) if path.is_dir() else []
            table = next((file for file in there if is_table_of_runs(file)), None)
            tables = f", or tables like {table}" if table else ""
            raise UserError(
                f"{path}: no {RESULTS_FILE} of a finished run at or below it{hint}; give run folders{tables}"
            )
        runs |= done
        left_out += [line for line in lines if line not in left_out]
    return list(runs.values()), left_out


def _read_run(file: Path) -> Run:
    results = read_results(file)
    algorithm = str(results.get("algorithm", file.parent.parent.name))
    settings = _settings(file.with_name(CONFIG_FILE))
    if not settings:  # results that came without their config
        known = ("data", "train_tasks", "optimiser_steps")
        settings = _flat({"folder": file.parent.parent.name, **{k: results.get(k) for k in known}})
    settings |= _flat({fact: results.get(fact) for fact in COMPARED_FACTS})
    run = Run(file.parent, results.get("seed"), algorithm, settings, results)
    cell = file.parent.parent
    return replace(run, source=cell.parent, group=cell.name) if (cell / STUDY_FILE).is_file() else run


def _settings(path: Path) -> dict[str, Any]:
    """What a config.yaml decides, by dotted name; nothing where there is none."""
    import yaml

    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as a config ({' '.join(str(error).split())})") from None
    flat = _flat(config if isinstance(config, dict) else {})
    return {
        name: value
        for name, value in flat.items()
        if not any(name == other or name.startswith(f"{other}.") for other in NO_SETTINGS)
    }


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A nested dict as one level of dotted names; `init_args` of classes are left out of the names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = above if key == "init_args" else f"{above}.{key}".lstrip(".")
        if isinstance(value, dict):
            flat |= _flat(value, name)
        else:
            flat[name] = value
    return flat
