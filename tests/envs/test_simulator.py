"""The contract of the simulator on every battle map, with random available actions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from arenas import random_actions
from devices import NEEDS_A_GPU
from torch import Tensor

from hygen_lightning.envs import make_env
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import battle_task, load_task
from hygen_lightning.tasks.maps import map_names


def simulator(name: str, num_envs: int) -> SimulatorEnv:
    env = make_env("simulator", load_task(name), num_envs)
    assert isinstance(env, SimulatorEnv)
    return env


def played(env: SimulatorEnv, seeds: Tensor, n_steps: int, generator_seed: int = 0) -> Tensor:
    """All observations of battles with random actions, [steps + 1, B, A, obs_dim]."""
    generator = torch.Generator().manual_seed(generator_seed)
    observation = env.reset(seeds)
    seen = [observation.obs]
    for _ in range(n_steps):
        observation = env.step(random_actions(observation.avail_actions, generator)).observation
        seen.append(observation.obs)
    return torch.stack(seen)


@pytest.mark.parametrize("name", map_names())
def test_a_view_has_the_shapes_of_the_layout_and_only_finite_numbers(name: str) -> None:
    """A few steps of each map: that long battles stay finite, test_invariants.py checks by kind of map."""
    env, layout = simulator(name, 2), load_task(name).layout
    generator = torch.Generator().manual_seed(0)
    observation = env.reset(torch.arange(2))
    for _ in range(3):
        assert observation.obs.shape == (2, layout.n_allies, layout.obs_dim)
        assert observation.state.shape == (2, layout.state_dim)
        assert observation.avail_actions.shape == (2, layout.n_allies, layout.n_actions)
        assert observation.avail_actions.any(-1).all()
        assert torch.isfinite(observation.obs).all()
        assert torch.isfinite(observation.state).all()
        step = env.step(random_actions(observation.avail_actions, generator))
        assert torch.isfinite(step.reward).all()
        observation = step.observation


@pytest.mark.parametrize(("name", "n_others", "n_steps"), [("2s3z", 6, 40), ("bane_vs_bane", 40, 12)])
def test_a_battle_is_the_same_bit_for_bit_in_any_batch(name: str, n_others: int, n_steps: int) -> None:
    """In crowds (bane_vs_bane) many pushes add up: the sum must not depend on the place in the batch."""
    alone, crowd = simulator(name, 1), simulator(name, n_others + 1)
    generator = torch.Generator().manual_seed(2)
    one, many = alone.reset(torch.tensor([n_others - 1])), crowd.reset(torch.arange(n_others + 1))
    for _ in range(n_steps):
        actions = random_actions(many.avail_actions, generator)
        many = crowd.step(actions).observation
        one = alone.step(actions[n_others - 1 : n_others]).observation
        assert torch.equal(one.obs[0], many.obs[n_others - 1])
        assert torch.equal(one.state[0], many.state[n_others - 1])


def test_other_seeds_are_other_battles() -> None:
    env = simulator("3m", 8)
    assert torch.equal(played(env, torch.arange(8), 15), played(env, torch.arange(8), 15))
    observation = env.reset(torch.arange(8))
    assert observation.state.unique(dim=0).shape[0] > 1


def test_a_saved_battle_continues_to_the_same_future() -> None:
    env, other = simulator("MMM", 4), simulator("MMM", 4)
    played(env, torch.arange(4), 12)
    other.load_state_dict(env.state_dict())
    generator = torch.Generator().manual_seed(3)
    available = env.state_dict()["available"]
    for _ in range(10):
        actions = random_actions(available, generator)
        one, two = env.step(actions), other.step(actions)
        assert torch.equal(one.observation.obs, two.observation.obs)
        assert torch.equal(one.reward, two.reward)
        available = one.observation.avail_actions


@pytest.mark.slow
@NEEDS_A_GPU
def test_battles_fused_for_a_gpu_are_the_same_but_for_rounding() -> None:
    """On a CPU: test_compiled.py."""
    device = "cuda"
    plain, compiled = (SimulatorEnv(load_task("3m"), 64, device, compiled=way) for way in (False, True))
    observation, generator = plain.reset(torch.arange(64)), torch.Generator(device).manual_seed(0)
    wrong = numbers = 0
    for _ in range(24):
        compiled.load_state_dict(plain.state_dict())
        actions = random_actions(observation.avail_actions, generator)
        observation, other = plain.step(actions).observation, compiled.step(actions).observation
        wrong += int(((observation.obs - other.obs).abs() > 1e-3).sum())
        wrong += int((observation.avail_actions != other.avail_actions).sum())
        numbers += observation.obs.numel()
    assert wrong <= numbers // 1000  # who just reaches a range or a contact may differ


def test_tasks_that_cannot_be_simulated_are_refused_in_one_line() -> None:
    marines = battle_task("3m")
    SimulatorEnv.check_tasks([marines, load_task("MMM")])
    thor = replace(marines, name="thors", ally_units=("thor", "marine", "marine"))
    types = ("baneling", "zergling")
    crowd = replace(marines, name="crowd", ally_units=types[:1] * 3, ally_types=types, enemy_types=types)
    for task, line in (
        (load_task("cn-2"), "cn-2 is no battle"),
        (thor, "'thors': the simulator does not know thor"),
        (crowd, "'crowd': type bits stand for baneling, zergling, but the units are marine"),
    ):
        with pytest.raises(UserError, match=line):
            SimulatorEnv.check_tasks([marines, task])


def test_type_bits_stand_in_the_order_that_the_task_gives() -> None:
    types = ("marine", "marauder")
    units = ("marine", "marauder", "marine")
    task = replace(battle_task("3m"), ally_types=types, enemy_types=types, ally_units=units)
    params = UnitParams.of(task, torch.device("cpu"))
    assert params.ally_types.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert params.enemy_types.tolist() == [[1, 0]] * 3


@NEEDS_A_GPU
@pytest.mark.parametrize("name", ["3m", "2s3z", "MMM"])
def test_cpu_and_cuda_agree_in_distribution(name: str) -> None:
    """Return and length of 512 battles on each device, drawn with the same probabilities."""
    found = {}
    for device in ("cpu", "cuda"):
        env = make_env("simulator", load_task(name), 512, device)
        generator = torch.Generator(device=device).manual_seed(0)
        observation = env.reset(torch.arange(512, device=device))
        returns, lengths = torch.zeros(2, 512, device=device).unbind()
        going = torch.ones(512, dtype=torch.bool, device=device)
        while going.any():
            step = env.step(random_actions(observation.avail_actions, generator))
            returns, lengths = returns + step.reward, lengths + going
            observation, going = step.observation, going & ~step.terminated
        found[device] = torch.stack([returns, lengths]).cpu()
    cpu, cuda = found["cpu"], found["cuda"]
    error = (cpu.var(1) / 512 + cuda.var(1) / 512).sqrt()
    assert ((cpu.mean(1) - cuda.mean(1)).abs() <= 4 * error + 1e-3).all()
