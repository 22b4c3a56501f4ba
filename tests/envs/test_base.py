"""The table of environments, names from outside, and stepping on another device than the policy's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from arenas import random_actions
from torch import Tensor

from hygen_lightning.envs import ENVIRONMENTS, environment_class, make_env, make_env_for_policy, register_env
from hygen_lightning.envs.base import BattleEnv, DeviceTransferEnv
from hygen_lightning.envs.simulator.env import PAIRS_WORTH_A_GPU, SimulatorEnv
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks import load_task

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Idle(BattleEnv):
    """Plays nothing, two episodes at most."""

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        self.task, self.num_envs = task, num_envs

    @classmethod
    def most_at_once(cls) -> int:
        return 2

    def reset(self, seeds: Tensor) -> Observation:
        raise NotImplementedError

    def step(self, actions: Tensor) -> TimeStep:
        raise NotImplementedError


def test_a_registered_class_is_made_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hygen_lightning.envs.base.ENVIRONMENTS", dict(ENVIRONMENTS))
    register_env("idle", Idle)
    register_env("idle", Idle)
    env = make_env("idle", "3m", 5)
    assert isinstance(env, Idle)
    assert (env.task, env.num_envs) == (load_task("3m"), 2)
    with pytest.raises(UserError, match="'simulator' is registered already"):
        register_env("simulator", Idle)
    with pytest.raises(UserError, match="does not derive from"):
        register_env("number", int)  # type: ignore[arg-type]


def test_a_class_from_outside_is_named_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_worlds.py").write_text(
        "from hygen_lightning.envs.simulator.env import SimulatorEnv\n"
        "class Mine(SimulatorEnv):\n    name = 'mine'\n"
        "NUMBER = 3\n",
        encoding="utf-8",
    )
    (tmp_path / "broken_worlds.py").write_text("import no_such_module_anywhere\n", encoding="utf-8")
    assert make_env("my_worlds:Mine", "3m", 2).name == "mine"
    for name, line in (
        ("my_worlds:Yours", "module 'my_worlds' has no 'Yours'"),
        ("my_worlds:NUMBER", "NUMBER does not derive from"),
        ("their_worlds:Mine", "module 'their_worlds' cannot be imported .*on PYTHONPATH"),
        ("broken_worlds:Mine", "cannot be imported .*no_such_module_anywhere"),
        (":Mine", "cannot be imported"),
        (
            "starcraft3",
            "unknown environment 'starcraft3'; known: navigation, simulator, smac, smax, or give package",
        ),
    ):
        with pytest.raises(UserError, match=line) as error:
            environment_class(name)
        assert "\n" not in str(error.value)


def test_an_unknown_task_is_refused_by_the_environment() -> None:
    with pytest.raises(UserError, match="unknown task '3n'"):
        make_env("simulator", "3n", 1)


def test_results_on_another_device_are_those_of_the_environment_itself() -> None:
    task, seeds = load_task("3m"), torch.arange(4)
    itself = play(make_env("simulator", task, 4), scripted_policy("kiting"), seeds)
    moved = play(DeviceTransferEnv(make_env("simulator", task, 4), CPU), scripted_policy("kiting"), seeds)
    assert torch.equal(itself.episodes.state, moved.episodes.state)
    assert torch.equal(itself.returns, moved.returns)
    assert torch.equal(itself.success, moved.success)


@pytest.mark.parametrize(("name", "units"), [("3m", 6), ("10m_vs_11m", 21)])
def test_small_batches_are_stepped_on_the_cpu_and_large_ones_where_the_policy_is(
    name: str, units: int
) -> None:
    task, enough = load_task(name), -(-PAIRS_WORTH_A_GPU // units**2)
    kind = environment_class("simulator")
    assert kind.fastest_device(task, enough, GPU) == GPU
    assert kind.fastest_device(task, enough - 1, GPU) == CPU
    assert kind.fastest_device(task, enough, CPU) == CPU


def test_a_policy_on_the_cpu_gets_the_environment_itself() -> None:
    assert type(make_env_for_policy("simulator", load_task("3m"), 2, CPU)) is SimulatorEnv


def test_moved_battles_begin_anew_tell_the_time_and_can_be_saved() -> None:
    task = load_task("3m")
    moved, itself = DeviceTransferEnv(make_env("simulator", task, 4), CPU), make_env("simulator", task, 4)
    assert moved.restarts
    observation, generator, seeds = (
        moved.reset(torch.arange(4)),
        torch.Generator().manual_seed(0),
        torch.arange(4),
    )
    itself.reset(torch.arange(4))
    ended = 0
    while not ended:
        actions, seeds = random_actions(observation.avail_actions, generator), seeds + 4
        step = moved.step(actions, seeds)
        observation, ended = step.observation, int(step.terminated.sum())
        assert torch.equal(observation.obs, itself.step(actions, seeds).observation.obs)
        assert torch.equal(moved.clock, itself.clock)
    other = DeviceTransferEnv(make_env("simulator", task, 4), CPU)
    other.load_state_dict(moved.state_dict())
    actions = random_actions(observation.avail_actions, generator)
    assert torch.equal(other.step(actions).observation.state, moved.step(actions).observation.state)
