"""Pictures of growth: seconds and memory with agents, batch and length; battles' speed with units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.report.style import AXIS_INK, SERIES_COLOURS, new_figure, save_figure, tidy_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = {"_s": "seconds", "_mb": "peak memory, MB"}
"""Ending of a measured quantity's name -> what its axis says."""
NAMES = {"pretrain": "pretraining update", "policy": "policy update", "env_step": "environment step"}


def draw_scaling(tables: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write `scaling_figure` to a file."""
    save_figure(scaling_figure(tables), path)


def scaling_figure(tables: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One column of plots per size that grows, seconds above memory, logarithmic axes.

    tables: size -> {"rows": [{size: n, "<name>_s" or "<name>_peak_mb": x, ...}, ...], ...}.
    """
    measured = {name for table in tables.values() for name in table["rows"][0]}
    endings = [ending for ending in QUANTITIES if any(name.endswith(ending) for name in measured)]
    figure = new_figure(width=4.2 * len(tables), height=3.4 * len(endings))
    plots = figure.subplots(len(endings), len(tables), squeeze=False)
    for column, (size, table) in enumerate(tables.items()):
        for axes, ending in zip(plots[:, column], endings):
            tidy_axes(axes, f"{QUANTITIES[ending]} by {size}", size)
            names = [name for name in table["rows"][0] if name.endswith(ending)]
            for name in names:
                stem = name.removesuffix(ending).removesuffix("_peak")
                colour = SERIES_COLOURS[list(NAMES).index(stem)]
                sizes, values = [row[size] for row in table["rows"]], [row[name] for row in table["rows"]]
                slope = table["growth"].get(name)
                label = NAMES[stem] + ("" if slope is None else f", slope {slope:.2f}")
                axes.plot(sizes, values, marker="o", ms=4, lw=1.6, color=colour, label=label)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(sizes, [str(n) for n in sizes])
            axes.legend(frameon=False, fontsize=8, labelcolor=AXIS_INK)
    return figure


def draw_speeds(speeds: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Write `speeds_figure` to a file."""
    save_figure(speeds_figure(speeds), path)


def speeds_figure(speeds: Mapping[str, Mapping[str, float]]) -> Figure:
    """Environment steps per second against the number of units, logarithmic axes.

    speeds: map -> "units", "env_steps_per_s" and, where SMAX was measured too, "smax_env_steps_per_s".
    """
    figure = new_figure(width=5.4, height=3.8)
    axes = figure.subplots()
    tidy_axes(axes, "environment steps per second by units of both sides", "units")
    rows = sorted(speeds.items(), key=lambda item: item[1]["units"])
    curves = {"env_steps_per_s": "simulator", "smax_env_steps_per_s": "SMAX"}
    for (name, label), colour in zip(curves.items(), SERIES_COLOURS):
        points = [(row["units"], row[name], map_name) for map_name, row in rows if name in row]
        if not points:
            continue
        units, values, _ = zip(*points)
        axes.plot(units, values, marker="o", ms=4, lw=1.6, color=colour, label=label)
        for x, y, text in points if name == "env_steps_per_s" else []:
            axes.annotate(
                text, (x, y), (4, 5), textcoords="offset points", fontsize=7, color=AXIS_INK, rotation=20
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({row["units"] for _, row in rows})
    axes.set_xticks(ticks, [f"{n:.0f}" for n in ticks])
    axes.margins(x=0.14, y=0.14)
    axes.legend(frameon=False, fontsize=8, labelcolor=AXIS_INK)
    return figure
