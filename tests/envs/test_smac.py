"""StarCraft II's environment, with a stand-in for the `smac` package that plays the simulator's battles."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from arenas import random_actions
from stand_in import FAKES, stand_in_for_starcraft
from tiny_runs import tiny_fit
from torch import Tensor

from hygen_lightning.cli import main
from hygen_lightning.data.hdf5 import find_parts, read_part
from hygen_lightning.envs import make_env
from hygen_lightning.envs.base import BattleLostError
from hygen_lightning.envs.smac import env as smac_env
from hygen_lightning.envs.smac.env import SmacEnv
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.specs import Observation, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import NO_OP

ONE = torch.zeros(1, dtype=torch.int64)


@pytest.fixture
def smac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a StarCraft II that the stand-in for SMAC plays."""
    stand_in_for_starcraft(tmp_path, monkeypatch)
    return tmp_path


def starcraft(num_envs: int = 1, task: str = "3m") -> SmacEnv:
    env = make_env("smac", load_task(task), num_envs)
    assert isinstance(env, SmacEnv)
    return env


def assert_same(observation: Observation, expected: Observation) -> None:
    for name in ("obs", "state", "avail_actions"):
        assert torch.equal(getattr(observation, name), getattr(expected, name)), name


def test_its_battles_are_those_that_the_package_plays(smac: Path) -> None:
    seeds = torch.tensor([5, 70])
    env, twin = starcraft(2), make_env("simulator", load_task("3m"), 2)
    generator = torch.Generator().manual_seed(0)
    for battle in range(2):  # a game takes its seed once and plays on from there
        observation, expected = env.reset(seeds + 7 * battle), twin.reset(seeds + battle)
        over, steps_left = torch.zeros(2, dtype=torch.bool), 2
        while steps_left:  # one step beyond the end of both battles
            steps_left -= bool(over.all())
            assert_same(observation, expected)
            actions = random_actions(expected.avail_actions, generator)
            step, wanted = env.step(actions), twin.step(actions)
            for name in ("reward", "terminated", "truncated", "success"):
                assert torch.equal(getattr(step, name), getattr(wanted, name)), name
            observation, expected = step.observation, wanted.observation
            over |= step.terminated
        assert_same(observation, expected)
        assert not observation.avail_actions[..., NO_OP + 1 :].any()
    with pytest.raises(ValueError, match="not available"):
        env.step(torch.ones(2, 3, dtype=torch.int64))
    env.close()
    with pytest.raises(ValueError, match="closed"):
        env.reset(seeds)


def test_a_player_wins_as_in_the_battles_behind_it_though_they_are_played_in_turn(smac: Path) -> None:
    env = starcraft(5)
    assert env.num_envs == 2
    with pytest.raises(ValueError, match="before the first reset"):
        env.step(torch.zeros(2, 3, dtype=torch.int64))
    played = play(env, scripted_policy("pull_back", 0), torch.tensor([3, 9, 0, 0, 0]))
    env.close()
    seeds = torch.tensor([3, 9, 4, 10, 5])  # of each game's first, second, third battle
    expected = play(make_env("simulator", load_task("3m"), 5), scripted_policy("pull_back", 0), seeds)
    assert expected.success.any()
    assert torch.equal(played.success, expected.success)
    assert torch.equal(played.returns, expected.returns)
    assert torch.equal(played.episodes.state, expected.episodes.state)


def test_battles_that_starcraft_loses_are_played_again_and_are_no_defeats(
    smac: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "break:1")
    env = starcraft(1)
    played = play(env, scripted_policy("pull_back", 0), torch.tensor([3]))
    env.close()
    expected = play(make_env("simulator", load_task("3m"), 1), scripted_policy("pull_back", 0), ONE + 3)
    assert torch.equal(played.episodes.state, expected.episodes.state)
    said = capsys.readouterr()
    assert said.err.count("stopped answering on 3m; its battles begin anew") == 1
    assert said.out == ""


def test_a_starcraft_that_always_stops_is_given_up_in_one_line(
    smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "break:99")
    env = starcraft(1)
    with pytest.raises(UserError, match="stopped answering on 3m, 3 times in a row"):
        play(env, scripted_policy("pull_back", 0), ONE)
    observation = env.reset(ONE)
    for _ in range(2):
        observation = env.step(random_actions(observation.avail_actions, torch.Generator())).observation
    with pytest.raises(BattleLostError):
        env.step(random_actions(observation.avail_actions, torch.Generator()))
    env.close()


@pytest.mark.parametrize("trouble", ["restart:1", "launch:1"])
def test_a_battle_whose_start_fails_once_is_started_again(
    smac: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", trouble)
    env = starcraft(1)
    assert_same(env.reset(ONE + 4), make_env("simulator", load_task("3m"), 1).reset(ONE + 4))
    env.close()


def test_a_battle_left_open_costs_a_new_game_and_takes_a_new_seed(smac: Path) -> None:
    env, twin = starcraft(1), make_env("simulator", load_task("3m"), 1)
    for seed in (4, 30):
        assert_same(env.reset(ONE + seed), twin.reset(ONE + seed))
    env.close()


@pytest.mark.parametrize(
    ("trouble", "task", "line"),
    [
        ("launch:9", "3m", r"could not be started on 3m: No SC2 binary found; install StarCraft II 4.10"),
        ("map:9", "3m", r"could not be started on 3m: Map 3m not found; install"),
        ("sizes:9", "3m", r"3m: this SMAC gives state_shape 49 \(here 48\)"),
        ("", "4m", r"SMAC has no map '4m' \(it has 3m, 5m_vs_6m, 8m\); play it in the simulator"),
        ("", "5m_vs_6m", r"5m_vs_6m: no map at .*Maps/SMAC_Maps/5m_vs_6m.SC2Map; copy"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(
    smac: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, task: str, line: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", trouble)
    with pytest.raises(UserError, match=line) as error:
        starcraft(1, task).reset(ONE)
    assert "\n" not in str(error.value)


def test_a_mistake_inside_a_game_brings_its_traceback(smac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SMAC", "error:1")
    env = starcraft(1)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a mistake"):
        env.reset(ONE)
    env.close()


def waits_for(closed: Path, n_files: int) -> int:
    """Files in a folder, once there are so many or a minute has passed."""
    deadline = time.monotonic() + 60
    while len(list(closed.iterdir())) < n_files and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(list(closed.iterdir()))


def test_a_game_ends_with_its_environment_and_outlives_signals_that_are_not_for_it(
    smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = smac / "closed"
    closed.mkdir()
    monkeypatch.setenv("FAKE_SMAC_CLOSED", str(closed))
    others = set(multiprocessing.active_children())
    env = starcraft(1)
    observation = env.reset(ONE)
    (process,) = set(multiprocessing.active_children()) - others
    assert process.pid is not None
    assert os.getpgid(process.pid) != os.getpgid(0)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os.kill(process.pid, name)
    stop: Tensor = torch.ones(1, 3, dtype=torch.int64)
    assert env.step(stop).observation.obs.shape == observation.obs.shape
    env.close()
    assert waits_for(closed, 1) == 1
    lost = starcraft(1)
    lost.reset(ONE)
    del lost  # nobody closes it
    assert waits_for(closed, 2) == 2
    assert set(multiprocessing.active_children()) <= others


def test_a_game_whose_process_is_killed_is_said(smac: Path) -> None:
    others = set(multiprocessing.active_children())
    env = starcraft(1)
    env.reset(ONE)
    (process,) = set(multiprocessing.active_children()) - others
    process.kill()
    process.join()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="game on 3m ended unexpectedly"):
            env.reset(ONE)
    env.close()


def test_without_the_package_or_the_game_a_run_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--rollouts.env", "smac", "--run.root", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(smac_env, "find_spec", lambda _: None)
        assert main(words) == 2
    assert "needs SMAC's package: run pip install '.[smac]'" in capsys.readouterr().err
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path} holds no folder Versions; set SC2PATH" in said
    assert "Traceback" not in said
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".ckpt"]


def test_a_package_that_cannot_be_imported_is_said_in_one_line(
    smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = smac / "broken/smac/env"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import not_installed_anywhere\n")
    (broken.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(broken.parent.parent)
    with pytest.raises(UserError, match=r"cannot be imported \(.*not_installed_anywhere.*pip install"):
        starcraft(1)


def test_a_task_that_starcraft_has_not_stops_a_run_before_it_learns(
    smac: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = set(multiprocessing.active_children())
    words = ["--evaluation.env", "smac", "--data.eval_tasks", "[3m,4m]"]
    assert main(tiny_fit(smac, *words)) == 2
    said = capsys.readouterr()
    assert "SMAC has no map '4m' (it has 3m, 5m_vs_6m, 8m); play it in the simulator" in said.err
    assert "step 0" not in said.out
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.parametrize(
    ("said", "cores", "expected"), [("3", 2, 3), (None, 2, 2), (None, 64, 8), (None, None, 1)]
)
def test_the_number_of_games_can_be_set_and_is_else_that_of_the_cores_but_no_more_than_eight(
    monkeypatch: pytest.MonkeyPatch, said: str | None, cores: int | None, expected: int
) -> None:
    monkeypatch.delenv("HYGEN_SMAC_GAMES", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    if said is not None:
        monkeypatch.setenv("HYGEN_SMAC_GAMES", said)
    assert SmacEnv.most_at_once() == expected


@pytest.mark.parametrize("said", ["0", "many", "-1", ""])
def test_a_number_of_games_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("HYGEN_SMAC_GAMES", said)
    with pytest.raises(UserError, match="HYGEN_SMAC_GAMES"):
        SmacEnv.most_at_once()


@pytest.mark.slow
def test_battles_of_the_package_are_recorded_like_any_others(
    smac: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "break:1")
    folder = smac / "dataset"
    words = ["collect", "3m", "--policy", "kiting", "--episodes", "3", "--env", "smac", "--json", "true"]
    assert main([*words, "--dataset_dir", str(folder)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.startswith("{")
    (part,) = find_parts(folder / "3m/expert")
    episodes = read_part(part, load_task("3m"))
    assert len(episodes) == 3
    assert (episodes.length > 5).all()
