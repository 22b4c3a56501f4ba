"""What `report` writes, takes away and leaves alone in its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_runs import finished_run
from refusals import refused

from hygen_lightning.cli import main
from hygen_lightning.commands.report import report


def test_names_of_tasks_are_no_way_out_of_the_folder(tmp_path: Path) -> None:
    finished_run(tmp_path, "A", 1, {"3m": 9})
    odd = finished_run(tmp_path, "B", 1, {"3m": 9})
    text = (odd / "results.json").read_text()
    (odd / "results.json").write_text(text.replace('"3m"', '"../../x"'))
    assert report([tmp_path / "A", tmp_path / "B"], out=tmp_path / "out/deep") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["deep"]
    assert (tmp_path / "out/deep/_.._x/tasks.csv").is_file()


def test_task_sets_whose_names_look_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    for name, task in (("A", "a/b"), ("B", "a_b"), ("C", "A_B")):
        run = finished_run(tmp_path / "runs", name, 1, {"3m": 9})
        text = (run / "results.json").read_text()
        (run / "results.json").write_text(text.replace('"3m"', f'"{task}"'))
    assert report([tmp_path / "runs"], out=tmp_path / "out") == 0
    folders = {path.parent.name for path in (tmp_path / "out").glob("*/tasks.csv")}
    assert len({folder.lower() for folder in folders}) == 3


def test_a_report_that_is_refused_in_the_middle_leaves_the_folder_as_it_was(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", str(runs), "--out", str(tmp_path / "out")]
    damaged = next((runs / "bc").iterdir()) / "metrics.csv"
    damaged.write_text("no,metrics\n1,2\n")
    assert "metrics.csv: no metrics of a run, it has no column 'step'" in refused(words, capsys)
    assert not (tmp_path / "out").exists()
    damaged.unlink()
    assert main(words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    damaged.write_text("no,metrics\n1,2\n")
    refused(words, capsys)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_files_of_an_earlier_report_go_those_of_others_stay(runs: Path, tmp_path: Path) -> None:
    finished_run(tmp_path / "runs", "marines", 1, {"8m": 10, "9m": 6}, model={"lr": 0.001})
    out = tmp_path / "out"
    words = ["report", "--out", str(out)]
    assert main([*words, str(runs)]) == 0
    assert (out / "nothing_seen/win_rates.png").is_file()
    kept = [out / "mine.txt", out / "3m/mine.txt", tmp_path / "results.csv"]
    for path in kept:
        path.write_text("mine")
    told = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps({**told, "files": [*told["files"], "../results.csv"]}))
    assert main([*words, str(runs / "hygen"), str(runs / "bc")]) == 0
    assert (out / "win_rates.png").is_file()
    assert not (out / "nothing_seen").exists()
    assert [path.name for path in (out / "3m").iterdir()] == ["mine.txt"]
    assert all(path.read_text() == "mine" for path in kept)


@pytest.mark.parametrize("damaged", ["{", "[]", '{"files": 1}', '{"files": [1]}', '{"files": ["."]}', "{}"])
def test_a_damaged_earlier_report_is_written_over(damaged: str, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text(damaged)
    assert main(["report", str(runs), "--out", str(out)]) == 0
    assert json.loads((out / "report.json").read_text())["groups"]


def test_a_report_takes_the_place_of_no_file_of_a_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = finished_run(tmp_path / "runs", "BC", 1, {"3m": 9}), tmp_path / "out"
    out.mkdir()
    (out / "report.md").write_text("mine")
    said = refused(["report", str(run), "--out", str(out)], capsys)
    assert f"{out / 'report.md'} is not of a report; give another --out, or move it away" in said
    assert [path.name for path in out.iterdir()] == ["report.md"]
    (out / "report.md").unlink()
    assert report([run], out=out) == report([run], out=out) == 0
    said = refused(["report", str(out / "results.csv"), "--out", str(out)], capsys)
    assert f"{out / 'results.csv'} is read for the report, which would overwrite it" in said


def test_a_report_that_is_broken_off_while_its_files_move_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = finished_run(tmp_path / "runs", "BC", 1, {"3m": 9}), tmp_path / "out"
    rename, moved = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if Path(target).parent == out:
            moved.append(target)
            if len(moved) == 3:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        report([run], out=out)
    monkeypatch.undo()
    assert len(list(out.iterdir())) == 2
    assert report([run], out=out) == 0
