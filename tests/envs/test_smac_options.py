"""StarCraft II's environment: its options and its file, and what stops a run before it begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stand_in import starcraft
from tiny_runs import tiny_fit

from hygen_lightning.cli import main
from hygen_lightning.envs import environment_class, make_env
from hygen_lightning.envs.smac.env import SmacEnv
from hygen_lightning.envs.smac.game import SmacOptions
from hygen_lightning.specs import UserError


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"pyton": "x"}, "unknown key 'pyton'; StarCraft II's environment has python, games, answer_s"),
        ({"games": 0}, "games is 0; give 1 to 64 games"),
        ({"games": True}, "games is True; give a whole number"),
        ({"answer_s": 0}, "answer_s is 0; give 1 second or more"),
        ({"python": "/nowhere/python"}, "interpreter: the interpreter /nowhere/python cannot be started"),
        ({"python": "/bin/false"}, "interpreter: /bin/false: its process ended"),
    ],
)
def test_options_that_are_none_are_refused(smac: Path, options: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        starcraft(smac, **options)


def test_an_environment_file_names_an_environment_and_its_options(smac: Path) -> None:
    path = smac / "world.yaml"
    for content, line in {
        "games: 2": "env is None; name an environment, as in `env: smac`",
        "{env: navigation, games: 2}": "the environment navigation has no options, but got games",
        "{env: warcraft}": "unknown environment 'warcraft'",
    }.items():
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=line):
            environment_class(str(path))
    path.write_text("env: navigation", encoding="utf-8")
    assert make_env(str(path), "cn-2", 1).name == "navigation"


@pytest.mark.parametrize(("cores", "expected"), [(2, 2), (64, 8), (None, 1)])
def test_the_number_of_games_is_that_of_the_cores_but_no_more_than_eight(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, expected: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert SmacEnv.most_at_once() == expected
    assert SmacOptions(games=3).most_games == 3


def test_without_the_package_or_the_game_a_run_does_not_begin(
    smac: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(smac)
    words = ["fit", "--rollouts.env", "smac", "--run.root", str(smac)]
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", "")
        assert main(words) == 2
    assert "SMAC's package: missing; `python -m hygen_lightning doctor` says how" in capsys.readouterr().err
    monkeypatch.setenv("SC2PATH", str(smac / "elsewhere"))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"StarCraft II (SC2PATH): {smac / 'elsewhere'} holds no folder Versions" in said
    assert "Traceback" not in said
    assert not [p for p in smac.rglob("*") if p.suffix == ".ckpt"]


def test_a_task_without_a_map_stops_a_run_before_it_learns(
    smac: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--evaluation.env", "smac", "--data.eval_tasks", "[3m,5m]"]
    assert main(tiny_fit(smac, *words)) == 2
    said = capsys.readouterr()
    assert "SMAC_Maps lacks 5m" in said.err
    assert "step 0" not in said.out
