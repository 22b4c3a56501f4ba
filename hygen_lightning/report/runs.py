"""Finished runs, found by their `results.json`, and whether they may be put side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hygen_lightning.report.results import read_results
from hygen_lightning.report.statistics import wilson_interval
from hygen_lightning.specs import UserError

TaskKind = Literal["seen", "unseen", "extra"]
TASK_KINDS: tuple[TaskKind, ...] = ("seen", "unseen", "extra")
"""In the order of tables; means and aggregates leave extra tasks out."""
RESULTS_FILE = "results.json"
COMPARED_FACTS = ("environment", "versions", "data")
"""Facts of a run that must be equal for its numbers to mean the same."""


@dataclass(frozen=True)
class Run:
    """One finished run. group: the experiment that it belongs to; its runs differ in their seed."""

    folder: Path
    group: str
    seed: int | None
    facts: dict[str, Any]
    tasks: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        """The run as people tell it from others."""
        return f"{self.group}/{self.folder.name}"

    def kind(self, task: str) -> TaskKind:
        """Whether a task was trained on (seen), kept for the test (unseen), or is part of no mean."""
        entry = self.tasks[task]
        return "extra" if entry.get("extra") else "seen" if entry["seen"] else "unseen"

    def win_rate(self, task: str) -> float:
        """Share of the battles of a task won, 0..1."""
        return float(self.tasks[task]["win_rate"])

    def interval_over_episodes(self, task: str) -> tuple[float, float]:
        """Wilson's 95 % interval of that share, over this run's episodes."""
        episodes = int(self.tasks[task]["episodes"])
        return wilson_interval(round(self.win_rate(task) * episodes), episodes)


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Runs at or below each path: results files, run folders, or folders of them.

    The folder that a run's folder lies in names its group (`runs/<name>/<time>-s<seed>`).
    UserError where a path holds no finished run.
    """
    files: dict[Path, None] = {}
    for path in paths:
        found = [path] if path.is_file() else sorted(path.rglob(RESULTS_FILE))
        if not found:
            raise UserError(f"{path}: no {RESULTS_FILE} at or below it; give folders of finished runs")
        files.update(dict.fromkeys(file.resolve() for file in found))
    return [_read_run(file) for file in files]


def _read_run(file: Path) -> Run:
    content = read_results(file)
    seed = content.get("seed")
    return Run(
        folder=file.parent,
        group=file.parent.parent.name,
        seed=None if seed is None else int(seed),
        facts={key: value for key, value in content.items() if key != "tasks"},
        tasks=content["tasks"],
    )


def check_comparable(runs: Sequence[Run], allow_mixed: bool) -> list[str]:
    """What differs between the runs, one line each; UserError at the first unless mixing is allowed.

    A seed that occurs twice in a group is an error in any case: it would count as two.
    """
    for group in group_names(runs):
        _check_seeds([run for run in runs if run.group == group])
    differences = [line for fact in COMPARED_FACTS for line in _differences(runs, fact)]
    if differences and not allow_mixed:
        raise UserError(
            f"{differences[0]}; they are not comparable (--allow_mixed true compares them anyway)"
        )
    return differences


def _check_seeds(runs: Sequence[Run]) -> None:
    by_seed: dict[int, Run] = {}
    for run in runs:
        if run.seed is None:
            continue
        if run.seed in by_seed:
            raise UserError(
                f"seed {run.seed} occurs twice, in {by_seed[run.seed].name} and {run.name}; give one of them"
            )
        by_seed[run.seed] = run


def _differences(runs: Sequence[Run], fact: str) -> list[str]:
    """One line per run whose fact is not the first run's."""
    first = runs[0]
    return [
        f"different {fact}: {_told(first.facts.get(fact), run.facts.get(fact))} in {first.name}, "
        f"{_told(run.facts.get(fact), first.facts.get(fact))} in {run.name}"
        for run in runs[1:]
        if run.facts.get(fact) != first.facts.get(fact)
    ]


def _told(value: Any, other: Any) -> str:
    """A fact as text; of a dict only the entries that are not the other's."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: entry for key, entry in value.items() if other.get(key) != entry}
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or "nothing more"
    return "unknown" if value is None else json.dumps(value)


def group_names(runs: Iterable[Run]) -> list[str]:
    """Groups in the order of their first run."""
    return list(dict.fromkeys(run.group for run in runs))
