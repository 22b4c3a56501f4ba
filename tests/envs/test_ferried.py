"""Battles on one device for a policy on another: the same battles; few of them stay on the CPU."""

from __future__ import annotations

import pytest
import torch

from hygen_lightning.envs import environment_class, make_env, make_env_for_policy
from hygen_lightning.envs.ferried import FerriedEnv
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.mixed import PAIRS_WORTH_A_GPU
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.tasks import load_task

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_ferried_battle_is_the_battle_itself() -> None:
    task, seeds = load_task("2s3z"), torch.arange(4)
    itself = play(make_env("simulator", task, 4), scripted_policy("kiting"), seeds)
    ferried = play(FerriedEnv(make_env("simulator", task, 4), CPU), scripted_policy("kiting"), seeds)
    assert torch.equal(itself.episodes.state, ferried.episodes.state)
    assert torch.equal(itself.returns, ferried.returns)
    assert torch.equal(itself.success, ferried.success)


@pytest.mark.parametrize(("name", "units"), [("3m", 6), ("10m_vs_11m", 21)])
def test_few_battles_are_stepped_on_the_cpu_and_many_where_the_policy_is(name: str, units: int) -> None:
    task, enough = load_task(name), -(-PAIRS_WORTH_A_GPU // units**2)
    kind = environment_class("simulator")
    assert kind.fastest_device(task, enough, GPU) == GPU
    assert kind.fastest_device(task, enough - 1, GPU) == CPU
    assert kind.fastest_device(task, enough, CPU) == CPU


def test_a_policy_on_the_cpu_meets_the_environment_itself() -> None:
    assert type(make_env_for_policy("simulator", load_task("3m"), 2, CPU)) is SimulatorEnv
