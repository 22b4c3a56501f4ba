"""OnlineRollouts: when it plays, how much, at which exploration; environments that stay open."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import table, the_run, tiny_fit
from torch import Tensor

from hygen_lightning.cli import main
from hygen_lightning.data.buffers import ReplayBuffer
from hygen_lightning.envs import ENVIRONMENTS
from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.rollouts.open_envs import OpenEnvs
from hygen_lightning.rollouts.scripted import NearestAttack, RandomPolicy
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks import load_task

CPU = torch.device("cpu")

TASK = load_task("3m")
SOON_OVER = replace(TASK, episode_limit_env_steps=8)


class Learner(NearestAttack):
    """What the callback sees of a LightningModule; plays like NearestAttack."""

    device, training = CPU, True

    def __init__(self, offline_phase_steps: int) -> None:
        super().__init__()
        self.offline_phase_steps = offline_phase_steps
        self.chunk_plan = None

    def exploring(self, epsilon: float, generator: torch.Generator) -> RandomPolicy:
        return RandomPolicy(0)

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool) -> None:
        self.training = mode


class OtherSimulator(SimulatorEnv):
    """Notes how many battles it was asked for."""

    asked: list[int] = []  # noqa: RUF012

    def reset(self, seeds: Tensor) -> Observation:
        self.asked.append(len(seeds))
        return super().reset(seeds)


class Rows:
    """A logger that keeps what it is given: step -> metrics."""

    def __init__(self) -> None:
        self.of: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.of[step] = metrics


def trained(
    steps: int,
    offline_phase_steps: int = 2,
    prefill_episodes: int = 0,
    max_steps: int = 100,
    task: TaskSpec = TASK,
    **options: Any,
) -> tuple[dict[int, dict[str, float]], ReplayBuffer]:
    """What was logged, by step, and the buffer after so many optimiser steps with the callback."""
    buffer, rows = ReplayBuffer(task, 100), Rows()
    data = SimpleNamespace(
        seed=1, replay_buffers={"3m": buffer}, train_tasks=[task], prefill_episodes=prefill_episodes
    )
    trainer: Any = SimpleNamespace(
        datamodule=data, global_rank=0, global_step=0, max_steps=max_steps, loggers=[rows]
    )
    callback, learner = OnlineRollouts(**options), Learner(offline_phase_steps)
    callback.setup(trainer, learner, "fit")  # type: ignore[arg-type]
    callback.on_train_start(trainer, learner)  # type: ignore[arg-type]
    for step in range(1, steps + 1):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, learner)  # type: ignore[arg-type]
    assert learner.training
    return rows.of, buffer


def test_it_plays_after_the_offline_phase_every_few_steps_and_not_after_the_last() -> None:
    rows, buffer = trained(8, episodes_per_step=1, every_n_steps=3, max_steps=8, task=SOON_OVER)
    assert list(rows) == [2, 5]
    assert [rows[step]["rollout/3m/replay_episodes"] for step in rows] == [3, 6]
    assert len(buffer) == 6


def test_without_recordings_the_first_rollout_fills_a_batch() -> None:
    rows, _ = trained(4, offline_phase_steps=0, prefill_episodes=5, episodes_per_step=1, every_n_steps=2)
    assert [rows[step]["rollout/3m/replay_episodes"] for step in (0, 2, 4)] == [5, 7, 9]


def test_without_skills_there_is_nothing_to_explore_over() -> None:
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(seed=1, train_tasks=[TASK]), global_rank=0)
    with pytest.raises(UserError, match="NearestAttack has no skills to explore over; give actions"):
        OnlineRollouts(explore="skills").setup(trainer, NearestAttack(), "fit")  # type: ignore[arg-type]


def test_epsilon_falls_linearly_and_the_realised_share_is_logged_beside_it() -> None:
    options = {"episodes_per_step": 4, "every_n_steps": 1, "epsilon_begin": 0.8, "epsilon_end": 0.0}
    rows, _ = trained(4, offline_phase_steps=0, epsilon_steps=4, **options)
    assert [row["rollout/3m/epsilon"] for row in rows.values()] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    shares = [row["rollout/3m/random_share"] for row in rows.values()]
    assert shares[0] == pytest.approx(0.8, abs=0.15)
    assert shares[2] == pytest.approx(0.4, abs=0.15)
    assert shares[4] == 0.0


FLIPS: dict[str, tuple[Any, Any]] = {
    "episodes_per_step": (1, 2),
    "every_n_steps": (1, 2),
    "explore": ("actions", "skills"),
    "epsilon_begin": (0.5, 0.6),
    "epsilon_end": (0.0, 0.2),
    "epsilon_steps": (2, 4),
    "env": ("simulator", f"{__name__}:OtherSimulator"),
}


def test_every_option_is_flipped() -> None:
    assert FLIPS.keys() == inspect.signature(OnlineRollouts).parameters.keys()


@pytest.mark.parametrize("option", FLIPS)
def test_flipping_an_option_changes_what_is_played(option: str) -> None:
    usual = {name: value for name, (value, _) in FLIPS.items()}
    outcomes = []
    for value in FLIPS[option]:
        OtherSimulator.asked.clear()
        rows, _ = trained(3, offline_phase_steps=0, task=SOON_OVER, **{**usual, option: value})
        outcomes.append((rows, list(OtherSimulator.asked)))
    assert outcomes[0] != outcomes[1]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"episodes_per_step": -1}, "episodes_per_step is -1"),
        ({"every_n_steps": 0}, "every_n_steps is 0"),
        ({"epsilon_begin": 0.1, "epsilon_end": 0.2}, "0 <= end <= begin <= 1"),
        ({"epsilon_steps": -1}, "epsilon_steps is -1"),
        ({"env": "chess"}, "unknown environment 'chess'"),
    ],
)
def test_impossible_options_are_one_line(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        OnlineRollouts(**options)


def test_online_only_without_rollouts_is_refused_before_anything_is_learned() -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        trained(0, prefill_episodes=4, episodes_per_step=0)


class FewBattles(BattleEnv):
    """Holds at most four battles, plays none, notes that it was closed."""

    closed = False

    def __init__(self, task: TaskSpec, num_envs: int, device: torch.device) -> None:
        self.task, self.num_envs = task, num_envs

    @classmethod
    def check_tasks(cls, tasks) -> None:
        if any(task.name == "5m" for task in tasks):
            raise UserError("5m is not played here")

    @classmethod
    def most_at_once(cls) -> int:
        return 4

    def reset(self, seeds: Tensor) -> Observation:
        raise NotImplementedError

    def step(self, actions: Tensor) -> TimeStep:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def envs(monkeypatch: pytest.MonkeyPatch) -> OpenEnvs:
    monkeypatch.setitem(ENVIRONMENTS, "few", f"{__name__}:FewBattles")
    return OpenEnvs("few")


def opened(envs: OpenEnvs, task: str, num_envs: int) -> FewBattles:
    env = envs.of(load_task(task), num_envs, CPU)
    assert env.task.name == task
    assert isinstance(env, FewBattles)
    return env


def test_tasks_share_the_battles_that_can_be_held(envs: OpenEnvs) -> None:
    envs.check([load_task("3m"), load_task("8m")])
    first, second = opened(envs, "3m", 9), opened(envs, "8m", 9)
    assert (first.num_envs, second.num_envs) == (2, 2)
    assert opened(envs, "3m", 7) is first
    assert not first.closed
    assert opened(envs, "3m", 1).num_envs == 1


def test_where_there_is_no_room_the_one_used_longest_ago_is_closed(envs: OpenEnvs) -> None:
    first, second = opened(envs, "3m", 2), opened(envs, "8m", 2)
    assert opened(envs, "3m", 2) is first
    third = opened(envs, "2s3z", 2)
    assert (first.closed, second.closed, third.closed) == (False, True, False)
    alone = opened(envs, "9m", 9)
    assert alone.num_envs == 4
    assert first.closed
    assert third.closed
    envs.close()
    assert alone.closed
    assert opened(envs, "9m", 9) is not alone


def test_a_task_that_cannot_be_played_is_said_when_it_is_new(envs: OpenEnvs) -> None:
    envs.check([load_task("3m")])
    with pytest.raises(UserError, match="5m is not played here"):
        envs.check([load_task("3m"), load_task("5m")])


def test_environments_of_any_number_of_battles_all_stay_open() -> None:
    envs = OpenEnvs("simulator")
    first = envs.of(load_task("3m"), 40, CPU)
    assert envs.of(load_task("8m"), 1, CPU).num_envs == 1
    assert envs.of(load_task("3m"), 40, CPU) is first
    assert first.num_envs == 40


@pytest.mark.usefixtures("soon_over")
def test_a_run_without_recordings_learns_from_what_it_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["--data.quality", "none", "--model.init_args.pretrain_steps", "0", "--trainer.max_steps", "4"]
    assert main(tiny_fit(tmp_path, *words)) == 0
    rows = table(the_run(tmp_path) / "metrics.csv")
    assert {float(row["train/3m/offline_share"]) for row in rows if "train/3m/offline_share" in row} == {0.0}
    played = [float(row["rollout/3m/replay_episodes"]) for row in rows if "rollout/3m/epsilon" in row]
    assert played == [2, 4], "a batch of two, then two each second step"
    assert not (tmp_path / "hygen_lightning").exists(), "nothing was recorded"
