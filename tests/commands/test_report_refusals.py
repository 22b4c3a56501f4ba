"""What `report` cannot read, in one line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_runs import finished_run
from refusals import refused

from hygen_lightning.cli import main
from hygen_lightning.commands.report import report
from hygen_lightning.specs import UserError


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_a_path_that_is_not_there_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["report", str(tmp_path / name), "--out", str(tmp_path / "out")], capsys)
    assert f"{name} does not exist; give run folders" in line


def test_a_folder_of_tables_is_told_from_other_ones(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(runs), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "metrics.csv").write_text("step\n1\n")
    words = ["report", str(folder), "--out", str(tmp_path / "out")]
    assert refused(words, capsys).endswith("; give run folders")
    (tmp_path / "out/results.csv").rename(folder / "results.csv")
    assert refused(words, capsys).endswith(f"; give run folders, or tables like {folder / 'results.csv'}")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"win_rate": 1.5}, "tasks.4m.win_rate is 1.5; 0 to 1 expected"),
        ({"win_rate": "all"}, "tasks.4m.win_rate is 'all'"),
        ({"win_rate_noisy": -0.5}, "tasks.4m.win_rate_noisy is -0.5"),
        ({"episodes": 0}, "tasks.4m.episodes is 0; 1 or more expected"),
        ({"episodes": None}, "tasks.4m.episodes is None"),
    ],
)
def test_impossible_win_rates_and_counts_are_refused(
    wrong: dict[str, object], told: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (runs / "bc").glob("*/results.json")
    content = json.loads(path.read_text())
    content["tasks"]["4m"] |= wrong
    path.write_text(json.dumps(content))
    assert told in refused(["report", str(runs), "--out", str(tmp_path / "out")], capsys)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"seed": "one"}, "seed is 'one'; a whole number expected"),
        ({"optimiser_steps": "many"}, "optimiser_steps is 'many'; a number, 0 or more, expected"),
        ({"battles": float("nan")}, "battles is nan; a number"),
        ({"minutes": -1}, "minutes is -1; a number"),
        ({"command": 5}, "command is 5; a text expected"),
        ({"environment": "sim"}, "environment is 'sim'; names and values expected"),
        ({"versions": ["torch"]}, "versions is ['torch']; names and values expected"),
        ({"tasks": {}}, "not written by a run"),
    ],
)
def test_facts_of_another_kind_are_refused(
    wrong: dict[str, object], told: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (runs / "bc").glob("*/results.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    assert told in refused(["report", str(runs), "--out", str(tmp_path / "out")], capsys)


@pytest.mark.parametrize("name", ["metrics.csv", "evaluations.csv"])
def test_a_cell_of_a_run_that_is_no_number(
    name: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(runs.rglob("results.json")).parent
    (run / "evaluations.csv").write_text("stage,step,task,seed,success,ret\nval,2.0,3m,1,True,1.5\n")
    (run / "metrics.csv").write_text("step,progress/minutes\n2.0,1.5\n")
    assert report([runs], out=tmp_path / "out") == 0
    (run / name).write_text((run / name).read_text().replace("1.5", "abc"))
    said = refused(["report", str(runs), "--out", str(tmp_path / "out")], capsys)
    assert str(run) in said
    assert "mend the cell, or leave the run out" in said


def test_a_folder_called_like_a_table_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in" / "x.csv").mkdir(parents=True)
    line = refused(["report", str(tmp_path / "in"), "--out", str(tmp_path / "out")], capsys)
    assert "no results.json of a finished run" in line


@pytest.mark.parametrize("name", ["empty", "foreign"])
def test_an_empty_and_a_foreign_folder_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).mkdir()
    if name == "foreign":
        (tmp_path / name / "results.json").write_text('{"tasks": {"3m": 3}}')
    line = refused(["report", str(tmp_path / name), "--out", str(tmp_path / "out")], capsys)
    assert ("no results.json of a finished run" in line) == (name == "empty")
    assert ("not written by a run" in line) == (name == "foreign")
    assert not (tmp_path / "out").exists()


def test_other_versions_are_refused_and_named_when_allowed(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(runs, "old", 1, {"3m": 5, "4m": 1}, versions={"torch": "2.4", "numpy": "2"})
    with pytest.raises(UserError, match="different versions"):
        report([runs], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert report([runs], out=tmp_path / "out", allow_mixed=True) == 0
    assert "mixed: different versions: torch 2.13 in bc/20260101-000000-s1, torch 2.4 in old/" in " ".join(
        capsys.readouterr().out.split()
    )
