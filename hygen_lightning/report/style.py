"""One look for all plots, and figures that need no display."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.data.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, AXIS_INK, GRID, PAPER = "#22303c", "#8a97a3", "#e3e8ec", "#ffffff"
SEEN_COLOUR, UNSEEN_COLOUR = "#3478b8", "#e0812b"
SERIES_COLOURS = ("#3478b8", "#e0812b", "#3f9b6b", "#b5478d", "#7a68c4", "#b8a12a", "#4aa9b5", "#8c5a3c")

LINE_STYLES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "D", "^")
MOST_STYLES = len(SERIES_COLOURS) * len(MARKERS)
"""Of more series, some would look alike."""


def series_style(index: int, marked: bool = False) -> dict[str, Any]:
    """Colour of a series, and its line (or, if `marked`, its marker), which part those of one colour."""
    again = index // len(SERIES_COLOURS) % len(LINE_STYLES)
    how = {"marker": MARKERS[again]} if marked else {"linestyle": LINE_STYLES[again]}
    return {"color": SERIES_COLOURS[index % len(SERIES_COLOURS)], **how}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches, drawn by Agg whatever display there is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy_axes(axes: Axes, title: str, x_label: str) -> None:
    """Title at the left, light grid, no frame."""
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel(x_label, color=AXIS_INK, fontsize=9)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=GRID, labelsize=8.5, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def count_axis(axes: Axes) -> None:
    """An x axis of counts with at most six ticks: 500, 20k, 1.5M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def share_axis(axes: Axes, top: float = 1.03) -> None:
    """A y axis from 0 to 1 in percent."""
    axes.set_ylim(-0.03, top)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.axhline(0, color=AXIS_INK, lw=0.8)


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write the figure, whole or not at all; the suffix says the format."""
    for path in paths:
        with replacing(path) as temporary:
            kind = path.suffix.removeprefix(".").lower()
            figure.savefig(temporary, format=kind, dpi=130, bbox_inches="tight", pad_inches=0.15)
