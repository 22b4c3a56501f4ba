"""A comparison as tables of text; each interval says what it is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hygen_lightning.report.comparison import MOST_SIDE_BY_SIDE, Comparison
from hygen_lightning.report.curves_over_seeds import SPENT
from hygen_lightning.report.formats import TextTable
from hygen_lightning.report.runs import TASK_KINDS, Groups
from hygen_lightning.report.statistics import Estimate
from hygen_lightning.report.tables import interval, percent


def spent_table(groups: Groups) -> TextTable:
    """What the runs of each group took, on average, and the commit that they ran."""
    names = ["optimiser_steps" if name == "step" else name for name in SPENT]
    rows = []
    for label, runs in groups.items():
        found = [[run.results.get(name) for run in runs] for name in names]
        commits = dict.fromkeys(str(run.results.get("commit") or "–") for run in runs)
        rows.append((label, str(len(runs)), *map(_mean_spent, found), " ".join(commits)))
    columns = ("group", "runs", *SPENT.values(), "commit")
    note = "Means over the runs."
    return TextTable("spent", "What it took", columns, rows, note)


def _mean_spent(values: Sequence[Any]) -> str:
    """Of numbers, or of their text; a dash where a run did not say."""
    known = [float(value) for value in values if value not in (None, "")]
    mean = sum(known) / len(known) if len(known) == len(values) else None
    if mean is None:
        return "–"
    return f"{mean:,.0f}" if mean >= 100 or mean == round(mean) else f"{mean:.1f}"


def comparison_tables(comparison: Comparison) -> list[TextTable]:
    """Means over tasks, win rates side by side, every task with both intervals, who beats whom."""
    tables = [_means(comparison), _side_by_side(comparison), _tasks(comparison), _improvements(comparison)]
    return [table for table in tables if table.rows]


def _means(comparison: Comparison) -> TextTable:
    rows = [
        (
            a.group,
            a.kind,
            *(_told(estimate) for estimate in (a.mean, a.mean_noisy, a.iqm, a.optimality_gap)),
            str(a.seeds),
            str(a.episodes),
        )
        for a in comparison.aggregates
    ]
    columns = ("group", "tasks", "mean %", "noisy %", "IQM %", "optimality gap %", "seeds", "battles")
    note = "Noisy: the mean of the same battles with some random actions. "
    note += (
        "In brackets: 95 % over seeds (mean: Student's; IQM, gap: stratified bootstrap); one run has none."
    )
    return TextTable("means", "Means over tasks", columns, rows, note, texts=2)


def _side_by_side(comparison: Comparison) -> TextTable:
    """Tasks down, groups across; many groups are down, and the tasks across."""
    told = comparison.tasks
    groups = list(told.group.unique())
    cells = {
        (row.group, row.kind, row.task): percent(row.win_rate)
        + (f" [{interval(row.ci95_over_seeds)}]" if row.ci95_over_seeds else "")
        for row in told.itertuples()
    }
    tasks = [(kind, task) for kind in TASK_KINDS for task in told[told.kind == kind].task.unique()]
    heading = ("by_task", "Win rates by task, %")
    note = "In brackets: 95 % over seeds; one run has none."
    if len(groups) > MOST_SIDE_BY_SIDE:
        columns = ("group", *(f"{task} ({kind})" for kind, task in tasks))
        below = [(group, *(cells.get((group, *task), "–") for task in tasks)) for group in groups]
        return TextTable(*heading, columns, below, note)
    rows = [(task, kind, *(cells.get((group, kind, task), "–") for group in groups)) for kind, task in tasks]
    return TextTable(*heading, ("task", "", *groups), rows, note, texts=2)


def _tasks(comparison: Comparison) -> TextTable:
    rows = [
        (
            row.group,
            row.task,
            row.kind,
            percent(row.win_rate),
            percent(None if row.win_rate_noisy != row.win_rate_noisy else row.win_rate_noisy),
            interval(row.ci95_over_seeds),
            interval(row.ci95_over_episodes),
            str(row.seeds),
            str(row.episodes),
        )
        for row in comparison.tasks.itertuples()
    ]
    over = ("95 % over seeds", "95 % over battles")
    columns = ("group", "task", "", "win rate %", "noisy %", *over, "seeds", "battles")
    note = "Over seeds: what another training would give. Over battles: what these runs would in others."
    return TextTable("tasks", "Every task, with both intervals", columns, rows, note, texts=3)


def _improvements(comparison: Comparison) -> TextTable:
    rows = [
        (f"{pair.group} over {pair.over}", pair.kind, str(len(pair.tasks)), _told(pair.probability))
        for pair in comparison.improvements
    ]
    note = "Chance that a run of the first beats one of the second on a task. In brackets: 95 % over seeds."
    columns = ("groups", "tasks", "number", "%")
    return TextTable("improvement", "Probability of improvement", columns, rows, note, texts=2)


def _told(estimate: Estimate | None) -> str:
    """A figure with its interval, or alone where one run leaves it unknown; a dash for none."""
    if estimate is None:
        return "–"
    return percent(estimate.value) + (f" [{interval(estimate.ci95)}]" if estimate.ci95 else "")
