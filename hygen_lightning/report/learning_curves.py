"""A run's learning curves from its `metrics.csv`, drawn without a display.

Rows are sparse: a row holds what was logged together at one `step` (optimiser steps). A resumed run
logs some steps again; of a step, the last cells count. Names are `<stage>/<task or "mean">/<name>`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from pandas import DataFrame, Index

WIN_RATE = "win_rate"
SHARES = ("share", "epsilon", "accuracy", "win_rate_exploring")
"""Ends of the names of metrics between 0 and 1 that are drawn together."""
MOST_TICKS = 8


def read_metrics(path: Path) -> DataFrame:
    """Every metric of a `metrics.csv` that has a finite value: a column each, NaN where not logged.

    The index is the step, ascending. UserError if there is no such file.
    """
    from pandas import DataFrame, to_numeric

    try:
        metrics = DataFrame(read_rows(path, "step")).apply(to_numeric, errors="coerce")
        by_step = metrics.replace([np.inf, -np.inf], np.nan).dropna(subset="step").set_index("step")
    except KeyError:
        raise UserError(f"{path}: no metrics of a run, it has no column 'step'") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as metrics ({error})") from None
    by_step = by_step.sort_index().drop(columns="epoch", errors="ignore")
    return by_step.dropna(axis="columns", how="all").dropna(how="all")


def draw_learning_curves(
    metrics_csv: Path, picture: Path, seen: Collection[str] = (), switch: int | None = None
) -> None:
    """Draw a run's learning curves to a PNG (or any format matplotlib knows by suffix).

    Panels, each only if the run logged something for it: mean win rates on seen and unseen tasks;
    win rate per task over time (`seen` tasks first); losses; shares and exploration; how often each
    skill is used. Metrics of several tasks are averaged. A line marks the `switch`, the step
    where stage two begins, in each that spans it.
    UserError if the run logged none of these.
    """
    metrics = read_metrics(metrics_csv)
    panels: list[tuple[Callable[[Axes, DataFrame], None], DataFrame]] = [
        (_draw_means, metrics[[name for name in MEANS if name in metrics]]),
        (_draw_tasks, task_win_rates(metrics, seen)),
        (_draw_losses, _averaged(metrics, lambda name: "loss" in name)),
        (_draw_shares, _averaged(metrics, lambda name: name.endswith(SHARES))),
        (_draw_skills, skill_uses(metrics)),
    ]
    panels = [(draw, data) for draw, data in panels if not data.empty]
    if not panels:
        raise UserError(f"{metrics_csv}: no win rate, loss or share was logged, so there is no curve to draw")
    columns = min(len(panels), 2 if len(panels) < 5 else 3)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(width=6.2 * columns, height=0.5 + 3.6 * rows)
    figure.suptitle("Learning curves", x=0.01, ha="left", color=INK, fontsize=14, fontweight="bold")
    for index, (draw, data) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw(axes, data)
        place = None if switch is None else switch_place(data.index, switch, by_column=draw is _draw_tasks)
        if place is not None:
            _mark_switch(axes, place)
    save_figure(figure, picture)


def switch_place(steps: Index, switch: int, *, by_column: bool) -> float | None:
    """Where the switch stands on a panel's axis of these ascending steps; None where it is at an end, or
    at 0, before which there is no stage one.

    By column, the axis counts the steps: there it stands between the last one of stage one and the next.
    """
    if not max(steps[0], 1) <= switch < steps[-1]:
        return None
    return float((steps <= switch).sum()) - 0.5 if by_column else float(switch)


MEANS = {
    "val/mean/seen_win_rate": ("seen tasks", SEEN_COLOUR),
    "val/mean/unseen_win_rate": ("unseen tasks", UNSEEN_COLOUR),
}
"""Mean win rates that evaluation logs, with their names and colours in the picture."""


def task_win_rates(metrics: DataFrame, seen: Collection[str]) -> DataFrame:
    """Win rates by task name, seen tasks first, else in the order of the file."""
    ends = "val/", f"/{WIN_RATE}"
    names = {name.removeprefix(ends[0]).removesuffix(ends[1]): name for name in metrics if _has(name, *ends)}
    tasks = sorted((task for task in names if task != "mean"), key=lambda task: task not in seen)
    return metrics[[names[task] for task in tasks]].set_axis(tasks, axis="columns").dropna(how="all")


def skill_uses(metrics: DataFrame) -> DataFrame:
    """How often each skill is chosen, averaged over tasks, at the steps that logged all of them."""
    return _averaged(metrics, lambda name: re.fullmatch(r"skill\d+_use", name) is not None).dropna()


def _has(name: str, start: str, end: str) -> bool:
    return name.startswith(start) and name.endswith(end)


def _averaged(metrics: DataFrame, wanted: Callable[[str], bool]) -> DataFrame:
    """Wanted `train/<task>/<name>` and `rollout/<task>/<name>`, by name, averaged over tasks."""
    chosen = [c for c in metrics if c.startswith(("train/", "rollout/")) and wanted(c.rpartition("/")[2])]
    by_name = metrics[chosen].T.groupby(lambda column: column.rpartition("/")[2], sort=False)
    return by_name.mean().T.dropna(how="all")


def _draw_means(axes: Axes, means: DataFrame) -> None:
    tidy_axes(axes, "Mean win rate", "optimiser steps")
    for name, curve in means.items():
        label, colour = MEANS[str(name)]
        known = curve.dropna()
        label = f"{label}, last {100 * known.iloc[-1]:.0f} %"
        axes.plot(known.index, known, color=colour, lw=2.4, marker="o", ms=4, label=label)
    share_axis(axes)
    axes.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, labelcolor=INK, fontsize=8.5
    )


def _draw_tasks(axes: Axes, tasks: DataFrame) -> None:
    """One row per task, one column per evaluation, win rate as colour and as a number at the end."""
    tidy_axes(axes, "Win rate per task", "optimiser steps")
    axes.grid(visible=False)
    axes.imshow(tasks.T, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(tasks.shape[1]), list(tasks))
    shown = np.unique(np.linspace(0, len(tasks) - 1, min(len(tasks), MOST_TICKS)).astype(int))
    axes.set_xticks(shown, [f"{tasks.index[index]:,.0f}" for index in shown])
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    for row, name in enumerate(tasks):
        text = f" {100 * tasks[name].dropna().iloc[-1]:.0f} %"
        axes.annotate(text, (1.0, row), fontsize=8.5, color=INK, **place)
    axes.tick_params(length=0)


def _draw_losses(axes: Axes, losses: DataFrame) -> None:
    tidy_axes(axes, "Training losses", "optimiser steps")
    _draw_lines(axes, losses)
    if (losses.min() > 0).all():
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=0.01)
    axes.legend(frameon=False, loc="best", labelcolor=INK, fontsize=8.5)


def _draw_shares(axes: Axes, shares: DataFrame) -> None:
    tidy_axes(axes, "Shares: data, exploration, accuracy", "optimiser steps")
    _draw_lines(axes, shares)
    share_axis(axes)
    axes.legend(frameon=False, loc="best", labelcolor=INK, fontsize=8.5)


def _draw_skills(axes: Axes, uses: DataFrame) -> None:
    """How often each skill is chosen, stacked to the whole."""
    tidy_axes(axes, "Skill use", "optimiser steps")
    labels = [name.removesuffix("_use") for name in uses]
    axes.stackplot(uses.index, uses.T, labels=labels, colors=SERIES_COLOURS, alpha=0.85)
    share_axis(axes)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 0.99)}
    place |= {"handlelength": 0.8, "columnspacing": 0.8}
    axes.legend(frameon=False, ncols=len(labels), labelcolor=INK, fontsize=7.5, **place)


def _mark_switch(axes: Axes, place: float) -> None:
    """A dashed line, named at its foot."""
    axes.axvline(place, color=INK, lw=1, ls=(0, (4, 3)), alpha=0.6, zorder=3)
    text: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("stage two", (place, 0), (4, 5), fontsize=7.5, color=INK, **text)


def _draw_lines(axes: Axes, curves: DataFrame) -> None:
    """Lines by name; dense ones are drawn faintly with a running mean on top."""
    for index, (name, sparse) in enumerate(curves.items()):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        style = "-" if index < len(SERIES_COLOURS) else "--"
        curve = sparse.dropna()
        window = len(curve) // 20
        if window > 1:
            axes.plot(curve.index, curve, color=colour, lw=0.6, alpha=0.3)
            curve = curve.rolling(window, center=True, min_periods=1).mean()
        axes.plot(curve.index, curve, style, color=colour, lw=1.7, label=str(name).replace("_", " "))
