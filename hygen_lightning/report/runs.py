"""Finished runs and which of them belong together: equal in everything of their config but the seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hygen_lightning.report.results import RESULTS_FILE
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import TASK_SETS

if TYPE_CHECKING:
    from pandas import DataFrame

TaskKind = Literal["seen", "unseen", "extra"]
TASK_KINDS: tuple[TaskKind, ...] = ("seen", "unseen", "extra")
"""In the order of tables; means and aggregates leave extra tasks out."""
CONFIG_FILE = "config.yaml"
STUDY_FILE = "asked.yaml"
"""Stands beside the runs of a study's cell, whose folder is named for it."""
PROGRESS = {
    "battles": "progress/episodes",
    "env_steps": "progress/env_steps",
    "minutes": "progress/minutes",
}
"""What a run had spent at each evaluation, and the metric that says it; older runs have none of them."""
COMPARED_FACTS = ("environment", "versions")
"""Facts of a run that must be equal for its numbers to mean the same."""
NO_SETTINGS = (
    "seed_everything",
    "run.name",
    "run.root",
    *(f"run.wandb_{name}" for name in ("project", "group", "tags", "checkpoint")),
    "run.tensorboard",
    "resume",
    "ckpt_path",
    "weights_only",
    "files",
    "checkpoint.every_n_steps",
    "checkpoint.save_replay",
    "trainer.default_root_dir",
    "trainer.logger",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)
"""Options (or groups of them) that say who ran where and what is kept, not what is learned."""
FIGURES = ("episodes", "win_rate", "win_rate_noisy", "return", "length")
"""What a table of runs takes from the results of a task."""
QUALITIES = ("expert", "medium-expert", "medium", "medium-replay", "random")
"""Recordings from best to worst; runs without any, or of unknown ones, come last."""
MOST_IN_LABEL = 3
"""Settings that a label names; groups that differ in more are told apart by the names of their runs."""


@dataclass(frozen=True)
class Run:
    """One finished run. settings: all that decides its numbers beside the seed, by dotted name.

    source: the folder of its study, or the table it comes from; None for others.
    group: its name in that study or table.
    """

    folder: Path
    seed: int | None
    algorithm: str
    settings: dict[str, Any]
    results: dict[str, Any]
    source: Path | None = None
    group: str | None = None

    @property
    def kin(self) -> list[Any]:
        """Equal for runs that differ in their seed alone. Runs of a study or a table are matched by source
        and group, for options that came into the package while a study ran must not split them."""
        if self.source is None:
            return [self.algorithm, self.settings]
        facts = (self.results.get(fact) for fact in COMPARED_FACTS)
        return [str(self.source), self.group, self.algorithm, *facts]

    @property
    def name(self) -> str:
        """The run as people tell it from others."""
        return self.folder.relative_to(self.source or self.folder.parent.parent).as_posix()

    @property
    def copy_key(self) -> str:
        """Equal for a run's folder and its row in a table."""
        wins = {
            task: [entry["episodes"], round(entry["win_rate"] * entry["episodes"])]
            for task, entry in self.results["tasks"].items()
        }
        spent = [float(self.results.get(name) or 0) for name in ("minutes", "battles")]
        return json.dumps([self.folder.parts[-2:], self.algorithm, self.seed, spent, wins], sort_keys=True)


Groups = Mapping[str, Sequence[Run]]
"""Label -> runs that differ in their seed alone."""


def check_comparable(runs: Sequence[Run], allow_mixed: bool) -> list[str]:
    """Runs of another environment or other versions than the first one, one line each.

    UserError at the first of them unless mixing is allowed.
    """
    lines = [line for fact in COMPARED_FACTS for line in _differences(runs, fact)]
    if lines and not allow_mixed:
        raise UserError(f"{lines[0]}; they are not comparable (--allow_mixed true compares them anyway)")
    return lines


def _differences(runs: Sequence[Run], fact: str) -> list[str]:
    first, value = runs[0], runs[0].results.get(fact)
    return [
        f"different {fact}: {_told(value, other)} in {first.name}, {_told(other, value)} in {run.name}"
        for run in runs[1:]
        if (other := run.results.get(fact)) != value
    ]


def _told(value: Any, other: Any) -> str:
    """A fact as text; of a dict only the entries that are not the other's."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: entry for key, entry in value.items() if other.get(key) != entry}
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or "nothing more"
    return "unknown" if value is None else json.dumps(value)


def grouped(runs: Iterable[Run]) -> tuple[dict[str, list[Run]], list[str]]:
    """Runs by label, and a line for each run or group that is left out.

    Of runs of the same settings and seed the newest counts. A group whose runs are all copies of another
    group's does not count.
    """
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps(run.kin, sort_keys=True, default=str)
        by_settings.setdefault(key, []).append(run)
    whole, lines = _without_copies(list(by_settings.values()))
    groups = []
    for group in whole:
        newest: dict[Any, Run] = {}
        for run in sorted(group, key=lambda r: (r.folder.name, r.folder)):
            older = newest.pop(run.seed, None)
            newest[run.folder if run.seed is None else run.seed] = run
            if older is not None:
                names = (older.name, run.name) if older.name != run.name else (older.folder, run.folder)
                lines.append(f"left out: {names[0]}, for {names[1]} repeats its seed {run.seed}")
        groups.append(sorted(newest.values(), key=lambda r: (r.seed is None, r.seed or 0)))
    return dict(zip(_labels(groups), groups)), lines


def _without_copies(groups: list[list[Run]]) -> tuple[list[list[Run]], list[str]]:
    """Groups that hold runs of their own, and a line for each of the others.

    Of groups of the same runs folders win over tables, which have less of a run; then the first one does.
    """
    in_order = sorted(groups, key=lambda group: not (group[0].folder / RESULTS_FILE).is_file())
    keys = [frozenset(run.copy_key for run in group) for group in in_order]
    copies, lines = set(), []
    for place, (own, group) in enumerate(zip(keys, in_order)):
        larger = [other for other, known in zip(in_order, keys) if own < known]
        original = next(iter([*larger, *(in_order[n] for n in range(place) if keys[n] == own)]), None)
        if original is not None:
            copies.add(id(group))
            told = [str(one[0].source or one[0].folder.parent) for one in (group, original)]
            lines.append(
                f"left out: {group[0].group or group[0].algorithm} of {told[0]}, a copy from {told[1]}"
            )
    return [group for group in groups if id(group) not in copies], lines


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """A label for each group: its name in the study or table, with the source in front where two sources
    share it; of other groups the algorithm and the settings that differ, e.g. `HyGen lr=0.001`."""
    firsts = [group[0] for group in groups]
    sources = _source_names({first.source for first in firsts if first.source is not None})
    named = {(first.source, first.group) for first in firsts if first.source is not None}
    sharing = Counter(group for _, group in named)
    labels: list[str] = []
    for group, first in zip(groups, firsts):
        if first.source is None:
            rivals = [o.settings for o in firsts if o.source is None and o.algorithm == first.algorithm]
            differing = differing_settings(rivals)
            said = [f"{_short(name, differing)}={_value(first.settings.get(name))}" for name in differing]
            if len(said) > MOST_IN_LABEL:
                said = sorted({run.folder.parent.name for run in group})
            label = " ".join([first.algorithm, *said])
        else:
            place = f"{sources[first.source]}/" if sharing[first.group] > 1 else ""
            label = f"{place}{first.group}"
        count = sum(other == label or other.startswith(f"{label} #") for other in labels)
        labels.append(f"{label} #{count + 1}" if count else label)
    return labels


def _source_names(sources: Collection[Path]) -> dict[Path, str]:
    """The shortest end of each path that no other has; tables without .csv, where that leaves them apart."""
    bare = {source: source.with_suffix("") if source.suffix == ".csv" else source for source in sources}
    if len(set(bare.values())) < len(bare):
        bare = {source: source for source in sources}

    def end(path: Path, length: int) -> str:
        return "/".join(path.parts[-length:])

    def shortest(path: Path) -> str:
        lengths = range(1, len(path.parts) + 1)
        unique = (n for n in lengths if sum(end(o, n) == end(path, n) for o in bare.values()) == 1)
        return end(path, next(unique, len(path.parts)))

    return {source: shortest(path) for source, path in bare.items()}


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that are not the same in all."""
    names = dict.fromkeys(name for one in settings for name in one)
    return [name for name in names if any(one.get(name) != settings[0].get(name) for one in settings)]


def differences_between(groups: Groups) -> list[str]:
    """One line per setting that all groups have, that differs between them and is in no label."""
    settings = {label: runs[0].settings for label, runs in groups.items()}
    shared = set.intersection(*(set(one) for one in settings.values()))
    return [
        f"{name}: " + ", ".join(f"{_value(one[name])} ({label})" for label, one in settings.items())
        for name in differing_settings(list(settings.values()))
        if name in shared and name not in ("model.class_path", "group")
        if not all(f"{name.rpartition('.')[2]}=" in label for label in settings)
    ]


def _short(name: str, among: Sequence[str]) -> str:
    """The last part of a dotted name, where no other of these ends in it."""
    last = name.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in among) == 1 else name


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def tasks_of_some(groups: Groups) -> list[str]:
    """One line per group and task that only some of its runs have played: the group's means leave it out."""
    lines = []
    for label, runs in groups.items():
        entries = [(task, entry) for run in runs for task, entry in run.results["tasks"].items()]
        played = Counter(task for task, entry in entries if kind_of(entry) != "extra")
        lines += [
            f"{task} is in no mean of {label}: {count} of its {len(runs)} runs played it"
            for task, count in played.items()
            if count < len(runs)
        ]
    return lines


def kind_of(entry: Mapping[str, Any]) -> TaskKind:
    """What a task is to a run, by its entry in the results."""
    return "extra" if entry.get("extra") else "seen" if entry["seen"] else "unseen"


def task_sets_of(groups: Groups) -> dict[str, Groups]:
    """The groups by what they learned: the name of the task set, or the tasks themselves.

    Only groups of the same set stand in one table: by the quality of their recordings, the one that wins
    most of the unseen tasks (without any, of all) first.
    """
    by_set: dict[str, dict[str, Sequence[Run]]] = {}
    for label, runs in groups.items():
        tasks = runs[0].results["tasks"]
        seen = [task for task, entry in tasks.items() if kind_of(entry) == "seen"]
        by_set.setdefault(_set_name(seen), {})[label] = runs
    return {
        name: dict(sorted(found.items(), key=lambda entry: _rank(entry[1]))) for name, found in by_set.items()
    }


def _rank(runs: Sequence[Run]) -> tuple[int, float]:
    """Sorts groups as `task_sets_of` says."""
    known = runs[0].results
    quality = known.get("quality") or (known.get("data") or {}).get("quality")
    place = QUALITIES.index(quality) if quality in QUALITIES else len(QUALITIES)
    entries = [entry for run in runs for entry in run.results["tasks"].values()]
    unseen = [entry["win_rate"] for entry in entries if kind_of(entry) == "unseen"]
    rates = unseen or [entry["win_rate"] for entry in entries]
    return place, -sum(rates) / max(len(rates), 1)


def _set_name(seen: Sequence[str]) -> str:
    for name, task_set in TASK_SETS.items():
        if len(seen) > 1 and set(seen) == set(task_set.train):
            return name
    return ", ".join(sorted(seen)) or "nothing seen"


def run_table(groups: Groups) -> DataFrame:
    """The tidy table of all results: one row per run and task, in the order of groups, kinds and tasks.

    Columns: group, run, seed, task, kind, episodes, win_rate (0..1), win_rate_noisy (with some random
    actions; NaN where that was not played), return, length (env steps).
    """
    from pandas import DataFrame

    rows = [
        {
            "group": label,
            "run": str(run.folder),
            "seed": run.seed,
            "task": task,
            "kind": kind_of(entry),
            **{name: entry.get(name) for name in FIGURES},
        }
        for label, runs in groups.items()
        for run in runs
        for task, entry in run.results["tasks"].items()
    ]
    rows.sort(key=lambda row: (list(groups).index(row["group"]), TASK_KINDS.index(row["kind"])))
    return DataFrame(rows).astype({"seed": "Int64", "win_rate_noisy": float})
