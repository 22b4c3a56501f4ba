"""Comparing finished runs: what is found, what may be mixed, what comes out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from finished_runs import finished_run, with_metrics
from PIL import Image

from hygen_lightning.report.comparison import compare
from hygen_lightning.report.comparison_plots import write_plots
from hygen_lightning.report.runs import check_comparable, find_runs
from hygen_lightning.report.statistics import wilson_interval
from hygen_lightning.specs import UserError


def test_runs_are_found_from_files_run_folders_and_folders_of_runs(tmp_path: Path) -> None:
    first = finished_run(tmp_path, "hygen", 1, {"3m": 9, "4m": 5})
    second = finished_run(tmp_path, "bc", 2, {"3m": 9, "4m": 5})
    for paths in ([tmp_path], [first / "results.json", second], [second, first, tmp_path / "bc"]):
        found = find_runs(paths)
        assert {(run.group, run.seed) for run in found} == {("hygen", 1), ("bc", 2)}
        assert len(found) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no results\.json"):
        find_runs([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("fact", "other", "words"),
    [
        (
            "environment",
            {"name": "smac", "version": "1"},
            "different environment: name simulator in a/.*name smac in b/",
        ),
        ("environment", {"name": "simulator", "version": "2"}, "version 1 in .*version 2 in "),
        ("versions", {"torch": "2.4", "numpy": "2"}, r"different versions: torch 2\.13 .*torch 2\.4 "),
        ("data", {"quality": "medium", "dataset_dir": "there"}, "quality expert .*quality medium "),
        ("data", None, "different data: .*unknown"),
    ],
)
def test_runs_that_differ_are_refused_unless_mixing_is_asked_for(
    tmp_path: Path, fact: str, other: Any, words: str
) -> None:
    finished_run(tmp_path, "a", 1, {"3m": 9})
    finished_run(tmp_path, "b", 2, {"3m": 9}, **{fact: other})
    runs = find_runs([tmp_path])
    with pytest.raises(UserError, match=words + ".*--allow_mixed true"):
        check_comparable(runs, allow_mixed=False)
    assert len(check_comparable(runs, allow_mixed=True)) == 1


def test_equal_runs_have_no_differences_and_a_seed_counts_once(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"3m": 9})
    finished_run(tmp_path, "b", 1, {"3m": 9})
    assert check_comparable(find_runs([tmp_path]), allow_mixed=False) == []
    twin = finished_run(tmp_path, "a", 2, {"3m": 9}, seed_again=True)
    (twin / "results.json").write_text((tmp_path / "a" / "20260101-000000-s1" / "results.json").read_text())
    with pytest.raises(
        UserError, match="seed 1 occurs twice, in a/20260101-000000-s1 and a/20260101-000000-s2"
    ):
        check_comparable(find_runs([tmp_path]), allow_mixed=True)


@pytest.mark.filterwarnings("error")
def test_runs_evaluated_at_different_steps_have_no_curve_in_common(tmp_path: Path) -> None:
    for seed, step in ((1, 99), (2, 100)):
        run = finished_run(tmp_path, "hygen", seed, {"3m": 9, "4m": 5})
        (run / "metrics.csv").write_text(f"step,val/mean/seen_win_rate\n{step},0.5\n")
    runs = find_runs([tmp_path])
    write_plots(runs, compare(runs), tmp_path / "out")
    assert (tmp_path / "out" / "learning_curves.png").is_file()


def test_several_seeds_give_intervals_over_seeds_and_one_run_over_episodes(tmp_path: Path) -> None:
    for seed, wins in ((1, 7), (2, 8), (3, 9)):
        finished_run(tmp_path, "hygen", seed, {"4m": wins, "3m": 10})
    finished_run(tmp_path, "bc", 1, {"3m": 4, "4m": 2})
    bc, hygen = compare(find_runs([tmp_path])).groups
    three, four = hygen.tasks
    assert (three.task, three.kind, four.task, four.kind) == ("3m", "seen", "4m", "unseen")
    half_width = 4.302653 * 0.1 / math.sqrt(3)
    assert four.win_rate == pytest.approx(0.8)
    assert four.ci95_over_seeds == pytest.approx((0.8 - half_width, 1.0), abs=1e-6)
    assert four.ci95_over_episodes is None
    assert bc.tasks[1].ci95_over_seeds is None
    assert bc.tasks[1].ci95_over_episodes == wilson_interval(2, 10)


def test_aggregates_and_improvement_use_the_tasks_that_all_runs_share(tmp_path: Path) -> None:
    for seed in (1, 2):
        finished_run(tmp_path, "a", seed, {"3m": 10, "4m": 8, "5m": 6})
        finished_run(tmp_path, "b", seed, {"3m": 10, "5m": 6 - seed, "4m": 8, "6m": seed})
    comparison = compare(find_runs([tmp_path]))
    first, second = comparison.groups
    assert first.unseen is not None
    assert second.unseen is not None
    assert first.unseen.mean.value == pytest.approx(0.7)
    assert first.unseen.optimality_gap.value == pytest.approx(0.3)
    assert first.unseen.profile[0] == 1.0
    assert first.unseen.profile[-1] == 0.0
    assert second.unseen.tasks == ["5m", "4m", "6m"]
    (unseen,), (seen,) = comparison.unseen_improvements, comparison.seen_improvements
    assert unseen.tasks == ["4m", "5m"]
    assert unseen.probability.value == pytest.approx((0.5 + 1.0) / 2)
    assert seen.probability.value == 0.5


def test_extra_tasks_stand_last_and_are_part_of_no_aggregate(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"8m": 0, "4m": 8, "3m": 10}, extra={"8m"})
    comparison = compare(find_runs([tmp_path]))
    (group,) = comparison.groups
    assert [(task.task, task.kind) for task in group.tasks] == [
        ("3m", "seen"),
        ("4m", "unseen"),
        ("8m", "extra"),
    ]
    assert group.unseen is not None
    assert group.unseen.tasks == ["4m"]


def test_groups_without_a_common_task_are_not_compared(tmp_path: Path) -> None:
    finished_run(tmp_path, "a", 1, {"4m": 8})
    finished_run(tmp_path, "b", 1, {"5m": 8})
    comparison = compare(find_runs([tmp_path]))
    assert comparison.unseen_improvements == []
    assert comparison.groups[0].seen is None


def test_plots_are_drawn_for_what_there_is(tmp_path: Path) -> None:
    folders = [finished_run(tmp_path, "a", seed, {"3m": 9 - seed, "4m": 5 + seed}) for seed in (1, 2)]
    runs = find_runs([tmp_path])
    names = [path.name for path in write_plots(runs, compare(runs), tmp_path / "plots")]
    assert names == ["win_rates.png", "aggregates.png"]
    for folder in folders:
        with_metrics(folder, [0.1, 0.5, 0.9], [0.0, 0.2, 0.6])
    finished_run(tmp_path, "b", 1, {"3m": 1, "4m": 0})
    runs = find_runs([tmp_path / "a", tmp_path / "b"])
    written = write_plots(runs, compare(runs), tmp_path / "plots")
    assert [path.name for path in written] == ["win_rates.png", "aggregates.png", "learning_curves.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(10**6) or []) > 20
