"""StarCraft II's environment, with a stand-in for the `smac` package that plays the simulator's battles."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from stand_in import FAKES, stand_in_for_starcraft
from test_simulator import random_actions

from hygen_lightning.cli import main
from hygen_lightning.data.odis import find_parts, read_part
from hygen_lightning.envs import make_env
from hygen_lightning.envs.smac.env import SmacEnv
from hygen_lightning.rollouts.open_envs import OpenEnvs
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_player
from hygen_lightning.specs import NO_OP, UserError
from hygen_lightning.tasks import load_task

CPU = torch.device("cpu")


@pytest.fixture
def smac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a StarCraft II that the stand-in for SMAC plays."""
    stand_in_for_starcraft(tmp_path, monkeypatch)
    return tmp_path


def test_its_battles_are_those_that_the_package_plays(smac: Path) -> None:
    seeds = torch.tensor([5, 70])
    env, twin = make_env("smac", load_task("3m"), 2), make_env("simulator", load_task("3m"), 2)
    assert isinstance(env, SmacEnv)
    generator = torch.Generator().manual_seed(0)
    over = torch.zeros(2, dtype=torch.bool)
    for battle in range(2):  # a game takes its seed once and plays on from there
        view, expected = env.reset(seeds + (7 if battle else 0)), twin.reset(seeds + battle)
        for _ in range(61):
            for name in ("obs", "state", "avail_actions"):
                assert torch.equal(getattr(view, name), getattr(expected, name)), name
            actions = random_actions(expected.avail_actions, generator)
            step, wanted = env.step(actions), twin.step(actions)
            for name in ("reward", "terminated", "truncated", "won"):
                assert torch.equal(getattr(step, name), getattr(wanted, name)), name
            view, expected = step.view, wanted.view
            over |= step.terminated
        assert over.all()
        assert not view.avail_actions[..., NO_OP + 1 :].any()
    with pytest.raises(ValueError, match="not available"):
        env.step(torch.ones(2, 3, dtype=torch.int64))
    env.close()


def test_more_battles_than_games_are_played_in_turn(smac: Path) -> None:
    env = make_env("smac", load_task("3m"), 5)
    assert env.n_battles == 2
    played = play(env, scripted_player("nearest_attack", 0), torch.arange(5))
    env.close()
    assert len(played.episodes) == len(played.won) == len(played.returns) == 5
    assert (played.lengths > 5).all()
    assert torch.allclose(played.returns, played.episodes.reward.double().sum(1))


def test_a_game_that_stops_answering_costs_one_battle(
    smac: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "break:3")
    env = make_env("smac", load_task("3m"), 1)
    generator = torch.Generator().manual_seed(0)
    for seed in (1, 40):
        view = env.reset(torch.tensor([seed]))
        expected = make_env("simulator", load_task("3m"), 1).reset(torch.tensor([seed]))
        assert torch.equal(view.state, expected.state)  # a new game: it takes the new seed
        for _ in range(3):
            step = env.step(random_actions(view.avail_actions, generator))
            view = step.view
        assert step.terminated.all()
        assert step.truncated.all()
        assert not step.won.any()
        assert float(step.reward) == 0
    assert capsys.readouterr().out.count("stopped answering on 3m") == 2
    env.close()


@pytest.mark.parametrize(
    ("trouble", "task", "line"),
    [
        ("launch", "3m", r"could not be started on 3m: No SC2 binary found; install StarCraft II 4.10"),
        ("sizes", "3m", r"3m: this SMAC gives state_shape 49 \(here 48\)"),
        ("", "4m", r"SMAC has no map '4m' \(it has 3m, 8m\)"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(
    smac: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, task: str, line: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", trouble)
    with pytest.raises(UserError, match=line) as error:
        make_env("smac", load_task(task), 1).reset(torch.zeros(1, dtype=torch.int64))
    assert "\n" not in str(error.value)


def test_a_mistake_inside_a_game_brings_its_traceback(smac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SMAC", "error")
    env = make_env("smac", load_task("3m"), 1)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a mistake"):
        env.reset(torch.zeros(1, dtype=torch.int64))
    env.close()


def test_closing_ends_the_games_and_so_does_losing_them(smac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = smac / "closed"
    closed.mkdir()
    monkeypatch.setenv("FAKE_SMAC_CLOSED", str(closed))
    env = make_env("smac", load_task("3m"), 1)
    env.close()
    assert len(list(closed.iterdir())) == 1
    lost = make_env("smac", load_task("3m"), 1)
    assert isinstance(lost, SmacEnv)
    lost._games[0]._pipe.close()  # as when the main process is killed
    deadline = time.monotonic() + 60
    while len(list(closed.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(closed.iterdir())) == 2


def test_only_one_environment_of_few_battles_stays_open(smac: Path) -> None:
    envs = OpenEnvs("smac")
    first = envs.of(load_task("3m"), 1, CPU)
    assert envs.of(load_task("3m"), 1, CPU) is first
    assert envs.of(load_task("8m"), 1, CPU).task.name == "8m"
    assert isinstance(first, SmacEnv)
    assert not first._games
    assert len(envs._open) == 1
    envs.close()


def test_environments_of_any_number_of_battles_all_stay_open() -> None:
    envs = OpenEnvs("simulator")
    first = envs.of(load_task("3m"), 1, CPU)
    envs.of(load_task("8m"), 1, CPU)
    assert envs.of(load_task("3m"), 1, CPU) is first


def test_without_the_package_or_the_game_a_run_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--rollouts.env", "smac", "--run.root", str(tmp_path)]
    assert main(words) == 2
    assert "needs SMAC's package: pip install 'hygen_lightning[smac]'" in capsys.readouterr().err
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path} holds no folder Versions; set SC2PATH" in said
    assert "Traceback" not in said
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".ckpt"]


def test_a_task_that_starcraft_has_not_stops_a_run_before_it_learns(
    smac: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--evaluation.env", "smac", "--data.eval_tasks", "[3m,4m]", "--run.root", str(smac)]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "SMAC has no map '4m' (it has 3m, 8m); play it in the simulator" in said.err
    assert "step 0" not in said.out


@pytest.mark.parametrize(("said", "expected"), [("3", 3), (None, min(8, os.cpu_count() or 1))])
def test_the_number_of_games_can_be_set(
    monkeypatch: pytest.MonkeyPatch, said: str | None, expected: int
) -> None:
    monkeypatch.delenv("HYGEN_SMAC_GAMES", raising=False)
    if said is not None:
        monkeypatch.setenv("HYGEN_SMAC_GAMES", said)
    assert SmacEnv.most_at_once() == expected


@pytest.mark.parametrize("said", ["0", "many", "-1", ""])
def test_a_number_of_games_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("HYGEN_SMAC_GAMES", said)
    with pytest.raises(UserError, match="HYGEN_SMAC_GAMES"):
        SmacEnv.most_at_once()


@pytest.mark.slow
def test_real_battles_are_recorded_like_any_others(smac: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = smac / "dataset"
    words = ["collect", "3m", "--episodes", "3", "--env", "smac", "--dataset_dir", str(folder)]
    assert main(words) == 0, capsys.readouterr().err
    (part,) = find_parts(folder / "3m/expert")
    episodes = read_part(part, load_task("3m"))
    assert len(episodes) == 3
    assert (episodes.length > 5).all()
