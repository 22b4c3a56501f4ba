"""From battle records to results.json and the final table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hygen_lightning.report.results import (
    TaskResult,
    mean_win_rate,
    read_results,
    task_results,
    write_atomically,
    write_results,
)
from hygen_lightning.report.tables import results_table
from hygen_lightning.rollouts.evaluation import BattleRecord
from hygen_lightning.specs import UserError

RESULTS = [
    TaskResult("3m", True, 32, 32, 20.0, 22.5),
    TaskResult("4m", False, 32, 16, 14.25, 30.0),
    TaskResult("5m", False, 32, 32, 19.5, 25.0),
]


def record(task: str, success: bool, ret: float, length: int) -> BattleRecord:
    return BattleRecord(task, seed=0, success=success, ret=ret, length=length, allies_left=1, enemies_left=0)


def test_records_are_counted_and_averaged_per_task() -> None:
    records = [record("4m", True, 20, 10), record("3m", False, 5, 60), record("4m", False, 10, 20)]
    four, three = task_results(records, seen={"3m"})
    assert four == TaskResult("4m", False, 2, 1, 15.0, 15.0)
    assert three == TaskResult("3m", True, 1, 0, 5.0, 60.0)
    assert four.win_rate == 0.5


def test_noisy_battles_are_counted_where_every_battle_was_played_so() -> None:
    records = [replace(record("4m", True, 20, 10), success_noisy=noisy) for noisy in (True, False, False)]
    (four,) = task_results(records, seen=())
    assert (four.win_rate, four.win_rate_noisy) == (1.0, 1 / 3)
    assert four.to_json()["win_rate_noisy"] == 1 / 3
    assert mean_win_rate([four], seen=False, noisy=True) == 1 / 3
    (unknown,) = task_results([*records, record("4m", True, 20, 10)], seen=())
    assert unknown.win_rate_noisy is None
    assert mean_win_rate([unknown], seen=False, noisy=True) is None


def test_means_count_each_task_once_and_are_none_without_tasks() -> None:
    assert mean_win_rate(RESULTS, seen=False) == 0.75
    assert mean_win_rate(RESULTS[:1], seen=False) is None


def test_extra_tasks_are_reported_but_part_of_no_mean(tmp_path: Path) -> None:
    records = [record("3m", True, 20, 10), record("4m", True, 20, 10), record("8m", False, 1, 10)]
    results = task_results(records, seen={"3m"}, extra={"8m"})
    written = write_results(tmp_path / "results.json", results, {})
    assert written["mean_unseen_win_rate"] == 1.0
    assert written["tasks"]["8m"]["extra"] is True
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(results_table(results))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["4m"], ["8m"])] == [["4m", "unseen"], ["8m", "extra"]]


def test_results_json_holds_results_and_facts(tmp_path: Path) -> None:
    path = tmp_path / "run" / "results.json"
    written = write_results(path, RESULTS, {"seed": 3, "versions": {"torch": "2.13"}})
    assert json.loads(path.read_text()) == written == read_results(path)
    assert list(path.parent.iterdir()) == [path]
    four = written["tasks"]["4m"]
    assert set(four) == {"seen", "extra", "win_rate", "episodes", "return", "length", "ci95"}
    assert (four["seen"], four["win_rate"], four["return"], four["length"]) == (False, 0.5, 14.25, 30.0)
    assert four["ci95"] == pytest.approx([0.3364, 0.6636], abs=1e-4)
    assert (written["mean_seen_win_rate"], written["mean_unseen_win_rate"], written["seed"]) == (1, 0.75, 3)


def test_facts_cannot_overwrite_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mean_seen_win_rate"):
        write_results(tmp_path / "results.json", RESULTS, {"mean_seen_win_rate": 1.0})


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write_atomically(path, "old")

    def full_disk(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["{", "[]", '{"tasks": {"3m": {"win_rate": 1}}}', '{"x": 1}'])
def test_what_is_no_results_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"results\.json: (cannot be read|not written by a run)"):
        read_results(path)
    with pytest.raises(UserError, match="no such file"):
        read_results(tmp_path / "none.json")


def test_the_table_shows_seen_above_unseen_and_names_its_intervals() -> None:
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(results_table(RESULTS))
    text = console.export_text()
    lines = [line.split() for line in text.splitlines()]
    starts = [line[0] if line[:1] != ["mean"] else " ".join(line[:2]) for line in lines if line]
    order = [starts.index(name) for name in ("3m", "mean seen", "4m", "5m", "mean unseen")]
    assert order == sorted(order)
    assert ["4m", "unseen", "50.0", "33.6–66.4", "–", "32", "14.25", "30.0"] in lines
    assert "Wilson, over episodes" in text
    assert "not over seeds" in text
    narrow = Console(width=60, record=True, file=io.StringIO())
    narrow.print(results_table(RESULTS))
    digits = [sorted(filter(str.isdigit, table)) for table in (text, narrow.export_text())]
    assert digits[0] == digits[1], "what does not fit stands on further lines"
