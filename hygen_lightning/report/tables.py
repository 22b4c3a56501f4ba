"""Tables for the terminal: what a run found, seen tasks above unseen ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hygen_lightning.report.results import TaskResult, mean_win_rate

if TYPE_CHECKING:
    from rich.table import Table


def percent(share: float | None) -> str:
    """A share 0..1 in percent with one decimal; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}"


def interval(ci95: Sequence[float] | None) -> str:
    """An interval of shares in percent; a dash where there is none."""
    return "–" if ci95 is None else f"{100 * ci95[0]:.1f}–{100 * ci95[1]:.1f}"


def results_table(results: Sequence[TaskResult]) -> Table:
    """Seen tasks, their mean, unseen tasks, their mean; intervals are over episodes."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Win rates",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # 80 columns hold it
        caption="Intervals: 95 %, Wilson, over episodes of this one run (not over seeds). Noisy: the same "
        "battles with some random actions.",
        caption_justify="left",
    )
    for column in ("task", "", "win %", "95 % interval", "noisy %", "episodes", "return", "length"):
        table.add_column(column, justify="left" if column in ("task", "") else "right", overflow="fold")
    styles = {"seen": "cyan", "unseen": "green", "extra": "dim"}
    for word, style in styles.items():
        group = [result for result in results if _group(result) == word]
        for result in group:
            table.add_row(
                result.task,
                word,
                percent(result.win_rate),
                interval(result.ci95),
                percent(result.win_rate_noisy),
                str(result.episodes),
                f"{result.mean_return:.2f}",
                f"{result.mean_length_env_steps:.1f}",
                style=style,
            )
        if group and word != "extra":
            means = [percent(mean_win_rate(results, word == "seen", noisy)) for noisy in (False, True)]
            cells = (f"mean {word}", word, means[0], "", means[1], "", "", "")
            table.add_row(*cells, style=f"bold {style}", end_section=True)
    return table


def _group(result: TaskResult) -> str:
    """Which part of the table a task stands in."""
    return "extra" if result.extra else "seen" if result.seen else "unseen"


def print_results(results: Sequence[TaskResult]) -> None:
    """The final table of a run on the terminal."""
    from rich.console import Console

    Console().print(results_table(results))
