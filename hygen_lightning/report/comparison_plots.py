"""Pictures of a comparison: win rates per task, aggregates, profiles; what is seen against what is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hygen_lightning.report.comparison import (
    MOST_SIDE_BY_SIDE,
    PROFILE_THRESHOLDS,
    Aggregate,
    Comparison,
    Improvement,
)
from hygen_lightning.report.curves_over_seeds import curves_of, draw_curves_over_seeds
from hygen_lightning.report.runs import TASK_KINDS, Groups
from hygen_lightning.report.statistics import Estimate
from hygen_lightning.report.style import (
    AXIS_INK,
    GRID,
    INK,
    MOST_STYLES,
    PAPER,
    SERIES_COLOURS,
    new_figure,
    save_figure,
    series_style,
    share_axis,
    tidy_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame, Series

WHISKER = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.5}


def write_plots(groups: Groups, comparison: Comparison, folder: Path) -> list[Path]:
    """Draw what there is to draw into a folder, each as PNG and PDF; the PNG files, in reading order."""
    written = [folder / "win_rates.png"]
    many = len(groups) > MOST_SIDE_BY_SIDE
    (draw_win_rate_map if many else draw_win_rates)(comparison.tasks, written[0])
    if len(groups) <= MOST_STYLES and any(a.kind == "unseen" for a in comparison.aggregates):
        written.append(folder / "seen_unseen.png")
        draw_seen_against_unseen(comparison.aggregates, written[-1])
    if comparison.aggregates:
        written.append(folder / "aggregates.png")
        draw_aggregates(comparison.aggregates, comparison.improvements, written[-1])
    curves = {label: curves_of(runs) for label, runs in groups.items()}
    if any(curves.values()):
        written.append(folder / "learning_curves.png")
        draw_curves_over_seeds(curves, written[-1])
    return written


def draw_win_rates(table: DataFrame, path: Path) -> None:
    """A bar per group for every task, seen tasks first; whiskers over seeds (one run: over battles).

    table: as `comparison.task_table` gives it.
    """
    kinds = dict(zip(table.task, table.kind))
    tasks = sorted(kinds, key=lambda name: TASK_KINDS.index(kinds[name]))
    groups = list(table.group.unique())
    entry_width = 2.7 + 0.07 * max(map(len, groups))  # inches
    figure_width = max(7.0, 1.5 + 0.75 * len(tasks), entry_width)
    columns = min(2, int(figure_width // entry_width))
    figure = new_figure(figure_width, height=3.6 + 0.2 * math.ceil(len(groups) / columns))
    axes = figure.add_subplot()
    tidy_axes(axes, "Win rate per task", "")
    width = 0.8 / len(groups)
    for index, (group, rows) in enumerate(table.groupby("group", sort=False)):
        places = [tasks.index(task) + (index - (len(groups) - 1) / 2) * width for task in rows.task]
        seeds = int(rows.seeds.max())
        kind = f"{seeds} seeds" if seeds > 1 else "one run, whiskers over its battles"
        intervals = rows.ci95_over_seeds if seeds > 1 else rows.ci95_over_episodes
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
    figure.legend(frameon=False, loc="outside lower center", ncols=columns, labelcolor=INK, fontsize=9)
    save_figure(figure, path, path.with_suffix(".pdf"))


def draw_win_rate_map(table: DataFrame, path: Path) -> None:
    """Groups down, tasks across, seen ones first; colour and number are the win rate in percent.

    table: as `comparison.task_table` gives it.
    """
    rates = table.pivot(index="group", columns="task", values="win_rate").loc[table.group.unique()]
    kinds = dict(zip(table.task, table.kind))
    rates = rates[sorted(kinds, key=lambda name: TASK_KINDS.index(kinds[name]))]
    figure = new_figure(width=3.0 + 0.8 * rates.shape[1], height=1.2 + 0.3 * len(rates))
    axes = figure.add_subplot()
    tidy_axes(axes, "Win rate per task, %", "")
    axes.grid(visible=False)
    axes.imshow(rates, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(rates)), list(rates.index))
    labels = [f"{task}\n{kinds[task]}" for task in rates]
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    for (row, column), rate in np.ndenumerate(rates.to_numpy()):
        if rate == rate:
            ink = INK if rate > 0.6 else PAPER
            axes.text(column, row, f"{100 * rate:.0f}", ha="center", va="center", color=ink, fontsize=8.5)
    save_figure(figure, path, path.with_suffix(".pdf"))


def draw_aggregates(aggregates: Sequence[Aggregate], improvements: Sequence[Improvement], path: Path) -> None:
    """IQM, optimality gap and performance profile of win rates on unseen tasks, or seen ones if none is."""
    kind = "unseen" if any(aggregate.kind == "unseen" for aggregate in aggregates) else "seen"
    shown = [aggregate for aggregate in aggregates if aggregate.kind == kind]
    pairs = [pair for pair in improvements if pair.kind == kind]
    names, compared = [a.group for a in shown], [pair.group + pair.over for pair in pairs]
    characters = max(map(len, names), default=0) + max(map(len, compared), default=0)
    width = max(12.0, 9.0 + 0.07 * characters)  # inches; names take theirs from the panels
    figure = new_figure(width, height=2.4 + 0.32 * max(len(shown), len(pairs), 3))
    panels = figure.subplots(1, 4 if pairs else 3, width_ratios=[1, 1, 1.3, 1][: 4 if pairs else 3])
    _draw_estimates(panels[0], f"IQM, {kind} tasks", [(a.group, a.iqm) for a in shown])
    _draw_estimates(panels[1], "Optimality gap", [("", a.optimality_gap) for a in shown])
    tidy_axes(panels[2], "Performance profile", "win rate τ")
    for index, a in enumerate(shown):
        line = {**series_style(index), "label": a.group}
        panels[2].step(PROFILE_THRESHOLDS, a.profile, where="post", lw=2, **line)
    panels[2].set_ylabel("share of runs and tasks above τ", fontsize=8.5, color=INK)
    share_axis(panels[2])
    if pairs:
        rows = [(f"{pair.group} > {pair.over}", pair.probability) for pair in pairs]
        _draw_estimates(panels[3], "Probability of improvement", rows, colours=(INK,))
        panels[3].axvline(0.5, color=INK, lw=0.8, ls=":")
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 4, "frameon": False}
    place["title"] = "Bars: 95 % stratified bootstrap intervals over seeds; one run has none."
    legend = figure.legend(*panels[2].get_legend_handles_labels(), fontsize=8.5, labelcolor=INK, **place)
    legend.get_title().set_fontsize(8.5)
    save_figure(figure, path, path.with_suffix(".pdf"))


def draw_seen_against_unseen(aggregates: Sequence[Aggregate], path: Path) -> None:
    """A cross per group: its mean win rates on seen and unseen tasks, with intervals over seeds."""
    means = {(a.group, a.kind): a.mean for a in aggregates}
    groups = [group for group, kind in means if kind == "unseen" and (group, "seen") in means]
    legend_width = 0.7 + 0.07 * max(map(len, groups), default=0)  # inches
    figure = new_figure(width=4.4 + legend_width, height=max(4.2, 0.4 + 0.2 * len(groups)))
    axes = figure.add_subplot()
    tidy_axes(axes, "Does it carry over?", "mean win rate, seen tasks")
    whiskers = {"capsize": 2.5} if len(groups) <= MOST_SIDE_BY_SIDE else {"elinewidth": 0.4}
    axes.plot([0, 1], [0, 1], color=GRID, lw=1.2, ls="--")
    for index, group in enumerate(groups):
        x, y = means[group, "seen"], means[group, "unseen"]
        lengths = [np.abs(np.subtract(e.ci95 or [e.value] * 2, e.value))[:, None] for e in (x, y)]
        cross = {**series_style(index, marked=True), "linestyle": "", "label": group, **whiskers}
        axes.errorbar([x.value], [y.value], xerr=lengths[0], yerr=lengths[1], **cross)
    share_axis(axes)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel("mean win rate, unseen tasks", fontsize=9, color=AXIS_INK)
    if groups:
        figure.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="outside right upper")
    save_figure(figure, path, path.with_suffix(".pdf"))


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


def _whiskers(values: Series, intervals: Series) -> np.ndarray:
    """[2, n] lengths below and above the values, as matplotlib wants them; 0 where there is no interval."""
    known = [interval or (value, value) for value, interval in zip(values, intervals)]
    return np.abs(np.array(known, dtype=float).reshape(-1, 2).T - values.to_numpy())
