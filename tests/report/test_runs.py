"""Runs: which are found, which belong together, and what may be mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from finished_runs import finished_run, unfinished_run, with_metrics

from hygen_lightning.data.datamodule import NO_RECORDINGS, Quality
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.rows import run_rows
from hygen_lightning.report.runs import (
    QUALITIES,
    STUDY_FILE,
    Run,
    check_comparable,
    differences_between,
    grouped,
    run_table,
    task_sets_of,
    tasks_of_some,
)
from hygen_lightning.specs import UserError


def groups_in(*paths: Path) -> dict[str, list[Run]]:
    return grouped(find_runs(paths)[0])[0]


def seeds_in(*paths: Path) -> dict[str, list[int | None]]:
    return {label: [run.seed for run in runs] for label, runs in groups_in(*paths).items()}


def test_runs_are_found_from_files_run_folders_and_folders_of_runs(tmp_path: Path) -> None:
    first = finished_run(tmp_path, "HyGen", 1, {"3m": 9, "4m": 5})
    second = finished_run(tmp_path, "BC", 2, {"3m": 9, "4m": 5})
    for paths in ([tmp_path], [first / "results.json", second], [second, first, tmp_path / "BC"]):
        assert seeds_in(*paths) == {"HyGen": [1], "BC": [2]}


def test_a_sweep_is_grouped_by_what_differs_in_its_options_but_the_seed(tmp_path: Path) -> None:
    for lr in (0.001, 0.0005):
        for seed in (1, 2):
            time = f"2026010{seed}-{round(1e6 * lr):06d}"
            finished_run(
                tmp_path, "HyGen", seed, {"3m": 9}, name="sweep", time=time, model={"lr": lr, "k": 1}
            )
    finished_run(tmp_path, "BC", 1, {"3m": 9}, name="sweep", time="20260103-000000", model={"lr": 0.01})
    assert seeds_in(tmp_path) == {"HyGen lr=0.0005": [1, 2], "HyGen lr=0.001": [1, 2], "BC": [1]}
    between = "model.lr: 0.0005 (HyGen lr=0.0005), 0.001 (HyGen lr=0.001), 0.01 (BC)"
    assert differences_between(groups_in(tmp_path)) == [between]


def test_groups_that_differ_in_much_are_told_apart_by_the_names_of_their_runs(tmp_path: Path) -> None:
    for name, value in (("quick", 1), ("paper", 2)):
        model = dict.fromkeys("abcd", value)
        finished_run(tmp_path, "HyGen", 1, {"3m": 9}, name=name, model=model)
    assert list(seeds_in(tmp_path)) == ["HyGen paper", "HyGen quick"]
    finished_run(tmp_path, "HyGen", 1, {"3m": 9}, name="quick", time="2", model=dict.fromkeys("abcd", 3))
    assert list(seeds_in(tmp_path / "quick")) == ["HyGen quick", "HyGen quick #2"]


def test_groups_that_studies_and_tables_call_the_same_are_kept_apart_by_their_names(tmp_path: Path) -> None:
    for wins, place in enumerate(("s1", "s2", "old", "new"), 3):
        for seed in (1, 2):
            run = finished_run(tmp_path / place, "BC", seed, {"3m": wins}, name="BC-toy")
        (run.parent / STUDY_FILE).touch()
    finished_run(tmp_path / "s1", "BC", 1, {"3m": 9}, name="alone")
    studies = [tmp_path / "s1", tmp_path / "s2"]
    assert seeds_in(*studies) == {"s1/BC-toy": [1, 2], "s2/BC-toy": [1, 2], "BC": [1]}
    tables = [tmp_path / place / "results.csv" for place in ("old", "new")]
    for table in tables:
        table.write_text(run_rows(groups_in(table.parent)))
    told = seeds_in(*tables, *tables)
    assert told == {"old/results/BC-toy": [1, 2], "new/results/BC-toy": [1, 2]}
    (tmp_path / "both.csv").write_text(run_rows(groups_in(*tables)))
    assert seeds_in(tmp_path / "both.csv") == told


def test_a_group_of_copies_does_not_count_and_a_line_says_so(tmp_path: Path) -> None:
    folder, table = tmp_path / "runs", tmp_path / "results.csv"
    for seed in (1, 2):
        finished_run(folder, "BC", seed, {"3m": 9}, minutes=1.5)
    rows = run_rows(groups_in(folder))
    table.write_text(rows)
    for paths in ([folder, table], [table, folder]):
        groups, lines = grouped(find_runs(paths)[0])
        assert [run.folder.parent.parent for run in groups["BC"]] == [folder, folder]
        assert lines == [f"left out: BC of {table}, a copy from {folder / 'BC'}"]
    finished_run(folder, "BC", 3, {"3m": 9}, minutes=1.5)
    larger = tmp_path / "larger.csv"
    larger.write_text(run_rows(groups_in(folder)))
    (folder / "BC" / "20260101-000000-s3" / "results.json").unlink()
    for tables in ([table, larger], [larger, table], [folder, larger]):
        assert seeds_in(*tables) == {"BC": [1, 2, 3]}
    table.write_text(rows.replace(",1.5,", ",2.5,", 1))  # one of them was another run
    assert seeds_in(folder, table) == {"BC": [1, 2], "BC #2": [1, 2]}


def test_a_task_that_some_runs_of_a_group_have_not_played_is_named(tmp_path: Path) -> None:
    finished_run(tmp_path, "BC", 1, {"3m": 9, "4m": 3, "8m": 3}, extra={"8m"})
    finished_run(tmp_path, "BC", 2, {"3m": 9})
    assert tasks_of_some(groups_in(tmp_path)) == ["4m is in no mean of BC: 1 of its 2 runs played it"]


def test_a_study_of_two_algorithms_or_versions_under_one_name_is_not_averaged(tmp_path: Path) -> None:
    finished_run(tmp_path, "BC", 1, {"3m": 9}, name="cell")
    finished_run(tmp_path, "BC", 2, {"3m": 9}, name="cell", versions={"torch": "2.4"})
    (tmp_path / "cell" / STUDY_FILE).touch()
    assert seeds_in(tmp_path) == {"cell": [1], "cell #2": [2]}
    rows = run_rows(groups_in(tmp_path)).replace("cell #2", "cell")
    (tmp_path / "rows.csv").write_text(rows)
    assert sorted(seeds_in(tmp_path / "rows.csv").values()) == [[1], [2]]


def test_equal_last_names_of_options_are_written_out(tmp_path: Path) -> None:
    for value in (1, 2):
        finished_run(
            tmp_path, "HyGen", 1, {"3m": 9}, name=str(value), model={"env": value, "x": {"env": value}}
        )
    labels = list(seeds_in(tmp_path))
    assert labels == ["HyGen model.env=1 model.x.env=1", "HyGen model.env=2 model.x.env=2"]


def test_of_a_repeated_seed_the_newest_run_counts_and_a_line_says_so(tmp_path: Path) -> None:
    finished_run(tmp_path, "HyGen", 1, {"3m": 5}, time="20260101-000000")
    finished_run(tmp_path, "HyGen", 1, {"3m": 9}, time="20260102-000000", name="again")
    groups, replaced = grouped(find_runs([tmp_path])[0])
    assert [run.name for run in groups["HyGen"]] == ["again/20260102-000000-s1"]
    assert replaced == ["left out: HyGen/20260101-000000-s1, for again/20260102-000000-s1 repeats its seed 1"]


def test_runs_are_found_through_links(tmp_path: Path) -> None:
    for seed in (1, 2):
        run = finished_run(tmp_path / "runs", "BC", seed, {"3m": 9})
        (tmp_path / "chosen").mkdir(exist_ok=True)
        (tmp_path / "chosen" / run.name).symlink_to(run)
    assert seeds_in(tmp_path / "chosen") == {"BC": [1, 2]}


def test_every_quality_of_recordings_has_its_place() -> None:
    assert set(QUALITIES) == set(get_args(Quality)) - {NO_RECORDINGS}


def test_folders_of_equal_names_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for place, wins in (("one", 5), ("two", 9)):
        finished_run(tmp_path / place, "HyGen", 1, {"3m": wins})
    _, (line,) = grouped(find_runs([tmp_path])[0])
    places = [tmp_path / place / "HyGen" / "20260101-000000-s1" for place in ("one", "two")]
    assert line == f"left out: {places[0]}, for {places[1]} repeats its seed 1"


def test_unfinished_runs_are_left_out_with_a_line(tmp_path: Path) -> None:
    finished_run(tmp_path, "HyGen", 1, {"3m": 5})
    stopped = finished_run(tmp_path, "HyGen", 2, {"3m": 5}, finished=False)
    killed = tmp_path / "HyGen" / "20260101-000000-s3"
    unfinished_run(killed, "HyGen", 3, "HyGen", None)
    runs, lines = find_runs([tmp_path])
    assert [run.seed for run in runs] == [1]
    assert sorted(lines) == [f"left out: {folder} is not finished" for folder in (stopped, killed)]
    with pytest.raises(UserError, match=r"no results\.json of a finished run at or below it; 1 unfinished"):
        find_runs([killed])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no results\.json of a finished run at or below it; give"):
        find_runs([tmp_path / "empty"])


def test_results_without_their_config_are_grouped_by_folder_and_data(tmp_path: Path) -> None:
    for name, seed, quality in (("a", 1, "expert"), ("a", 2, "expert"), ("b", 1, "medium")):
        data = {"quality": quality, "dataset_dir": "there"}
        run = finished_run(tmp_path, "HyGen", seed, {"3m": 9}, name=name, data=data)
        (run / "config.yaml").unlink()
    assert seeds_in(tmp_path) == {
        "HyGen folder=a quality=expert": [1, 2],
        "HyGen folder=b quality=medium": [1],
    }


def test_runs_of_unknown_seeds_all_count(tmp_path: Path) -> None:
    for k in (1, 2):
        finished_run(tmp_path / str(k), "HyGen", k, {"3m": 9}, seed_known=False)
    assert seeds_in(tmp_path) == {"HyGen": [None, None]}


def test_a_damaged_config_is_one_clear_line(tmp_path: Path) -> None:
    (finished_run(tmp_path, "HyGen", 1, {"3m": 9}) / "config.yaml").write_text("model: [")
    with pytest.raises(UserError, match=r"config\.yaml: cannot be read as a config"):
        find_runs([tmp_path])


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
        ("versions", None, "different versions: .*unknown"),
    ],
)
def test_other_environments_and_versions_are_refused_or_named_and_never_averaged(
    tmp_path: Path, fact: str, other: Any, words: str
) -> None:
    finished_run(tmp_path, "HyGen", 1, {"3m": 9}, name="a")
    finished_run(tmp_path, "HyGen", 2, {"3m": 9}, name="b", **{fact: other})
    runs, _ = find_runs([tmp_path])
    with pytest.raises(UserError, match=words + ".*--allow_mixed true"):
        check_comparable(runs, allow_mixed=False)
    assert len(check_comparable(runs, allow_mixed=True)) == 1
    assert sorted(seeds_in(tmp_path).values()) == [[1], [2]]
    assert check_comparable(runs[:1], allow_mixed=False) == []


def test_the_tidy_table_has_a_row_per_run_and_task(tmp_path: Path) -> None:
    finished_run(tmp_path, "HyGen", 1, {"8m": 1, "4m": 5, "3m": 9}, extra={"8m"})
    finished_run(tmp_path, "HyGen", 2, {"3m": 8})
    table = run_table(groups_in(tmp_path))
    rows = table[["seed", "task", "kind", "win_rate", "episodes"]].to_numpy().tolist()
    assert rows == [
        [1, "3m", "seen", 0.9, 10],
        [2, "3m", "seen", 0.8, 10],
        [1, "4m", "unseen", 0.5, 10],
        [1, "8m", "extra", 0.1, 10],
    ]


def test_tables_and_plots_need_neither_torch_nor_pyplot(tmp_path: Path) -> None:
    import subprocess
    import sys

    with_metrics(finished_run(tmp_path, "HyGen", 1, {"3m": 9}), [0.5], [0.5])
    code = (
        "import sys; from hygen_lightning.cli import main; "
        f"main(['report', {str(tmp_path)!r}, '--out', {str(tmp_path / 'out')!r}]); "
        "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE).returncode == 0


def test_groups_stand_by_their_recordings_and_the_best_on_unseen_tasks_first(tmp_path: Path) -> None:
    for name, quality, unseen in (
        ("a", "medium", 4),
        ("b", "none", 9),
        ("c", "medium", 7),
        ("d", "expert", 1),
    ):
        finished_run(tmp_path, name, 1, {"3m": 9 - unseen, "4m": unseen}, quality=quality)
    finished_run(tmp_path, "e", 1, {"3m": 5}, data={"quality": "medium"})
    finished_run(tmp_path, "f", 1, {"3m": 0}, quality="random")
    assert list(task_sets_of(groups_in(tmp_path))["3m"]) == ["d", "c", "e", "a", "f", "b"]
