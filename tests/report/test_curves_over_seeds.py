"""Learning curves against what was spent: steps, battles, environment steps, minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_runs import finished_run, with_metrics
from matplotlib.figure import Figure

from hygen_lightning.data.tables import append_rows
from hygen_lightning.report import curves_over_seeds
from hygen_lightning.report.curves_over_seeds import curves_of, draw_curves_over_seeds
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.runs import PROGRESS, Run


def runs_with_curves(folder: Path, progress: bool = True) -> list[Run]:
    for seed in (1, 2):
        run = finished_run(folder, "a", seed, {"3m": 9})
        with_metrics(run, [0.1, 0.1 + 0.2 * seed], [0.0, 0.2])
        if progress:
            rows = [(0, 0, 0, 0.1), (100, 20 * seed, 200 * seed, seed)]
            append_rows(run / "metrics.csv", [dict(zip(("step", *PROGRESS.values()), row)) for row in rows])
    return find_runs([folder])[0]


def test_a_curve_knows_what_had_been_spent_at_each_evaluation(tmp_path: Path) -> None:
    first, second = curves_of(runs_with_curves(tmp_path))
    assert first["minutes"].tolist() == [0.1, 1.0]
    assert second["battles"].tolist() == [0, 40]
    assert second["env_steps"].tolist() == [0, 400]
    assert first["step"].tolist() == [0, 100]


def drawn(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    kept: list[Figure] = []
    monkeypatch.setattr(curves_over_seeds, "save_figure", lambda figure, *paths: kept.append(figure))
    draw_curves_over_seeds({"a": curves_of(runs)}, tmp_path / "curves.png")
    return kept[0]


def test_means_stand_where_the_runs_had_spent_so_much_on_average(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = drawn(runs_with_curves(tmp_path), tmp_path, monkeypatch)
    labels = [axes.get_xlabel() for axes in figure.axes[:4]]
    assert labels == ["optimiser steps", "battles learned from", "environment steps", "minutes"]
    (line,) = (one for one in figure.axes[3].lines if str(one.get_label()).startswith("a"))
    assert [list(map(float, axis)) for axis in line.get_data()] == [[0.1, 1.5], [0.1, pytest.approx(0.4)]]


def test_counts_of_millions_are_short_and_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(runs_with_curves(tmp_path), tmp_path, monkeypatch)
    for axes in figure.axes:
        if axes.get_xlabel() == "minutes":
            axes.set_xlim(0, 1.5)
            figure.canvas.draw()
            assert "0.4" in [text.get_text() for text in axes.get_xticklabels()]
            continue
        axes.set_xlim(0, 1_500_000)
        figure.canvas.draw()
        labels = [text.get_text() for text in axes.get_xticklabels()]
        assert len(labels) <= 6
        assert {"0", "600k", "1.2M"} <= set(labels)


def test_older_runs_are_drawn_against_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(runs_with_curves(tmp_path, progress=False), tmp_path, monkeypatch)
    assert len(figure.axes) == 2
