"""Learning curves of groups of runs, with bands over seeds, against four measures of what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.report.learning_curves import MEANS, read_metrics
from hygen_lightning.report.runs import PROGRESS, Run
from hygen_lightning.report.statistics import Estimate, mean_over_seeds
from hygen_lightning.report.style import (
    INK,
    count_axis,
    new_figure,
    save_figure,
    series_style,
    share_axis,
    tidy_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame, Series

SPENT = {
    "step": "optimiser steps",
    "battles": "battles learned from",
    "env_steps": "environment steps",
    "minutes": "minutes",
}
"""What curves are drawn against; older runs logged the first alone."""


def curves_of(runs: Sequence[Run]) -> list[DataFrame]:
    """Of each run that left a metrics.csv: its mean win rates by step, beside what had been spent then."""
    found = []
    for run in runs:
        if not (run.folder / "metrics.csv").is_file():
            continue
        metrics = read_metrics(run.folder / "metrics.csv")
        curve = metrics[[name for name in MEANS if name in metrics]].dropna(how="all")
        curve["step"] = curve.index
        for name, metric in PROGRESS.items():
            curve[name] = metrics[metric].reindex(curve.index) if metric in metrics else float("nan")
        found.append(curve)
    return [curve for curve in found if len(curve)]


def draw_curves_over_seeds(curves: Mapping[str, Sequence[DataFrame]], path: Path) -> None:
    """Mean win rates, seen above unseen, a column for each measure that some group has.

    curves: label -> one table per run, as `curves_of` gives them. Band: 95 % over seeds at the steps that
    all runs of a group evaluated at, drawn where these runs on average had spent so much; none for one run.
    """
    columns = [name for name in SPENT if any(_has(tables, name) for tables in curves.values())]
    figure = new_figure(width=2.0 + 3.6 * len(columns), height=6.4)
    panels = figure.subplots(len(MEANS), len(columns), squeeze=False)
    for row, (metric, (label, _)) in zip(panels, MEANS.items()):
        for axes, column in zip(row, columns):
            tidy_axes(axes, f"Win rate, {label}" if column == "step" else "", SPENT[column])
            for index, (group, tables) in enumerate(curves.items()):
                line = {**series_style(index), "label": f"{group} ({len(tables)})"}
                _draw_band(axes, tables, metric, column, **line)
            if column != "minutes":
                count_axis(axes)
            share_axis(axes)
    handles = {text: line for axes in panels.flat for line, text in zip(*axes.get_legend_handles_labels())}
    if handles:
        place: dict[str, Any] = {"loc": "outside lower center", "ncols": 4, "frameon": False}
        place["title"] = "In brackets: runs. Bands: 95 % intervals over seeds; one run has none."
        legend = figure.legend(handles.values(), handles.keys(), fontsize=8.5, labelcolor=INK, **place)
        legend.get_title().set_fontsize(8.5)
    save_figure(figure, path, path.with_suffix(".pdf"))


def _has(tables: Sequence[DataFrame], column: str) -> bool:
    """Whether a group can be drawn against this: known of every run, and it grows."""
    known = all(table[column].notna().all() for table in tables)
    return bool(tables) and known and (column == "step" or all(table[column].max() > 0 for table in tables))


def _draw_band(axes: Axes, tables: Sequence[DataFrame], metric: str, column: str, **line: Any) -> None:
    if not _has(tables, column):
        return
    known = [table.dropna(subset=metric) for table in tables if metric in table]
    spent, estimates = _over_seeds(known, metric, column)
    if spent:
        bounds = [estimate.ci95 or (estimate.value, estimate.value) for estimate in estimates]
        low, high = zip(*bounds)
        axes.fill_between(spent, low, high, color=line["color"], alpha=0.18, lw=0)
        axes.plot(spent, [estimate.value for estimate in estimates], lw=2, **line)


def _over_seeds(tables: Sequence[DataFrame], metric: str, column: str) -> tuple[list[float], list[Estimate]]:
    """At the steps that all runs evaluated at: what they had spent on average, and their mean."""
    if not tables:
        return [], []
    together = _joined([table[metric] for table in tables])
    spent = _joined([table[column] for table in tables]).mean(axis="columns")
    estimates = [mean_over_seeds(row.tolist()) for _, row in together.iterrows()]
    return spent.loc[together.index].tolist(), estimates


def _joined(columns: Sequence[Series]) -> DataFrame:
    from pandas import concat

    return concat(columns, axis="columns", join="inner").sort_index()
