"""A run's learning curves from its `metrics.csv`, drawn without a display.

Rows are sparse, as Lightning's CSVLogger writes them: a row holds the metrics that were logged
together at one `step` (optimiser steps). Metric names are `<stage>/<task or "mean">/<name>`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hygen_lightning.data.tables import read_rows
from hygen_lightning.report.style import (
    INK,
    SEEN_COLOUR,
    SERIES_COLOURS,
    UNSEEN_COLOUR,
    new_figure,
    save_figure,
    share_axis,
    tidy_axes,
)
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIN_RATE = "win_rate"
SHARES = ("share", "epsilon", "accuracy", "win_rate_exploring")
"""Ends of the names of metrics between 0 and 1 that are drawn together."""
MOST_TICKS = 8


@dataclass
class Curve:
    """One metric: optimiser steps and values, in the order logged, without gaps."""

    steps: list[float]
    values: list[float]


def read_metrics(path: Path) -> dict[str, Curve]:
    """Every metric of a `metrics.csv` that has a finite value; UserError if there is no such file."""
    curves: dict[str, Curve] = {}
    try:
        for row in sorted(read_rows(path, "step"), key=lambda row: _number(row.get("step")) or 0.0):
            _add_row(curves, row)
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as metrics ({error})") from None
    return curves


def _add_row(curves: dict[str, Curve], row: dict[str, str]) -> None:
    """Add the finite numbers of one row; rows without a step belong to no curve."""
    step = _number(row.get("step"))
    if step is None:
        return
    for name, text in row.items():
        value = _number(text)
        if value is not None and name not in ("step", "epoch"):
            curve = curves.setdefault(name, Curve([], []))
            curve.steps.append(step)
            curve.values.append(value)


def _number(text: str | None) -> float | None:
    """The finite number that a cell holds, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def draw_learning_curves(
    metrics_csv: Path, picture: Path, seen: Collection[str] = (), title: str = "Learning curves"
) -> None:
    """Draw a run's learning curves to a PNG (or any format matplotlib knows by suffix).

    Panels, each only if the run logged something for it: mean win rates on seen and unseen tasks;
    win rate per task over time (`seen` tasks first); losses; shares and exploration; how often each
    skill is used. Metrics of several tasks are averaged.
    UserError if the run logged none of these.
    """
    curves = read_metrics(metrics_csv)
    panels: list[tuple[Callable[[Axes, dict[str, Curve]], None], dict[str, Curve]]] = [
        (_draw_means, curves if any(name in curves for name in MEANS) else {}),
        (_draw_tasks, task_win_rates(curves, seen)),
        (_draw_losses, _averaged(curves, lambda name: "loss" in name)),
        (_draw_shares, _averaged(curves, lambda name: name.endswith(SHARES))),
        (_draw_skills, _averaged(curves, lambda name: name.startswith("skill") and name.endswith("_use"))),
    ]
    panels = [(draw, data) for draw, data in panels if data]
    if not panels:
        raise UserError(f"{metrics_csv}: no win rate, loss or share was logged, so there is no curve to draw")
    columns = min(len(panels), 2 if len(panels) < 5 else 3)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(width=6.2 * columns, height=0.5 + 3.6 * rows)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=14, fontweight="bold")
    for index, (draw, data) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw(axes, data)
    save_figure(figure, picture)


MEANS = {
    "val/mean/seen_win_rate": ("seen tasks", SEEN_COLOUR),
    "val/mean/unseen_win_rate": ("unseen tasks", UNSEEN_COLOUR),
}
"""Mean win rates that evaluation logs, with their names and colours in the picture."""


def task_win_rates(curves: dict[str, Curve], seen: Collection[str]) -> dict[str, Curve]:
    """Win rate curves by task name, seen tasks first, else in the order of the file."""
    found = {}
    for name, curve in curves.items():
        stage, _, rest = name.partition("/")
        task, _, metric = rest.partition("/")
        if stage == "val" and metric == WIN_RATE and task != "mean":
            found[task] = curve
    return dict(sorted(found.items(), key=lambda item: item[0] not in seen))


def _averaged(curves: dict[str, Curve], wanted: Callable[[str], bool]) -> dict[str, Curve]:
    """Wanted `train/<task>/<name>` and `rollout/<task>/<name>`, by name, averaged over tasks."""
    cells: dict[str, dict[float, list[float]]] = {}
    for full_name, curve in curves.items():
        name = full_name.rpartition("/")[2]
        if full_name.startswith(("train/", "rollout/")) and wanted(name):
            at = cells.setdefault(name, {})
            for step, value in zip(curve.steps, curve.values):
                at.setdefault(step, []).append(value)
    return {
        name: Curve(sorted(at), [float(np.mean(at[step])) for step in sorted(at)])
        for name, at in cells.items()
    }


def _draw_means(axes: Axes, curves: dict[str, Curve]) -> None:
    tidy_axes(axes, "Mean win rate", "optimiser steps")
    for name, (label, colour) in MEANS.items():
        if name in curves:
            curve = curves[name]
            label = f"{label}, last {100 * curve.values[-1]:.0f} %"
            axes.plot(curve.steps, curve.values, color=colour, lw=2.4, marker="o", ms=4, label=label)
    share_axis(axes)
    axes.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, labelcolor=INK, fontsize=8.5
    )


def _draw_tasks(axes: Axes, tasks: dict[str, Curve]) -> None:
    """One row per task, one column per evaluation, win rate as colour and as a number at the end."""
    steps = sorted({step for curve in tasks.values() for step in curve.steps})
    grid = np.full((len(tasks), len(steps)), np.nan)
    for row, curve in enumerate(tasks.values()):
        grid[row, np.searchsorted(steps, curve.steps)] = curve.values
    tidy_axes(axes, "Win rate per task", "optimiser steps")
    axes.grid(visible=False)
    axes.imshow(grid, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(tasks)), list(tasks))
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_TICKS)).astype(int))
    axes.set_xticks(shown, [f"{steps[index]:,.0f}" for index in shown])
    for row, curve in enumerate(tasks.values()):
        text = f" {100 * curve.values[-1]:.0f} %"
        axes.annotate(
            text,
            (1.0, row),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
            fontsize=8.5,
            color=INK,
        )
    axes.tick_params(length=0)


def _draw_losses(axes: Axes, losses: dict[str, Curve]) -> None:
    tidy_axes(axes, "Training losses", "optimiser steps")
    _draw_lines(axes, losses)
    if all(value > 0 for curve in losses.values() for value in curve.values):
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=0.01)
    axes.legend(frameon=False, loc="best", labelcolor=INK, fontsize=8.5)


def _draw_shares(axes: Axes, shares: dict[str, Curve]) -> None:
    tidy_axes(axes, "Shares: data, exploration, accuracy", "optimiser steps")
    _draw_lines(axes, shares)
    share_axis(axes)
    axes.legend(frameon=False, loc="best", labelcolor=INK, fontsize=8.5)


def _draw_skills(axes: Axes, uses: dict[str, Curve]) -> None:
    """How often each skill is chosen, stacked to the whole."""
    tidy_axes(axes, "Skill use", "optimiser steps")
    steps = sorted(set.intersection(*(set(curve.steps) for curve in uses.values())))
    rows = [[dict(zip(curve.steps, curve.values))[step] for step in steps] for curve in uses.values()]
    labels = [name.removesuffix("_use") for name in uses]
    axes.stackplot(steps, rows, labels=labels, colors=SERIES_COLOURS, alpha=0.85)
    share_axis(axes)
    axes.legend(
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 0.99),
        ncols=len(uses),
        labelcolor=INK,
        fontsize=7.5,
        handlelength=0.8,
        columnspacing=0.8,
    )


def _draw_lines(axes: Axes, curves: dict[str, Curve]) -> None:
    """Lines by name; dense ones are drawn faintly with a running mean on top."""
    for index, (name, curve) in enumerate(curves.items()):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        style = "-" if index < len(SERIES_COLOURS) else "--"
        values = np.array(curve.values)
        window = len(values) // 20
        if window > 1:
            axes.plot(curve.steps, values, color=colour, lw=0.6, alpha=0.3)
            kernel = np.ones(window) / window
            values = np.convolve(values, kernel, mode="same") / np.convolve(
                np.ones_like(values), kernel, mode="same"
            )
        axes.plot(curve.steps, values, style, color=colour, lw=1.7, label=name.replace("_", " "))
