"""Pictures of a comparison: win rates per task, aggregates, profiles, learning curves over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hygen_lightning.report.comparison import PROFILE_THRESHOLDS, Aggregate, Comparison, Improvement
from hygen_lightning.report.learning_curves import MEANS, read_metrics
from hygen_lightning.report.runs import TASK_KINDS, Groups, Run
from hygen_lightning.report.statistics import Estimate, mean_over_seeds
from hygen_lightning.report.style import INK, SERIES_COLOURS, new_figure, save_figure, share_axis, tidy_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame, Series

WHISKER = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5}


def write_plots(groups: Groups, comparison: Comparison, folder: Path) -> list[Path]:
    """Draw what there is to draw into a folder; the files written, in reading order."""
    written = [folder / "win_rates.png"]
    draw_win_rates(comparison.tasks, written[0])
    if comparison.aggregates:
        written.append(folder / "aggregates.png")
        draw_aggregates(comparison.aggregates, comparison.improvements, written[-1])
    metrics = {label: _metrics_of(runs) for label, runs in groups.items()}
    if any(metrics.values()):
        written.append(folder / "learning_curves.png")
        draw_curves_over_seeds(metrics, written[-1])
    return written


def draw_win_rates(table: DataFrame, path: Path) -> None:
    """A bar per group for every task, seen tasks first; whiskers over seeds (one run: over episodes).

    table: as `comparison.task_table` gives it.
    """
    kinds = dict(zip(table.task, table.kind))
    tasks = sorted(kinds, key=lambda name: TASK_KINDS.index(kinds[name]))
    groups = list(table.group.unique())
    figure = new_figure(width=max(7.0, 1.5 + 0.75 * len(tasks)), height=4.0)
    axes = figure.add_subplot()
    tidy_axes(axes, "Win rate per task", "")
    width = 0.8 / len(groups)
    for index, (group, rows) in enumerate(table.groupby("group", sort=False)):
        places = [tasks.index(task) + (index - (len(groups) - 1) / 2) * width for task in rows.task]
        seeds = int(rows.seeds.max())
        kind = f"{seeds} seeds" if seeds > 1 else "one run, whiskers over its episodes"
        intervals = rows.ci95_over_seeds.combine_first(rows.ci95_over_episodes)
        bars: dict[str, Any] = {
            "color": SERIES_COLOURS[index % len(SERIES_COLOURS)],
            "label": f"{group} ({kind})",
        }
        whiskers = _whiskers(rows.win_rate, intervals)
        axes.bar(places, rows.win_rate, width * 0.92, yerr=whiskers, error_kw=WHISKER, **bars)
    turned: dict[str, Any] = {"rotation": 35, "ha": "right"} if len(tasks) > 6 else {}
    axes.set_xticks(range(len(tasks)), tasks, **turned)
    for place, name in enumerate(tasks):
        if place == 0 or kinds[name] != kinds[tasks[place - 1]]:
            axes.axvline(place - 0.5, color=INK, lw=0.8, ls=":")
            axes.text(place - 0.45, 1.05, kinds[name], ha="left", color=INK, fontsize=8.5)
    share_axis(axes, top=1.12)
    axes.legend(
        frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, labelcolor=INK, fontsize=9
    )
    save_figure(figure, path)


def draw_aggregates(aggregates: Sequence[Aggregate], improvements: Sequence[Improvement], path: Path) -> None:
    """IQM, optimality gap and performance profile of win rates on unseen tasks, or seen ones if none is."""
    kind = "unseen" if any(aggregate.kind == "unseen" for aggregate in aggregates) else "seen"
    shown = [aggregate for aggregate in aggregates if aggregate.kind == kind]
    pairs = [pair for pair in improvements if pair.kind == kind]
    figure = new_figure(width=12.0, height=1.9 + 0.45 * max(len(shown), len(pairs), 3))
    panels = figure.subplots(1, 4 if pairs else 3, width_ratios=[1, 1, 1.3, 1][: 4 if pairs else 3])
    _draw_estimates(panels[0], f"IQM, {kind} tasks", [(a.group, a.iqm) for a in shown])
    _draw_estimates(panels[1], "Optimality gap", [("", a.optimality_gap) for a in shown])
    tidy_axes(panels[2], "Performance profile", "win rate τ")
    for index, a in enumerate(shown):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        panels[2].step(PROFILE_THRESHOLDS, a.profile, where="post", color=colour, lw=2, label=a.group)
    panels[2].set_ylabel("share of runs and tasks above τ", fontsize=8.5, color=INK)
    panels[2].legend(frameon=False, fontsize=8.5, labelcolor=INK)
    share_axis(panels[2])
    if pairs:
        rows = [(f"{pair.group} > {pair.over}", pair.probability) for pair in pairs]
        _draw_estimates(panels[3], "Probability of improvement", rows, colours=(INK,))
        panels[3].axvline(0.5, color=INK, lw=0.8, ls=":")
    figure.text(0.01, -0.02, "Bars: 95 % stratified bootstrap intervals over seeds.", fontsize=8.5, color=INK)
    save_figure(figure, path)


def _draw_estimates(
    axes: Axes, title: str, rows: Sequence[tuple[str, Estimate]], colours: Sequence[str] = SERIES_COLOURS
) -> None:
    """One line per row: its interval as a bar, its value as a tick."""
    tidy_axes(axes, title, "")
    for index, (_, estimate) in enumerate(rows):
        colour = colours[index % len(colours)]
        low, high = estimate.ci95 or (estimate.value, estimate.value)
        axes.barh(index, high - low, left=low, height=0.5, color=colour, alpha=0.45)
        axes.plot([estimate.value] * 2, [index - 0.25, index + 0.25], color=colour, lw=3)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)


def draw_curves_over_seeds(metrics: dict[str, list[DataFrame]], path: Path) -> None:
    """Mean win rates over optimiser steps; band: 95 % interval over seeds (none for one run).

    metrics: label -> one table per run. A group whose runs share no evaluated step has no curve.
    """
    figure = new_figure(width=11.0, height=3.8)
    for panel, (metric, (label, _)) in zip(figure.subplots(1, len(MEANS)), MEANS.items()):
        tidy_axes(panel, f"Mean win rate, {label}", "optimiser steps")
        for index, (group, tables) in enumerate(metrics.items()):
            colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
            steps, estimates = _over_seeds([table[metric].dropna() for table in tables if metric in table])
            if steps:
                bounds = [estimate.ci95 or (estimate.value, estimate.value) for estimate in estimates]
                panel.fill_between(steps, *zip(*bounds), color=colour, alpha=0.18, lw=0)
                values = [estimate.value for estimate in estimates]
                panel.plot(steps, values, color=colour, lw=2, label=f"{group} ({len(tables)})")
        share_axis(panel)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, loc="lower right", fontsize=8.5, labelcolor=INK)
    figure.text(0.01, -0.03, "In brackets: runs. Bands: 95 % intervals over seeds.", fontsize=8.5, color=INK)
    save_figure(figure, path)


def _metrics_of(runs: Sequence[Run]) -> list[DataFrame]:
    """Metrics of the runs that left a metrics.csv."""
    files = [run.folder / "metrics.csv" for run in runs]
    return [read_metrics(file) for file in files if file.is_file()]


def _over_seeds(curves: Sequence[Series]) -> tuple[list[float], list[Estimate]]:
    """Steps that all runs evaluated at, and the mean over runs at each."""
    from pandas import concat

    if not curves:
        return [], []
    together = concat(curves, axis="columns", join="inner").sort_index()
    return together.index.tolist(), [mean_over_seeds(row.tolist()) for _, row in together.iterrows()]


def _whiskers(values: Series, intervals: Series) -> np.ndarray:
    """[2, n] lengths below and above the values, as matplotlib wants them."""
    return np.abs(np.array(intervals.tolist(), dtype=float).reshape(-1, 2).T - values.to_numpy())
