"""Comparing groups of runs: what comes out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from finished_runs import finished_run, with_metrics
from PIL import Image

from hygen_lightning.report.comparison import MOST_SIDE_BY_SIDE, Comparison, compare
from hygen_lightning.report.comparison_plots import write_plots
from hygen_lightning.report.comparison_tables import comparison_tables, spent_table
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.runs import Groups, grouped, run_table
from hygen_lightning.report.statistics import wilson_interval
from hygen_lightning.report.style import series_style


def groups_in(*paths: Path) -> Groups:
    return grouped(find_runs(paths)[0])[0]


def compared(*paths: Path) -> Comparison:
    return compare(run_table(groups_in(*paths)))


@pytest.mark.filterwarnings("error")
def test_runs_evaluated_at_different_steps_have_no_curve_in_common(tmp_path: Path) -> None:
    for seed, step in ((1, 99), (2, 100)):
        run = finished_run(tmp_path, "hygen", seed, {"3m": 9, "4m": 5})
        (run / "metrics.csv").write_text(f"step,val/mean/seen_win_rate\n{step},0.5\n")
    write_plots(groups_in(tmp_path), compared(tmp_path), tmp_path / "out")
    assert (tmp_path / "out" / "learning_curves.png").is_file()


def test_intervals_over_seeds_and_over_battles_stand_side_by_side(tmp_path: Path) -> None:
    for seed, wins in ((1, 7), (2, 8), (3, 9)):
        finished_run(tmp_path, "hygen", seed, {"4m": wins, "3m": 10})
    finished_run(tmp_path, "bc", 1, {"3m": 4, "4m": 2})
    table = compared(tmp_path).tasks.set_index(["group", "task"])
    assert list(table.index) == [("bc", "3m"), ("bc", "4m"), ("hygen", "3m"), ("hygen", "4m")]
    four = table.loc[("hygen", "4m")]
    half_width = 4.302653 * 0.1 / math.sqrt(3)
    assert (four.kind, four.seeds, four.episodes) == ("unseen", 3, 30)
    assert four.win_rate == pytest.approx(0.8)
    assert four.ci95_over_seeds == pytest.approx((0.8 - half_width, 1.0), abs=1e-6)
    assert four.ci95_over_episodes == wilson_interval(24, 30)
    alone = table.loc[("bc", "4m")]
    assert (alone.kind, alone.seeds, alone.ci95_over_seeds) == ("unseen", 1, None)
    assert alone.ci95_over_episodes == wilson_interval(2, 10)


def test_aggregates_and_improvement_use_the_tasks_that_all_runs_share(tmp_path: Path) -> None:
    for seed in (1, 2):
        finished_run(tmp_path, "a", seed, {"3m": 10, "4m": 8, "5m": 6})
        finished_run(tmp_path, "b", seed, {"3m": 10, "5m": 6 - seed, "4m": 8, "6m": seed})
    finished_run(tmp_path, "b", 3, {"3m": 10, "5m": 3, "4m": 8})
    comparison = compared(tmp_path)
    found = {(aggregate.group, aggregate.kind): aggregate for aggregate in comparison.aggregates}
    first, second = found["a", "unseen"], found["b", "unseen"]
    assert (first.tasks, first.seeds, first.episodes) == (["4m", "5m"], 2, 40)
    assert first.mean.value == pytest.approx(0.7)
    assert first.optimality_gap.value == pytest.approx(0.3)
    assert (first.profile[0], first.profile[-1]) == (1.0, 0.0)
    assert (second.tasks, second.seeds) == (["4m", "5m"], 3)
    seen, unseen = comparison.improvements
    assert (seen.kind, seen.tasks, seen.probability.value) == ("seen", ["3m"], 0.5)
    assert (unseen.group, unseen.over, unseen.tasks) == ("a", "b", ["4m", "5m"])
    assert unseen.probability.value == pytest.approx((0.5 + 1.0) / 2)


def test_extra_tasks_stand_last_and_are_part_of_no_aggregate(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"8m": 0, "4m": 8, "3m": 10}, extra={"8m"})
    comparison = compared(tmp_path)
    kinds = [("3m", "seen"), ("4m", "unseen"), ("8m", "extra")]
    assert list(zip(comparison.tasks.task, comparison.tasks.kind)) == kinds
    assert [(a.kind, a.tasks) for a in comparison.aggregates] == [("seen", ["3m"]), ("unseen", ["4m"])]


def test_of_many_groups_the_best_is_held_against_each_other_one_and_all_stand_below_each_other(
    tmp_path: Path,
) -> None:
    for number in range(MOST_SIDE_BY_SIDE + 1):
        finished_run(tmp_path, f"g{number}", 1, {"3m": 5, "4m": number})
    comparison = compared(tmp_path)
    unseen = [(pair.group, pair.over) for pair in comparison.improvements if pair.kind == "unseen"]
    assert unseen == [("g6", f"g{number}") for number in (5, 4, 3, 2, 1, 0)]
    tables = {table.name: table for table in comparison_tables(comparison)}
    assert tables["by_task"].columns == ("group", "3m (seen)", "4m (unseen)")
    assert tables["by_task"].rows[2] == ("g2", "50.0", "20.0")
    written = write_plots(groups_in(tmp_path), comparison, tmp_path / "plots")
    for path in written:
        with Image.open(path) as picture:
            assert picture.height < 1.2 * picture.width, path.name


def test_what_runs_took_is_told_as_their_mean_and_left_open_where_one_did_not_say(tmp_path: Path) -> None:
    for seed, minutes in ((1, 1.0), (2, 2.0)):
        finished_run(tmp_path, "a", seed, {"3m": 1}, commit="abc", optimiser_steps=1200, minutes=minutes)
    finished_run(tmp_path, "a", 3, {"3m": 1}, model={"lr": 1.0}, battles=0, minutes=None)
    table = spent_table(groups_in(tmp_path))
    assert table.columns[2:6] == ("optimiser steps", "battles learned from", "environment steps", "minutes")
    assert [row[1:] for row in table.rows] == [
        ("2", "1,200", "–", "–", "1.5", "abc"),
        ("1", "–", "0", "–", "–", "–"),
    ]


def test_groups_of_one_colour_differ_in_their_lines() -> None:
    styles = [(series_style(n)["color"], series_style(n)["linestyle"]) for n in range(24)]
    assert len(set(styles)) == 24


def test_groups_without_a_common_task_are_not_compared(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"4m": 8})
    finished_run(tmp_path, "b", 1, {"5m": 8})
    comparison = compared(tmp_path)
    assert comparison.improvements == []
    assert [aggregate.kind for aggregate in comparison.aggregates] == ["unseen", "unseen"]


def test_plots_are_drawn_for_what_there_is(tmp_path: Path) -> None:
    folders = [finished_run(tmp_path, "a", seed, {"3m": 9 - seed, "4m": 5 + seed}) for seed in (1, 2)]
    written = write_plots(groups_in(tmp_path), compared(tmp_path), tmp_path / "plots")
    assert [path.name for path in written] == ["win_rates.png", "seen_unseen.png", "aggregates.png"]
    for folder in folders:
        with_metrics(folder, [0.1, 0.5, 0.9], [0.0, 0.2, 0.6])
    finished_run(tmp_path, "b", 1, {"3m": 1, "4m": 0})
    paths = tmp_path / "a", tmp_path / "b"
    written = write_plots(groups_in(*paths), compared(*paths), tmp_path / "plots")
    names = ["win_rates.png", "seen_unseen.png", "aggregates.png", "learning_curves.png"]
    assert [path.name for path in written] == names
    for path in written:
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        with Image.open(path) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(10**6) or []) > 20


def test_long_names_of_groups_widen_pictures_and_leave_the_panels_theirs(tmp_path: Path) -> None:
    widths = {}
    for letters in (1, 60):
        folder = tmp_path / str(letters)
        for algorithm in ("a", "b"):
            for seed in (1, 2):
                finished_run(folder / "runs", algorithm * letters, seed, {"3m": seed, "4m": 5})
        for path in write_plots(groups_in(folder / "runs"), compared(folder / "runs"), folder / "plots")[1:]:
            with Image.open(path) as picture:
                widths[letters, path.name] = picture.width
    for name in ("seen_unseen.png", "aggregates.png"):
        assert widths[60, name] > widths[1, name] + 400


def test_runs_of_extra_tasks_alone_have_no_aggregate_to_draw(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"8m": 3}, extra={"8m"})
    written = write_plots(groups_in(tmp_path), compared(tmp_path), tmp_path / "plots")
    assert [path.name for path in written] == ["win_rates.png"]
