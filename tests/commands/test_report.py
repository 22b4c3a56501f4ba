"""The command `report`: tables for people, JSON for programs, plots for papers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from finished_runs import finished_run

from hygen_lightning.cli import main
from hygen_lightning.commands.report import report
from hygen_lightning.report.comparison import compare
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.runs import grouped, run_table, task_sets_of

RESULTS = Path(__file__).parent.parent.parent / "docs/results"


def test_tables_name_both_kinds_of_interval_and_what_stands_behind_them(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([runs / "hygen", runs / "bc"], out=tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "groups differ in model.lr: 0.001 (hygen), 0.01 (bc)" in text
    assert "hygen over bc" in text
    assert "\nwritten: " in text
    rows = {tuple(row[:3]): row for row in csv.reader((tmp_path / "out/tasks.csv").open())}
    assert rows["group", "task", ""][5:] == ["95 % over seeds", "95 % over battles", "seeds", "battles"]
    assert rows["hygen", "4m", "unseen"][3:] == ["80.0", "70.0", "55.2–100.0", "62.7–90.5", "3", "30"]
    assert rows["bc", "4m", "unseen"][3:] == ["30.0", "–", "–", "10.8–60.3", "1", "10"]
    plots = ("win_rates", "seen_unseen", "aggregates")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(
            "report.html",
            "report.md",
            "report.json",
            "tables.tex",
            "marl_eval.json",
            "runs.csv",
            "results.csv",
        ),
        *("means.csv", "by_task.csv", "tasks.csv", "improvement.csv", "spent.csv"),
        *(f"{plot}.{kind}" for plot in plots for kind in ("png", "pdf")),
    }


def test_json_is_one_object_and_the_same_as_the_file(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["report", str(runs / "hygen"), str(runs / "bc"), "--out", str(out), "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "report.json").read_text())
    assert printed["groups"]["hygen"]["seeds"] == [1, 2, 3]
    told = printed["task_sets"]["3m"]
    four = next(row for row in told["tasks"] if (row["group"], row["task"]) == ("hygen", "4m"))
    assert four["win_rate"] == pytest.approx(0.8)
    means = {(row["group"], row["kind"]): row["mean"] for row in told["aggregates"]}
    assert means["hygen", "unseen"]["value"] == pytest.approx(0.8)
    assert means["bc", "unseen"]["ci95"] is None
    pair = next(row for row in told["probability_of_improvement"] if row["kind"] == "unseen")
    assert (pair["group"], pair["over"], pair["probability"]["value"]) == ("hygen", "bc", 1.0)
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 4 * 2


def test_what_was_learned_from_other_tasks_stands_in_tables_of_its_own(runs: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        folder = finished_run(runs, "other", seed, {"3m": 4, "4m": 5})
        text = (folder / "results.json").read_text()
        (folder / "results.json").write_text(text.replace('"3m": {', '"5m": {'))
    assert report([runs], out=tmp_path / "out") == 0
    told = json.loads((tmp_path / "out/report.json").read_text())["task_sets"]
    assert {name: {row["group"] for row in one["tasks"]} for name, one in told.items()} == {
        "3m": {"hygen", "bc"},
        "5m": {"other"},
    }
    assert (tmp_path / "out/5m/win_rates.png").is_file()
    assert "Learned: 5m" in (tmp_path / "out/report.html").read_text()


def test_a_study_names_its_groups_as_its_folders(runs: Path, tmp_path: Path) -> None:
    for name in ("hygen", "bc"):
        (runs / name / "asked.yaml").touch()
    (runs / "hygen").rename(runs / "HyGen-toy-expert")
    newer = runs / "HyGen-toy-expert/20260101-000000-s3/config.yaml"
    newer.write_text(newer.read_text() + "added_later: 1\n")
    assert report([runs], out=tmp_path / "out") == 0
    groups = json.loads((tmp_path / "out/report.json").read_text())["groups"]
    assert {name: told["seeds"] for name, told in groups.items()} == {
        "bc": [1],
        "HyGen-toy-expert": [1, 2, 3],
    }


def test_the_table_of_runs_that_a_report_writes_gives_the_same_report(runs: Path, tmp_path: Path) -> None:
    assert report([runs], out=tmp_path / "one") == 0
    assert report([tmp_path / "one" / "results.csv"], out=tmp_path / "two") == 0
    for name in ("means.csv", "tasks.csv", "improvement.csv", "results.csv"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_the_results_of_the_repository_are_tables_of_runs(tmp_path: Path) -> None:
    tables = sorted(RESULTS.glob("*.csv"))
    assert tables
    for path in tables:
        for members in task_sets_of(grouped(find_runs([path])[0])[0]).values():
            told = compare(run_table(members)).to_json()["aggregates"]
            assert {one["group"] for one in told} == set(members), path
    groups, replaced = grouped(find_runs(tables)[0])
    assert {"toy/HyGen, expert recordings", "marine-hard/HyGen, expert recordings", "QMIX"} < set(groups)
    assert sum(map(len, groups.values())) == sum(len(path.read_text().splitlines()) - 1 for path in tables)
    assert replaced == []


@pytest.mark.slow
def test_the_results_of_the_repository_make_one_report(tmp_path: Path) -> None:
    assert report(sorted(RESULTS.glob("*.csv")), out=tmp_path / "out") == 0
    told = json.loads((tmp_path / "out/report.json").read_text())
    assert {"3m", "marine-hard", "stalker-zealot"} < set(told["task_sets"])


def test_signs_that_would_look_alike_are_not_drawn(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hygen_lightning.report.comparison_plots.MOST_STYLES", 1)
    assert report([runs], out=tmp_path / "out") == 0
    assert (tmp_path / "out/aggregates.png").is_file()
    assert not (tmp_path / "out/seen_unseen.png").exists()


def test_a_task_that_one_seed_alone_has_played_is_drawn_without_interval(tmp_path: Path) -> None:
    finished_run(tmp_path, "HyGen", 1, {"3m": 9, "4m": 5, "5m": 3})
    finished_run(tmp_path, "HyGen", 2, {"3m": 9, "4m": 5})
    assert report([tmp_path / "HyGen"], out=tmp_path / "out") == 0
    rows = (tmp_path / "out/tasks.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["3m", "4m", "5m"]
