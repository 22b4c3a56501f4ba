"""The command `players`: win rates of policies, counted by hand elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hygen_lightning.cli import main
from hygen_lightning.commands import players as command
from hygen_lightning.report.statistics import wilson_interval
from hygen_lightning.rollouts.scripted import SCRIPTED_POLICIES
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import expand

pytestmark = pytest.mark.whole_battles

players = command.players


def test_json_holds_every_policy_and_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["players", "--tasks", "[3m]", "--episodes", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["tasks"]) == ["3m"]
    assert told["environment"]["name"] == "simulator"
    assert list(told["tasks"]["3m"]) == list(SCRIPTED_POLICIES)
    for result in told["tasks"]["3m"].values():
        assert set(result) == {"win_rate", "episodes", "return", "length", "ci95"}
        assert result["episodes"] == 5
        assert result["ci95"] == pytest.approx(wilson_interval(round(result["win_rate"] * 5), 5))
        assert result["length"] > 1


def test_battles_in_several_batches_are_the_same_battles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for at_once in (8, 3):
        monkeypatch.setattr(command, "BATTLES_AT_ONCE", at_once)
        players(tasks=["3m"], policies=["nearest_attack"], episodes=8, json=True)
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]


def test_the_table_has_a_row_per_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert players(tasks=["3m"], policies=["random", "kiting"], episodes=2) == 0
    text = " ".join(capsys.readouterr().out.split())  # a title wraps where its table is narrow
    assert "95 % over 2 episodes" in text
    assert "0 [0–66]" in text
    assert "kiting" in text
    assert "focus_fire" not in text


def test_without_tasks_the_battles_of_the_published_sets_are_played() -> None:
    every_battle = [task.name for task in expand(command.BATTLE_SETS)]
    assert len(every_battle) == len(set(every_battle)) == 30


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tasks": ["3m"], "episodes": 0}, "--episodes is 0"),
        ({"tasks": ["3m"], "env": "chess"}, "unknown environment"),
        ({"tasks": []}, "--tasks is empty"),
        ({"tasks": ["3m"], "policies": []}, "--policies is empty"),
        ({"tasks": ["3m"], "seed": 10**20}, "--seed is 1"),
        ({"tasks": ["3m"], "episodes": 10**20}, "--episodes is 1"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        players(**options)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_or_spelled_is_no_traceback() -> None:
    words = [sys.executable, "-m", "hygen_lightning", "players", "--tasks", "[3m]", "--episodes", "1"]
    words += ["--policies", "[random]"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
