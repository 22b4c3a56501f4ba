"""Put finished runs side by side: means over seeds, aggregates, improvement, plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.data.files import check_place

if TYPE_CHECKING:
    from hygen_lightning.report.comparison import Comparison
    from hygen_lightning.report.statistics import Estimate


def report(
    runs: list[Path], out: Path = Path("report"), allow_mixed: bool = False, json: bool = False
) -> int:
    """Compare finished runs. Those with equal options form a group, whose runs differ in their seed.

    Args:
        runs: run folders, folders of them, or results.json files
        out: folder for the plots, report.json and runs.csv (one row per run and task)
        allow_mixed: compare runs of other environments or versions than the first one's
        json: one JSON object on stdout, instead of tables
    """
    from json import dumps

    from hygen_lightning.report.comparison import compare
    from hygen_lightning.report.comparison_plots import write_plots
    from hygen_lightning.report.results import write_atomically
    from hygen_lightning.report.runs import (
        check_comparable,
        differences_between,
        find_runs,
        grouped,
        run_table,
    )

    check_place(out / "report.json")
    found, unfinished = find_runs(runs)
    mixed = check_comparable(found, allow_mixed)
    groups, replaced = grouped(found)
    table, differences = run_table(groups), differences_between(groups)
    comparison = compare(table)
    payload = {
        "groups": {
            label: {"seeds": [r.seed for r in members], "runs": [str(r.folder) for r in members]}
            for label, members in groups.items()
        },
        "left_out": [*unfinished, *replaced],
        "mixed": mixed,
        "differences": differences,
        **comparison.to_json(),
    }
    write_atomically(out / "report.json", dumps(payload, indent=2, allow_nan=False) + "\n")
    write_atomically(out / "runs.csv", table.to_csv(index=False))
    plots = write_plots(groups, comparison, out)
    if json:
        print_json(payload)
        return 0
    _print_comparison(comparison)
    said = [*unfinished, *replaced, *(f"mixed: {line}" for line in mixed)]
    said += [f"groups differ in {line}" for line in differences]
    written = ", ".join(str(path) for path in (out / "report.json", out / "runs.csv", *plots))
    print(*said, f"written: {written}", sep="\n")
    return 0


def _print_comparison(comparison: Comparison) -> None:
    """Win rates by group and task, then over tasks; each interval names what it is over."""
    for group in comparison.tasks.group.unique():
        _print_group(comparison, group)
    figures = [(a.group, a.kind, _told(a.iqm), _told(a.optimality_gap)) for a in comparison.aggregates]
    columns = ("group", "tasks", "IQM %", "optimality gap %")
    print_table("Over tasks [95 % over seeds]", columns, figures)
    pairs = comparison.improvements
    chances = [(f"{p.group} over {p.over}", p.kind, len(p.tasks), _told(p.probability)) for p in pairs]
    if chances:
        columns = ("groups", "tasks", "number", "% [95 % over seeds]")
        print_table("Probability of improvement", columns, chances)


def _print_group(comparison: Comparison, group: str) -> None:
    """Win rates of one group: intervals over seeds, or over episodes where there is one run."""
    from hygen_lightning.report.runs import TASK_KINDS
    from hygen_lightning.report.tables import interval, percent

    tasks = comparison.tasks[comparison.tasks.group == group]
    means = {a.kind: a for a in comparison.aggregates if a.group == group}
    over = "seeds" if tasks.seeds.max() > 1 else "episodes"
    rows: list[tuple[object, ...]] = []
    for kind in TASK_KINDS:
        for row in tasks[tasks.kind == kind].itertuples():
            span = row.ci95_over_seeds if over == "seeds" else row.ci95_over_episodes
            rows.append((row.task, kind, percent(row.win_rate), interval(span), row.seeds, row.episodes))
        if kind in means:
            mean = means[kind].mean
            counts = means[kind].seeds, means[kind].episodes
            rows.append((f"mean {kind}", kind, percent(mean.value), interval(mean.ci95), *counts))
    title = f"{group}: {tasks.seeds.max()} seeds" if over == "seeds" else f"{group}: one run"
    print_table(title, ("task", "", "win rate %", f"95 % over {over}", "seeds", "episodes"), rows)


def _told(estimate: Estimate) -> str:
    """A figure with its interval, or alone where one run leaves it unknown."""
    from hygen_lightning.report.tables import interval, percent

    return percent(estimate.value) + (f" [{interval(estimate.ci95)}]" if estimate.ci95 else "")
