"""Who plays the recordings that fit makes by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hygen_lightning.cli import main
from hygen_lightning.data.buffers import load_offline
from hygen_lightning.recordings import on_demand
from hygen_lightning.recordings.on_demand import Wanted, recordings_for
from hygen_lightning.rollouts.recording import scripted_recordings
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

TASKS = [load_task("3m"), load_task("4m")]
SOURCES = {"3m": "3m", "4m": "4m"}
WANTED = Wanted("medium", 4, "simulator")


@pytest.fixture(autouse=True)
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path]]:
    """An empty cache, scripted policies that win on 3m only, and what `collect` is asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(on_demand, "scripted_win_rate", lambda task, *_: float(task.name == "3m"))
    calls: list[tuple[list[str], Path]] = []

    def collect(sources: list[str], root: Path, wanted: Wanted) -> None:
        calls.append((sources, root))
        assert wanted == WANTED

    monkeypatch.setattr(on_demand, "_collect", collect)
    return calls


def test_scripted_policies_play_where_they_win(collected: list[Any]) -> None:
    root = recordings_for(TASKS[:1], SOURCES, WANTED, "auto")
    assert root == scripted_recordings(TASKS[:1], "medium", 4)
    assert len(load_offline(root, TASKS[0], "medium")) == 4
    assert not collected


def test_teachers_play_where_they_do_not(collected: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    root = recordings_for(TASKS, SOURCES, WANTED, "auto")
    said = capsys.readouterr().out
    assert collected == [(["4m"], root)]
    assert "4m: scripted policies win 0% of 64 battles" in said
    assert "4m: medium recordings are made, once, and kept in" in said
    assert (root / "3m/medium/scripted/part_0.h5").is_file()
    assert root != recordings_for(TASKS[:1], SOURCES, WANTED, "auto"), "which holds no teachers"


def test_it_is_measured_once_who_wins(collected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    recordings_for(TASKS, SOURCES, WANTED, "auto")
    monkeypatch.setattr(on_demand, "scripted_win_rate", None)
    recordings_for(TASKS, SOURCES, WANTED, "auto")


def test_the_option_decides_if_it_is_given(collected: list[Any]) -> None:
    recordings_for(TASKS, SOURCES, WANTED, "scripted")
    assert not collected
    recordings_for(TASKS, SOURCES, WANTED, "trained")
    assert [sources for sources, _ in collected] == [["3m", "4m"]]


def test_what_is_recorded_is_not_made_again(collected: list[Any]) -> None:
    root = recordings_for(TASKS, SOURCES, WANTED, "trained")
    for task in TASKS:
        folder = root / task.name / "medium" / on_demand.RUN
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text('{"complete": true}')
    recordings_for(TASKS, SOURCES, WANTED, "trained")
    assert len(collected) == 1


@pytest.mark.slow
def test_random_recordings_are_made_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from tiny_runs import tiny_fit

    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "4")
    root = recordings_for(TASKS, SOURCES, Wanted("random", 4, "simulator"), "auto")
    assert load_offline(root, TASKS[1], "random").statistics.source == "random (simulator)"
    monkeypatch.delenv("WORLD_SIZE")
    assert main(tiny_fit(tmp_path, "--data.quality", "random", "--run.record_episodes", "4")) == 0
    capfd.readouterr()
    with pytest.raises(UserError, match="unknown task"):
        recordings_for(TASKS, {"3m": "nowhere", "4m": "4m"}, Wanted("random", 5, "simulator"), "auto")
    assert "nowhere" not in capfd.readouterr().err
