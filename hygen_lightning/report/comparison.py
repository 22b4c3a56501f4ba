"""Groups of runs that differ in their seed, summed up and compared (Agarwal et al. 2021).

A win rate has two intervals, under names of their own: over seeds (what another training would give;
unknown for one run) and over episodes (what other battles of these same runs would give).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hygen_lightning.report.runs import TaskKind
from hygen_lightning.report.statistics import (
    Estimate,
    Scores,
    interquartile_mean,
    mean_over_seeds,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    wilson_interval,
)

if TYPE_CHECKING:
    from pandas import DataFrame

PROFILE_THRESHOLDS = [round(0.05 * k, 2) for k in range(21)]
"""Win rates at which performance profiles are drawn."""
MOST_SIDE_BY_SIDE = 6
"""Of more groups, pairs are those of the best one with each other one, and tables have the groups below
each other."""
COMPARED_KINDS: tuple[TaskKind, ...] = ("seen", "unseen")
INTERVALS = (
    "95 %; over seeds: Student's for tasks and means, stratified bootstrap for aggregates; "
    "over episodes: Wilson's, all battles of the group's runs together"
)
"""How the two kinds of intervals are computed, as written into reports."""


@dataclass(frozen=True)
class Aggregate:
    """A group over all its seen (or unseen) tasks: figures with intervals over seeds."""

    group: str
    kind: TaskKind
    tasks: list[str]
    seeds: int
    episodes: int
    mean: Estimate
    mean_noisy: Estimate | None
    """With some random actions; None where a run has not played so."""
    iqm: Estimate
    optimality_gap: Estimate
    profile: list[float]


@dataclass(frozen=True)
class Improvement:
    """Chance that a run of one group beats a run of another, whose mean is not higher, on a task; over their
    common tasks."""

    group: str
    over: str
    kind: TaskKind
    tasks: list[str]
    probability: Estimate


@dataclass(frozen=True)
class Comparison:
    """tasks: one row per group and task (`task_table`). Groups and pairs without a common task of a
    kind have no aggregate or improvement of it."""

    tasks: DataFrame
    aggregates: list[Aggregate]
    improvements: list[Improvement]

    def to_json(self) -> dict[str, Any]:
        """The comparison as one JSON object."""
        return {
            "intervals": INTERVALS,
            "tasks": json.loads(self.tasks.to_json(orient="records", double_precision=15)),
            "aggregates": [asdict(aggregate) for aggregate in self.aggregates],
            "profile_thresholds": PROFILE_THRESHOLDS,
            "probability_of_improvement": [asdict(pair) for pair in self.improvements],
        }


def compare(table: DataFrame) -> Comparison:
    """Summaries of all groups of a `run_table`, and improvements of pairs of them (`MOST_SIDE_BY_SIDE`)."""
    groups = list(table.group.unique())
    found = [_aggregate(table, group, kind) for group in groups for kind in COMPARED_KINDS]
    aggregates = [aggregate for aggregate in found if aggregate is not None]
    pairs = [
        _improvement(table, *pair, kind) for kind in COMPARED_KINDS for pair in _pairs_of(aggregates, kind)
    ]
    return Comparison(task_table(table), aggregates, [pair for pair in pairs if pair is not None])


def _pairs_of(aggregates: Sequence[Aggregate], kind: TaskKind) -> list[tuple[str, str]]:
    """Pairs of groups, the one with the higher mean first."""
    known = [aggregate for aggregate in aggregates if aggregate.kind == kind]
    best, *others = [a.group for a in sorted(known, key=lambda a: -a.mean.value)] or [""]
    if len(known) > MOST_SIDE_BY_SIDE:
        return [(best, other) for other in others]
    return list(combinations([best, *others], 2))


def task_table(table: DataFrame) -> DataFrame:
    """One row per group and task: win rate over its seeds, and its two intervals.

    Columns: group, task, kind, win_rate, win_rate_noisy (NaN where a run has none), seeds, episodes (of all
    seeds), ci95_over_seeds (low and high; None for one run) and ci95_over_episodes (low and high; cautious
    where runs differ, for that difference is no chance of the battles).
    """
    from pandas import DataFrame

    rows = []
    for (group, kind, task), runs in table.groupby(["group", "kind", "task"], sort=False):
        rates, episodes = runs.win_rate.tolist(), int(runs.episodes.sum())
        estimate, wins = mean_over_seeds(rates), round((runs.win_rate * runs.episodes).sum())
        rows.append(
            {
                "group": group,
                "task": task,
                "kind": kind,
                "win_rate": estimate.value,
                "win_rate_noisy": runs.win_rate_noisy.mean(skipna=False),
                "seeds": len(rates),
                "episodes": episodes,
                "ci95_over_seeds": estimate.ci95,
                "ci95_over_episodes": wilson_interval(wins, episodes),
            }
        )
    return DataFrame(rows)


def _aggregate(table: DataFrame, group: str, kind: TaskKind) -> Aggregate | None:
    chosen = table[(table.group == group) & (table.kind == kind)]
    tasks, scores = _scores(table, group, kind)
    if not tasks:
        return None
    return Aggregate(
        group=group,
        kind=kind,
        tasks=tasks,
        seeds=len(scores),
        episodes=int(chosen[chosen.task.isin(tasks)].episodes.sum()),
        mean=mean_over_seeds(scores.mean(axis=1).tolist()),
        mean_noisy=_mean_noisy(chosen[chosen.task.isin(tasks)]),
        iqm=interquartile_mean(scores),
        optimality_gap=optimality_gap(scores),
        profile=performance_profile(scores, PROFILE_THRESHOLDS),
    )


def _mean_noisy(chosen: DataFrame) -> Estimate | None:
    if chosen.win_rate_noisy.isna().any():
        return None
    return mean_over_seeds(chosen.groupby("run").win_rate_noisy.mean().tolist())


def _improvement(table: DataFrame, group: str, over: str, kind: TaskKind) -> Improvement | None:
    theirs = _scores(table, over, kind)[0]
    tasks = [task for task in _scores(table, group, kind)[0] if task in theirs]
    if not tasks:
        return None
    shared = table[table.task.isin(tasks)]
    scores, baseline = (_scores(shared, name, kind)[1] for name in (group, over))
    return Improvement(group, over, kind, tasks, probability_of_improvement(scores, baseline))


def _scores(table: DataFrame, group: str, kind: TaskKind) -> tuple[list[str], Scores]:
    """Tasks that all runs of a group have as this kind, and their win rates [runs, tasks].

    Tasks stand in the order of the whole table, so that the columns of two groups are the same.
    """
    of_group = table[table.group == group]
    wide = of_group[of_group.kind == kind].pivot(index="run", columns="task", values="win_rate")
    whole = wide.reindex(index=of_group.run.unique()).dropna(axis="columns")
    tasks = [task for task in table.task.unique() if task in whole.columns]
    return tasks, whole[tasks].to_numpy(dtype=float)
