"""The picture of growth: what its lines show."""

from __future__ import annotations

from hygen_lightning.report.scaling_plot import scaling_figure

ROWS = [
    {"batch": 2, "pretrain_s": 1.0, "policy_s": 0.5, "policy_peak_mb": 10.0},
    {"batch": 8, "pretrain_s": 4.0, "policy_s": 1.0, "policy_peak_mb": 20.0},
]
TABLES = {"batch": {"rows": ROWS, "growth": {"pretrain_s": 1.0, "policy_s": 0.5, "policy_peak_mb": 0.5}}}


def test_every_quantity_is_a_line_with_its_slope_and_memory_stands_below_seconds() -> None:
    seconds, memory = scaling_figure(TABLES).axes
    lines = {line.get_label(): list(line.get_ydata()) for line in seconds.get_lines()}
    assert lines == {"pretraining update, slope 1.00": [1.0, 4.0], "policy update, slope 0.50": [0.5, 1.0]}
    assert [list(line.get_xdata()) for line in memory.get_lines()] == [[2, 8]]
    assert (seconds.get_xscale(), seconds.get_yscale()) == ("log", "log")


def test_one_row_has_no_slope() -> None:
    tables = {"batch": {"rows": ROWS[:1], "growth": {}}}
    labels = [line.get_label() for line in scaling_figure(tables).axes[0].get_lines()]
    assert labels == ["pretraining update", "policy update"]
