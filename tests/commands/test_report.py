"""The command `report`: tables for people, JSON for programs, plots for papers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from finished_runs import finished_run
from refusals import refused

from hygen_lightning.cli import main
from hygen_lightning.commands.report import report
from hygen_lightning.report.comparison import compare
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.runs import grouped, run_table, task_sets_of
from hygen_lightning.specs import UserError

RESULTS = Path(__file__).parent.parent.parent / "docs/results"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        finished_run(
            tmp_path / "runs", "hygen", seed, {"3m": 10, "4m": 6 + seed}, model={"lr": 0.001}, noisy=True
        )
    finished_run(tmp_path / "runs", "bc", 1, {"3m": 8, "4m": 3}, model={"lr": 0.01})
    return tmp_path / "runs"


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


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_a_path_that_is_not_there_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["report", str(tmp_path / name), "--out", str(tmp_path / "out")], capsys)
    assert f"{name} does not exist; give run folders" in line


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
