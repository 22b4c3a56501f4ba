"""Environments that stay open between rollouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hygen_lightning.envs import ENVIRONMENTS
from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.rollouts.evaluation import OpenEnvs
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks import load_task

CPU = torch.device("cpu")


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


def test_an_unknown_environment_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="unknown environment 'smax'"):
        OpenEnvs("smax")
