"""Runs as rows of a CSV file: what is written is read again, to the last battle."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from finished_runs import finished_run

from hygen_lightning.report.comparison import compare
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.rows import run_rows
from hygen_lightning.report.runs import grouped, run_table
from hygen_lightning.specs import UserError

FACTS = {"commit": "abc1234", "command": "fit --model BC", "battles": 640, "env_steps": 9000, "minutes": 1.5}


def written(tmp_path: Path) -> Path:
    for seed, wins in ((1, 7), (2, 9)):
        facts = FACTS | {"battles": 640.0}  # as metrics are
        finished_run(tmp_path, "a", seed, {"3m": 10, "4m": wins, "8m": 0}, extra={"8m"}, noisy=True, **facts)
    finished_run(tmp_path, "b", 1, {"3m": 1, "4m": 2})
    path = tmp_path / "rows.csv"
    path.write_text(run_rows(grouped(find_runs([tmp_path])[0])[0]))
    return path


def test_a_run_is_a_row_with_its_seed_its_commit_and_its_command(tmp_path: Path) -> None:
    rows = list(csv.DictReader(written(tmp_path).open()))
    assert len(rows) == 3
    assert {name: rows[0][name] for name in ("group", "seed", *FACTS)} == {
        **{"group": "a", "seed": "1"},
        **{name: str(value) for name, value in FACTS.items()},
    }
    assert (rows[0]["seen:3m"], rows[1]["unseen:4m"], rows[0]["extra:8m"]) == ("10/10", "9/10", "0/10")
    assert rows[0]["noisy:4m"] == "6/10"
    assert rows[2]["extra:8m"] == rows[2]["commit"] == rows[2]["noisy:4m"] == ""


def test_names_of_runs_stay_whole_and_part_rows_even_of_one_group(tmp_path: Path) -> None:
    text = written(tmp_path).read_text()
    for number in (1, 2):
        text = text.replace(f"a/20260101-000000-s{number}", f"{'AB'[number - 1]}/cell/20260101-000000-s1")
    (tmp_path / "named.csv").write_text(text)
    again = run_rows(grouped(find_runs([tmp_path / "named.csv"])[0])[0])
    assert [row["run"] for row in csv.DictReader(again.splitlines())][:2] == [
        "A/cell/20260101-000000-s1",
        "B/cell/20260101-000000-s1",
    ]


def test_runs_of_one_name_get_numbers_and_are_read_again(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        run = finished_run(tmp_path / f"seed{seed}", "BC", seed, {"3m": seed})
        run.rename(run.with_name("final"))
    (tmp_path / "rows.csv").write_text(run_rows(grouped(find_runs([tmp_path])[0])[0]))
    runs, _ = find_runs([tmp_path / "rows.csv"])
    assert [run.name for run in runs] == ["BC/BC/final", "BC/BC/final #2", "BC/BC/final #3"]


def test_a_row_does_not_tell_where_one_machine_kept_its_runs(tmp_path: Path) -> None:
    finished_run(
        tmp_path / "runs", "a", 1, {"3m": 1}, command="fit --run.root /home/me --data.train_tasks '[3m]'"
    )
    text = run_rows(grouped(find_runs([tmp_path / "runs"])[0])[0])
    (row,) = csv.DictReader(text.splitlines())
    assert row["command"] == "fit --data.train_tasks '[3m]'"


def test_the_tables_of_rows_are_those_of_the_runs(tmp_path: Path) -> None:
    path = written(tmp_path)
    from_rows, from_runs = (grouped(find_runs([place])[0])[0] for place in (path, tmp_path))
    assert compare(run_table(from_rows)).to_json() == compare(run_table(from_runs)).to_json()
    assert run_rows(from_rows) == path.read_text()


BROKEN = {
    "a cell is missing": (",simulator,1,", ",1,", "line 2: the header has 19 cells"),
    "a cell too many": (",simulator,1,", ",simulator,1,1,", "line 2: the header has 19 cells"),
    "the row was cut off": (",2/10,,", ',"2/', "line 4: the header has 19 cells"),
    "more wins than battles": ("9/10", "19/10", "line 2, noisy:3m: '19/10'; give wins/battles"),
    "fewer wins than none": ("9/10", "-9/10", "line 2, noisy:3m: '-9/10'"),
    "no battle": ("9/10", "0/0", "line 2, noisy:3m: '0/0'"),
    "no number": ("9/10", "nine", "line 2, noisy:3m: 'nine'"),
    "no seed": (",2,abc", ",two,abc", "line 3, seed: 'two'; give a whole number"),
    "no minutes": (",1.5,", ",soon,", "line 2, minutes: 'soon'; give a number, 0 or more"),
    "no versions": ("torch=2.13", "torch", "line 2, versions: 'torch numpy=2'; give name=version"),
    "semicolons": (",", ";", "no column 'group', or cells are not separated by commas"),
    "no such kind": ("seen:3m", "sen:3m", "sen:3m: a task is seen, unseen, extra, or noisy beside one"),
    "two kinds": ("extra:8m", "extra:4m", "line 2, extra:4m: 4m has one kind"),
    "noisy alone": ("seen:3m", "command2", "line 2, noisy:3m: 3m has one kind, and as many noisy battles"),
    "fewer noisy battles": ("9/10", "5/5", "line 2, noisy:3m: 3m has one kind, and as many noisy battles"),
    "no task": ("10/10,9/10,7/10,6/10,0/10", ",,,,", "line 2: no task was played"),
    "a cell of a megabyte": ("fit", "f" * 10**6, "no table of runs"),
    "no text": ("", "\0", "no table of runs"),
    "a column twice": ("unseen:4m", "seen:3m", "line 1: seen:3m stands there twice"),
    "minutes below none": (",1.5,", ",-1.5,", "line 2, minutes: '-1.5'; give a number, 0 or more"),
    "minutes without number": (",1.5,", ",nan,", "line 2, minutes: 'nan'; give a number, 0 or more"),
    "endless battles": (",640,", ",inf,", "line 2, battles: 'inf'; give a number, 0 or more"),
    "the same place": (",a/20260101-000000-s2,", ",/a//20260101-000000-s1,", "line 3: run '/a//2026"),
    "no run": (",a/20260101-000000-s1,", ",,", "line 2, run: give each run a name"),
    "a run twice": (
        "a/20260101-000000-s2",
        "a/20260101-000000-s1",
        "line 3: run 'a/20260101-000000-s1' stands in",
    ),
}


@pytest.mark.parametrize(("old", "new", "line"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_a_table_is_told_by_line_and_column(
    old: str, new: str, line: str, tmp_path: Path
) -> None:
    path = written(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1 if old != "," else -1) if old else new)
    with pytest.raises(UserError, match=re.escape(line)):
        find_runs([path])


def test_a_table_that_a_spreadsheet_has_saved_is_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = find_runs([path])[0]
    path.write_text("\ufeff" + path.read_text().replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert find_runs([path])[0] == before


def test_an_empty_table_and_a_folder_that_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match=r"empty\.csv: no table of runs .*: it is empty"):
        find_runs([tmp_path / "empty.csv"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder\.csv: no results\.json of a finished run"):
        find_runs([tmp_path / "folder.csv"])


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "group,seed,run\nx,1,y\n"])
def test_another_csv_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"other.csv: no table of runs"):
        find_runs([path])
