"""StarCraft II's environment: games in processes of their own, with a stand-in for the `smac` package."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from stand_in import starcraft
from torch import Tensor

from hygen_lightning.cli import main
from hygen_lightning.data.hdf5 import find_parts, read_part
from hygen_lightning.envs.smac.env import SmacEnv
from hygen_lightning.envs.smac.game import Game, SmacOptions, answers
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import RandomPolicy
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import NO_OP, STOP

ONE = torch.zeros(1, dtype=torch.int64)
UNIT = 2**14
"""The stand-in's numbers are divided by it."""


def stand(env: SmacEnv) -> Tensor:
    """[B, A]: stop, for everybody."""
    return torch.full((env.num_envs, env.task.n_allies), STOP)


def processes(env: SmacEnv) -> list[int]:
    return [game._process.pid for game in env._games]


def is_alive(pid: int) -> bool:
    """Whether a process runs (a dead one that nobody waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_dead(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_observations_rewards_and_ends_are_those_of_the_package(smac: Path) -> None:
    env = starcraft(smac, 2)
    for battle in range(2):  # a game takes its seed once and plays on from there
        observation = env.reset(torch.tensor([5, 9]) + 7 * battle)
        numbers, over = torch.tensor([5, 9]) + battle, torch.zeros(2, dtype=torch.bool)
        for step in range(1, 11):  # the longest lasts 8
            before = torch.where(over, 4 + numbers % 5, step - 1)
            assert observation.obs[:, 0, 5].tolist() == ((100 * numbers + 10 * before) / UNIT).tolist()
            assert observation.obs[:, 2, 0].tolist() == ((100 * numbers + 10 * before + 2) / UNIT).tolist()
            assert observation.state[:, 7].tolist() == ((100 * numbers + before) / UNIT).tolist()
            result = env.step(observation.avail_actions.float().argmax(-1))  # stop, or no-op
            ends, limit = 4 + numbers % 5 == step, numbers % 5 == 4
            assert result.reward.tolist() == torch.where(over, 0.0, step / 8).tolist()
            assert result.terminated.tolist() == ends.tolist()
            assert result.truncated.tolist() == (ends & limit).tolist()
            assert result.success.tolist() == (ends & ~limit & (numbers % 2 == 1)).tolist()
            observation, over = result.observation, over | ends
        assert not observation.avail_actions[..., NO_OP + 1 :].any()
    with pytest.raises(ValueError, match="not available"):
        env.step(stand(env))
    env.close()
    with pytest.raises(ValueError, match="closed"):
        env.reset(torch.tensor([5, 9]))


def test_more_battles_than_games_are_played_in_turn_in_the_order_of_their_seeds(smac: Path) -> None:
    env = starcraft(smac, 5, games=2)
    assert env.num_envs == 2
    with pytest.raises(ValueError, match="before the first reset"):
        env.step(torch.zeros(2, 3, dtype=torch.int64))
    played = play(env, RandomPolicy(), torch.tensor([3, 10, 0, 0, 0]))
    env.close()
    numbers = [3, 10, 4, 11, 5]  # of each game's first, second, third battle
    assert played.lengths.tolist() == [4 + number % 5 for number in numbers]
    assert played.success.tolist() == [True, False, False, True, True]
    assert played.lost == 0


@pytest.mark.parametrize("trouble", ["break", "die", "hang"])
def test_a_game_that_dies_or_hangs_is_started_anew_and_its_battle_dropped_and_counted(
    smac: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", f"{trouble}:1")
    env = starcraft(smac, 2, answer_s=5)
    played = play(env, RandomPolicy(), torch.tensor([3, 3]))
    env.close()
    assert played.lost == 1
    assert len(played.success) == 2
    assert 7 in played.lengths  # battle 3; the other one is 3 again, or that game's next
    said = capsys.readouterr().err
    assert "smac: 1 of 2 battles on 3m were lost; they are dropped and played again" in said


def test_with_seeds_a_lost_battle_begins_anew_and_counts_as_broken_off(
    smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "die:1")
    env = starcraft(smac, 1)
    env.reset(ONE + 4)
    steps = [env.step(stand(env), ONE + 6) for _ in range(3)]
    env.close()
    last = steps[-1]
    assert last.lost is not None
    flags = (last.terminated, last.truncated, last.lost, last.success)
    assert [bool(flag) for flag in flags] == [True, True, True, False]
    assert float(last.observation.state[0, 0]) == 600 / UNIT
    assert env.clock.tolist() == [0]


def test_a_battle_that_is_always_lost_is_given_up_in_one_line(
    smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "break:99")
    env = starcraft(smac)
    with pytest.raises(UserError, match="smac: a battle on 3m was lost 3 times"):
        play(env, RandomPolicy(), ONE)
    env.close()


@pytest.mark.parametrize("trouble", ["restart", "launch", "hang at start"])
def test_a_battle_whose_start_fails_once_is_started_again(
    smac: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", f"{trouble}:1")
    env = starcraft(smac, answer_s=5)
    assert float(env.reset(ONE + 4).state[0, 0]) == 400 / UNIT
    env.close()


def test_a_battle_left_open_costs_a_new_game_and_takes_a_new_seed(smac: Path) -> None:
    env = starcraft(smac)
    for seed in (4, 30):
        assert float(env.reset(ONE + seed).state[0, 0]) == 100 * seed / UNIT
    env.close()


@pytest.mark.parametrize(
    ("trouble", "task", "line"),
    [
        ("launch:9", "3m", r"could not be started on 3m: No SC2 binary found"),
        ("map:9", "3m", r"could not be started on 3m: Map 3m not found"),
        ("sizes:9", "3m", r"3m: this SMAC gives state_shape 49 \(here 48\)"),
        ("", "5m", r"map files: .*SMAC_Maps lacks 5m; .* doctor` says how to mend it"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(
    smac: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, task: str, line: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", trouble)
    with pytest.raises(UserError, match=line) as error:
        starcraft(smac, task=task, answer_s=5).reset(ONE)
    assert "\n" not in str(error.value)


def test_a_map_that_smac_does_not_know_is_registered(smac: Path) -> None:
    env = starcraft(smac, task="4m")
    assert env.reset(ONE).obs.shape == (1, 4, 4 + 4 * 5 + 3 * 5 + 1)
    env.close()


def test_a_mistake_inside_a_game_brings_its_traceback(smac: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SMAC", "error:1")
    env = starcraft(smac)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a mistake"):
        env.reset(ONE)
    env.close()


def test_games_work_at_once(smac: Path) -> None:
    games = [Game(SmacOptions()) for _ in range(3)]
    probes = answers(games, "probe", [{}] * 3)
    for game in games:
        game.close()
    assert [facts["starcraft"] for facts, _ in probes] == [True] * 3


def test_replays_are_written_where_they_are_wanted(smac: Path) -> None:
    (smac / "replays").mkdir()
    env = starcraft(smac, replays=str(smac / "replays"))
    play(env, RandomPolicy(), torch.tensor([5, 0]))
    env.close()
    assert sorted(path.name for path in (smac / "replays").iterdir()) == ["3m-5.SC2Replay", "3m-6.SC2Replay"]


def test_a_game_outlives_signals_that_are_not_for_it_and_ends_with_its_environment(
    smac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SMAC_CLOSED", str(smac / "troubles"))
    env = starcraft(smac)
    env.reset(ONE)
    (pid,) = processes(env)
    assert os.getpgid(pid) != os.getpgid(0)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os.kill(pid, name)
    assert not env.step(stand(env)).terminated
    env.close()
    wait_until_dead([pid])
    lost = starcraft(smac)
    lost.reset(ONE)
    (other,) = processes(lost)
    del lost  # nobody closes it
    wait_until_dead([other])
    assert {path.name for path in (smac / "troubles").iterdir()} == {str(pid), str(other)}


TRAINER = """
import signal, sys, time, torch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from hygen_lightning.envs import make_env
env = make_env(sys.argv[1], "3m", 2)
observation = env.reset(torch.arange(2))
print(*[game._process.pid for game in env._games], flush=True)
while True:
    step = env.step(torch.full((2, 3), 1), torch.arange(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("trouble", ["", "hang:1"])
def test_no_game_outlives_its_trainer_however_that_ends(
    smac: Path, monkeypatch: pytest.MonkeyPatch, name: str, trouble: str
) -> None:
    monkeypatch.setenv("FAKE_SMAC", trouble)
    starcraft(smac).close()  # writes the file
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}{os.pathsep}{os.environ['PYTHONPATH']}")
    words = [sys.executable, "-c", TRAINER, str(smac / "starcraft.yaml")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as trainer:
        assert trainer.stdout is not None
        games = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(games) == 2
        time.sleep(0.5)
        trainer.send_signal(getattr(signal, name))
        try:
            trainer.wait(60)
        finally:
            trainer.kill()
    wait_until_dead(games)


@pytest.mark.slow
def test_battles_of_the_package_are_recorded_like_any_others(
    smac: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SMAC", "break:1")
    folder = smac / "dataset"
    words = ["collect", "3m", "--episodes", "3", "--env", "smac", "--dataset_dir", str(folder), "--json"]
    assert main([*words, "true", "--policy", "random"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.startswith("{")
    (part,) = find_parts(folder / "3m/expert")
    episodes = read_part(part, load_task("3m"))
    assert len(episodes) == 3
    assert (episodes.length > 4).all()
