"""Pictures of a comparison: win rates per task, aggregates, profiles, learning curves over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hygen_lightning.report.comparison import PROFILE_THRESHOLDS, Comparison, GroupSummary
from hygen_lightning.report.learning_curves import MEANS, Curve, read_metrics
from hygen_lightning.report.runs import TASK_KINDS, Run, group_names
from hygen_lightning.report.statistics import Estimate, mean_over_seeds
from hygen_lightning.report.style import INK, SERIES_COLOURS, new_figure, save_figure, share_axis, tidy_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHISKER = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5}


def write_plots(runs: Sequence[Run], comparison: Comparison, folder: Path) -> list[Path]:
    """Draw what there is to draw into a folder; the files written, in reading order."""
    written = [folder / "win_rates.png", folder / "aggregates.png"]
    draw_win_rates(comparison.groups, written[0])
    draw_aggregates(comparison, written[1])
    curves = {name: _curves([run for run in runs if run.group == name]) for name in group_names(runs)}
    if any(found for found in curves.values()):
        written.append(folder / "learning_curves.png")
        draw_curves_over_seeds(curves, written[-1])
    return written


def draw_win_rates(groups: Sequence[GroupSummary], path: Path) -> None:
    """A bar per group for every task, seen tasks first; whiskers over seeds (one run: over episodes)."""
    kinds = {task.task: task.kind for group in reversed(groups) for task in group.tasks}
    tasks = sorted(kinds, key=lambda name: TASK_KINDS.index(kinds[name]))
    figure = new_figure(width=max(7.0, 1.5 + 0.75 * len(tasks)), height=4.0)
    axes = figure.add_subplot()
    tidy_axes(axes, "Win rate per task", "")
    width = 0.8 / len(groups)
    for index, group in enumerate(groups):
        places = [tasks.index(task.task) + (index - (len(groups) - 1) / 2) * width for task in group.tasks]
        rates = [task.win_rate for task in group.tasks]
        kind = f"{len(group.seeds)} seeds" if len(group.seeds) > 1 else "one run, whiskers over its episodes"
        intervals = [task.ci95_over_seeds or task.ci95_over_episodes for task in group.tasks]
        axes.bar(
            places,
            rates,
            width * 0.92,
            color=SERIES_COLOURS[index % len(SERIES_COLOURS)],
            label=f"{group.group} ({kind})",
            yerr=_whiskers(rates, intervals),
            error_kw=WHISKER,
        )
    axes.set_xticks(
        range(len(tasks)),
        tasks,
        rotation=35 if len(tasks) > 6 else 0,
        ha="right" if len(tasks) > 6 else "center",
    )
    for place, name in enumerate(tasks):
        if place == 0 or kinds[name] != kinds[tasks[place - 1]]:
            axes.axvline(place - 0.5, color=INK, lw=0.8, ls=":")
            axes.text(place - 0.45, 1.05, kinds[name], ha="left", color=INK, fontsize=8.5)
    share_axis(axes, top=1.12)
    axes.legend(
        frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, labelcolor=INK, fontsize=9
    )
    save_figure(figure, path)


def draw_aggregates(comparison: Comparison, path: Path) -> None:
    """IQM, optimality gap and performance profile on unseen tasks (seen ones where there are none)."""
    groups = comparison.groups
    unseen = any(group.unseen for group in groups)
    pairs = comparison.unseen_improvements if unseen else comparison.seen_improvements
    kind = "unseen" if unseen else "seen"
    figure = new_figure(width=12.0, height=1.9 + 0.45 * max(len(groups), len(pairs), 3))
    panels = figure.subplots(1, 4 if pairs else 3, width_ratios=[1, 1, 1.3, 1][: 4 if pairs else 3])
    found = [(group.group, group.unseen if unseen else group.seen) for group in groups]
    named = [(name, aggregate) for name, aggregate in found if aggregate is not None]
    _draw_estimates(panels[0], f"IQM of win rates, {kind} tasks", [(n, a.iqm) for n, a in named])
    _draw_estimates(panels[1], f"Optimality gap, {kind} tasks", [(n, a.optimality_gap) for n, a in named])
    tidy_axes(panels[2], f"Performance profile, {kind} tasks", "win rate τ")
    for index, (name, aggregate) in enumerate(named):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        panels[2].step(PROFILE_THRESHOLDS, aggregate.profile, where="post", color=colour, lw=2, label=name)
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


def draw_curves_over_seeds(curves: dict[str, dict[str, list[Curve]]], path: Path) -> None:
    """Mean win rates over optimiser steps; band: 95 % interval over seeds (none for one run).

    A group whose runs were never evaluated at the same step has no curve.
    """
    figure = new_figure(width=11.0, height=3.8)
    for panel, (metric, (label, _)) in zip(figure.subplots(1, len(MEANS)), MEANS.items()):
        tidy_axes(panel, f"Mean win rate, {label}", "optimiser steps")
        for index, (group, found) in enumerate(curves.items()):
            runs = found.get(metric, [])
            colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
            steps, estimates = _over_seeds(runs) if runs else ([], [])
            if steps:
                bounds = [estimate.ci95 or (estimate.value, estimate.value) for estimate in estimates]
                panel.fill_between(steps, *zip(*bounds), color=colour, alpha=0.18, lw=0)
                values = [estimate.value for estimate in estimates]
                panel.plot(steps, values, color=colour, lw=2, label=f"{group} ({len(runs)})")
        share_axis(panel)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, loc="lower right", fontsize=8.5, labelcolor=INK)
    figure.text(0.01, -0.03, "In brackets: runs. Bands: 95 % intervals over seeds.", fontsize=8.5, color=INK)
    save_figure(figure, path)


def _curves(runs: Sequence[Run]) -> dict[str, list[Curve]]:
    """Curves of mean win rates of the runs that left a metrics.csv."""
    found: dict[str, list[Curve]] = {}
    for run in runs:
        metrics = run.folder / "metrics.csv"
        if metrics.is_file():
            for name, curve in read_metrics(metrics).items():
                if name in MEANS:
                    found.setdefault(name, []).append(curve)
    return found


def _over_seeds(curves: Sequence[Curve]) -> tuple[list[float], list[Estimate]]:
    """Steps that all runs evaluated at, and the mean over runs at each."""
    at = [dict(zip(curve.steps, curve.values)) for curve in curves]
    steps = sorted(set.intersection(*(set(values) for values in at)))
    return steps, [mean_over_seeds([values[step] for values in at]) for step in steps]


def _whiskers(values: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> np.ndarray:
    """[2, n] lengths below and above the values, as matplotlib wants them; NaN where unknown."""
    bounds = np.array([interval or (np.nan, np.nan) for interval in intervals], dtype=float).reshape(-1, 2)
    return np.abs(bounds.T - np.array(values))
