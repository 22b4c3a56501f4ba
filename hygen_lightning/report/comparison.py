"""Groups of runs that differ in their seed, summed up and compared (Agarwal et al. 2021).

All intervals of a group with several runs are over seeds. A group of one run knows nothing of
other seeds: its tasks show intervals over episodes instead, under a name of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hygen_lightning.report.runs import TASK_KINDS, Run, TaskKind, group_names
from hygen_lightning.report.statistics import (
    Estimate,
    Scores,
    interquartile_mean,
    mean_over_seeds,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

PROFILE_THRESHOLDS = [round(0.05 * k, 2) for k in range(21)]
"""Win rates at which performance profiles are drawn."""

INTERVALS = (
    "95 %; over seeds: Student's for tasks and means, stratified bootstrap for aggregates; "
    "over episodes: Wilson's, for groups of one run only"
)
"""How the two kinds of intervals are computed, as written into reports."""


@dataclass(frozen=True)
class TaskSummary:
    """One task in one group: mean win rate over runs, and its interval of the one kind or the other."""

    task: str
    kind: TaskKind
    win_rate: float
    runs: int
    episodes_per_run: int
    ci95_over_seeds: tuple[float, float] | None
    ci95_over_episodes: tuple[float, float] | None


@dataclass(frozen=True)
class Aggregate:
    """A group over all its seen (or unseen) tasks: figures with intervals over seeds."""

    tasks: list[str]
    mean: Estimate
    iqm: Estimate
    optimality_gap: Estimate
    profile: list[float]


@dataclass(frozen=True)
class GroupSummary:
    """One group of runs. seen, unseen: None where its runs share no such task."""

    group: str
    seeds: list[int | None]
    tasks: list[TaskSummary]
    seen: Aggregate | None
    unseen: Aggregate | None


@dataclass(frozen=True)
class Improvement:
    """Chance that a run of one group beats a run of another on a task, over their common tasks."""

    group: str
    over: str
    tasks: list[str]
    probability: Estimate


@dataclass(frozen=True)
class Comparison:
    """All groups, and each pair of groups over their common seen and over their common unseen tasks."""

    groups: list[GroupSummary]
    seen_improvements: list[Improvement]
    unseen_improvements: list[Improvement]

    def to_json(self) -> dict[str, Any]:
        """The comparison as one JSON object."""
        return {
            "intervals": INTERVALS,
            "groups": {summary.group: asdict(summary) for summary in self.groups},
            "profile_thresholds": PROFILE_THRESHOLDS,
            "probability_of_improvement": {
                "seen": [asdict(pair) for pair in self.seen_improvements],
                "unseen": [asdict(pair) for pair in self.unseen_improvements],
            },
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Summaries of all groups, in the order of the runs, and improvements of each pair of groups."""
    groups = [[run for run in runs if run.group == name] for name in group_names(runs)]
    return Comparison(
        groups=[_summary(group) for group in groups],
        seen_improvements=_improvements(groups, seen=True),
        unseen_improvements=_improvements(groups, seen=False),
    )


def _improvements(groups: Sequence[list[Run]], seen: bool) -> list[Improvement]:
    """Probability of improvement for each pair of groups that share seen (or unseen) tasks."""
    found = []
    for ours, theirs in combinations(groups, 2):
        tasks = _common_tasks([*ours, *theirs], seen)
        if tasks:
            estimate = probability_of_improvement(_scores(ours, tasks), _scores(theirs, tasks))
            found.append(Improvement(ours[0].group, theirs[0].group, tasks, estimate))
    return found


def _summary(runs: list[Run]) -> GroupSummary:
    names = dict.fromkeys(task for run in runs for task in run.tasks)
    tasks = [_task_summary(task, [run for run in runs if task in run.tasks]) for task in names]
    return GroupSummary(
        group=runs[0].group,
        seeds=[run.seed for run in runs],
        tasks=sorted(tasks, key=lambda task: TASK_KINDS.index(task.kind)),
        seen=_aggregate(runs, seen=True),
        unseen=_aggregate(runs, seen=False),
    )


def _task_summary(task: str, runs: list[Run]) -> TaskSummary:
    estimate = mean_over_seeds([run.win_rate(task) for run in runs])
    return TaskSummary(
        task=task,
        kind=runs[0].kind(task),
        win_rate=estimate.value,
        runs=len(runs),
        episodes_per_run=min(int(run.tasks[task]["episodes"]) for run in runs),
        ci95_over_seeds=estimate.ci95,
        ci95_over_episodes=runs[0].interval_over_episodes(task) if len(runs) == 1 else None,
    )


def _aggregate(runs: list[Run], seen: bool) -> Aggregate | None:
    tasks = _common_tasks(runs, seen)
    if not tasks:
        return None
    scores = _scores(runs, tasks)
    return Aggregate(
        tasks=tasks,
        mean=mean_over_seeds(scores.mean(axis=1).tolist()),
        iqm=interquartile_mean(scores),
        optimality_gap=optimality_gap(scores),
        profile=performance_profile(scores, PROFILE_THRESHOLDS),
    )


def _common_tasks(runs: Sequence[Run], seen: bool) -> list[str]:
    """Tasks that all runs have played and that are seen (or unseen) for all of them; no extra ones."""
    kind = "seen" if seen else "unseen"
    return [
        task for task in runs[0].tasks if all(task in run.tasks and run.kind(task) == kind for run in runs)
    ]


def _scores(runs: Sequence[Run], tasks: Sequence[str]) -> Scores:
    """[runs, tasks] win rates."""
    return np.array([[run.win_rate(task) for task in tasks] for run in runs], dtype=float)
