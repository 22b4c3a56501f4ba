"""The command `report`: tables for people, JSON for programs, plots for papers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_runs import finished_run

from hygen_lightning.cli import main
from hygen_lightning.commands.report import report
from hygen_lightning.specs import UserError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        finished_run(tmp_path / "runs", "hygen", seed, {"3m": 10, "4m": 6 + seed}, model={"lr": 0.001})
    finished_run(tmp_path / "runs", "bc", 1, {"3m": 8, "4m": 3}, model={"lr": 0.01})
    return tmp_path / "runs"


def test_tables_name_their_kind_of_interval(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([runs / "hygen", runs / "bc"], out=tmp_path / "out") == 0
    text = capsys.readouterr().out
    hygen, bc = text.index("hygen: 3 seeds"), text.index("bc: one run")
    assert "95 % over seeds" in text[hygen:bc]
    assert {("4m", "unseen", "3", "30"), ("3m", "seen", "3", "30")} <= {
        (cells[0], cells[1], cells[-2], cells[-1])
        for line in text[hygen:bc].splitlines()
        if len(cells := line.replace("│", " ").split()) > 4
    }
    assert "95 % over episodes" not in text[hygen:bc]
    assert "95 % over episodes" in text[bc:]
    assert "\nwritten: " in text
    assert "groups differ in model.lr: 0.001 (hygen), 0.01 (bc)" in text
    assert "hygen over bc" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json",
        "runs.csv",
        "win_rates.png",
        "aggregates.png",
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
    four = next(row for row in printed["tasks"] if (row["group"], row["task"]) == ("hygen", "4m"))
    assert four["win_rate"] == pytest.approx(0.8)
    means = {(row["group"], row["kind"]): row["mean"] for row in printed["aggregates"]}
    assert means["hygen", "unseen"]["value"] == pytest.approx(0.8)
    assert means["bc", "unseen"]["ci95"] is None
    pair = next(row for row in printed["probability_of_improvement"] if row["kind"] == "unseen")
    assert (pair["group"], pair["over"], pair["probability"]["value"]) == ("hygen", "bc", 1.0)
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 4 * 2


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
