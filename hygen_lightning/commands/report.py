"""Put finished runs side by side: means over seeds, aggregates, improvement, plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.data.files import check_place

if TYPE_CHECKING:
    from hygen_lightning.report.comparison import Comparison, GroupSummary, Improvement
    from hygen_lightning.report.statistics import Estimate


def report(
    runs: list[Path], out: Path = Path("report"), allow_mixed: bool = False, json: bool = False
) -> int:
    """Compare finished runs; those in one folder (runs/NAME/...) form a group and differ in seed.

    Args:
        runs: run folders, folders of them, or results.json files
        out: folder for the plots and report.json
        allow_mixed: compare runs of other environments, versions or data than the first one's
        json: one JSON object on stdout, instead of tables
    """
    from json import dumps

    from hygen_lightning.report.comparison import compare
    from hygen_lightning.report.comparison_plots import write_plots
    from hygen_lightning.report.results import write_atomically
    from hygen_lightning.report.runs import check_comparable, find_runs

    check_place(out / "report.json")
    found = find_runs(runs)
    differences = check_comparable(found, allow_mixed)
    comparison = compare(found)
    folders = [str(run.folder) for run in found]
    payload = {"runs": folders, "differences": differences, **comparison.to_json()}
    write_atomically(out / "report.json", dumps(payload, indent=2, allow_nan=False) + "\n")
    plots = write_plots(found, comparison, out)
    if json:
        print_json(payload)
        return 0
    _print_comparison(comparison)
    for line in differences:
        print(f"mixed: {line}")
    print("written:", ", ".join(str(path) for path in (out / "report.json", *plots)))
    return 0


def _print_comparison(comparison: Comparison) -> None:
    for summary in comparison.groups:
        _print_tasks(summary)
    _print_aggregates(comparison.groups)
    _print_improvements("seen", comparison.seen_improvements)
    _print_improvements("unseen", comparison.unseen_improvements)


def _print_tasks(summary: GroupSummary) -> None:
    """Win rates of one group: intervals over seeds, or over episodes where there is one run."""
    from hygen_lightning.report.tables import interval, percent

    several = len(summary.seeds) > 1
    kind = "95 % over seeds" if several else "95 % over episodes"
    rows = [
        (
            task.task,
            task.kind,
            percent(task.win_rate),
            interval(task.ci95_over_seeds if several else task.ci95_over_episodes),
            task.runs,
            task.episodes_per_run,
        )
        for task in summary.tasks
    ]
    title = f"{summary.group}: {len(summary.seeds)} runs" if several else f"{summary.group}: one run"
    print_table(title, ("task", "", "win rate %", kind, "runs", "episodes each"), rows)


def _print_aggregates(groups: Sequence[GroupSummary]) -> None:
    """Seen and unseen tasks of each group in one number, intervals over seeds."""
    rows = []
    for group in groups:
        for kind, aggregate in (("seen", group.seen), ("unseen", group.unseen)):
            if aggregate is not None:
                figures = (aggregate.mean, aggregate.iqm, aggregate.optimality_gap)
                rows.append((f"{group.group}, {kind}", len(aggregate.tasks), *map(_told, figures)))
    columns = ("group", "tasks", "mean %", "IQM %", "opt. gap %")
    print_table("Over tasks [95 % over seeds]", columns, rows)


def _print_improvements(kind: str, pairs: Sequence[Improvement]) -> None:
    rows = [(f"{pair.group} over {pair.over}", len(pair.tasks), _told(pair.probability)) for pair in pairs]
    if rows:
        columns = ("groups", "tasks", "% [95 % over seeds]")
        print_table(f"Probability of improvement, {kind} tasks", columns, rows)


def _told(estimate: Estimate) -> str:
    """A figure with its interval, or alone where one run leaves it unknown."""
    from hygen_lightning.report.tables import interval, percent

    return percent(estimate.value) + (f" [{interval(estimate.ci95)}]" if estimate.ci95 else "")
