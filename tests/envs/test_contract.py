"""What every environment of the table promises; StarCraft II is a stand-in for its package."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from arenas import random_actions
from stand_in import stand_in_for_starcraft
from torch import Tensor

from hygen_lightning.envs import ENVIRONMENTS, environment_class, make_env, make_envs
from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.specs import TimeStep
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import NO_OP

FIELDS = ("obs", "state", "avail_actions")


@pytest.fixture(params=list(ENVIRONMENTS))
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    stand_in_for_starcraft(tmp_path, monkeypatch)
    return str(request.param)


@pytest.fixture
def env(name: str) -> Iterator[BattleEnv]:
    """Two battles of 3m."""
    env = make_env(name, load_task("3m"), 2)
    yield env
    env.close()


def steps(env: BattleEnv, seeds: Tensor, n_steps: int) -> Iterator[TimeStep]:
    """The first steps of battles with random actions."""
    generator = torch.Generator().manual_seed(0)
    observation = env.reset(seeds)
    for _ in range(n_steps):
        step = env.step(random_actions(observation.avail_actions, generator))
        yield step
        observation = step.observation


def test_it_says_what_it_is(name: str, env: BattleEnv) -> None:
    kind = environment_class(name)
    assert isinstance(env, kind)
    assert env.name == name
    assert env.version != BattleEnv.version
    assert env.task.name == "3m"
    assert env.num_envs == 2
    kind.check_installed()
    kind.check_tasks([load_task("3m"), load_task("8m")])


def test_views_and_steps_have_the_shapes_and_types_of_the_protocol(env: BattleEnv) -> None:
    layout = env.task.layout
    for step in steps(env, torch.arange(2), 10):
        obs, state, available = (getattr(step.observation, field) for field in FIELDS)
        assert (obs.shape, obs.dtype) == ((2, layout.n_allies, layout.obs_dim), torch.float32)
        assert (state.shape, state.dtype) == ((2, layout.state_dim), torch.float32)
        assert (available.shape, available.dtype) == ((2, layout.n_allies, layout.n_actions), torch.bool)
        assert available.any(-1).all()
        assert torch.isfinite(obs).all()
        assert torch.isfinite(state).all()
        assert (step.reward.shape, step.reward.dtype) == ((2,), torch.float32)
        for flag in (step.terminated, step.truncated, step.success):
            assert (flag.shape, flag.dtype) == ((2,), torch.bool)


def test_every_battle_ends_once_and_then_stands_still_with_no_op_only(name: str) -> None:
    env = make_env(name, load_task("3m"), 64)
    b = env.num_envs  # fewer where it cannot hold so many
    played = list(steps(env, torch.arange(b), env.task.episode_limit_env_steps + 1))
    env.close()
    ended = torch.zeros(b, dtype=torch.int64)
    for before, step in itertools.pairwise(played):
        ended += before.terminated
        over = ended > 0
        for field in ("obs", "state"):
            assert torch.equal(
                getattr(step.observation, field)[over], getattr(before.observation, field)[over]
            )
        assert (step.reward[over] == 0).all()
        assert not step.observation.avail_actions[over][..., NO_OP + 1 :].any()
    assert ended.tolist() == [1] * b
    for step in played:
        assert not ((step.truncated | step.success) & ~step.terminated).any()
        assert not (step.truncated & step.success).any()


def test_a_reset_starts_all_battles_anew(env: BattleEnv) -> None:
    first = env.reset(torch.arange(2))
    for _ in steps(env, torch.arange(2), 3):
        pass
    again = env.reset(torch.arange(2))
    assert again.avail_actions[..., NO_OP + 1 :].any()
    assert again.state.shape == first.state.shape
    if env.reproducible:
        assert all(torch.equal(getattr(first, field), getattr(again, field)) for field in FIELDS)


def test_equal_seeds_and_actions_are_equal_battles_where_it_promises_that(env: BattleEnv) -> None:
    (one, two), (three, four) = (
        torch.stack([step.observation.state for step in steps(env, torch.tensor(seeds), 15)]).unbind(1)
        for seeds in ([5, 6], [5, 7])
    )
    assert torch.equal(one, three) or not env.reproducible
    assert not torch.equal(two, four)


def test_an_action_that_is_not_available_is_refused(env: BattleEnv) -> None:
    observation = env.reset(torch.arange(2))
    assert not observation.avail_actions[..., NO_OP].any()
    with pytest.raises(ValueError, match="not available"):
        env.step(torch.full((2, 3), NO_OP))


def test_battles_of_two_tasks_step_together_as_alone(name: str) -> None:
    tasks = [load_task("3m"), load_task("8m")]
    together = make_envs(name, tasks, [1, 1])
    alone = [make_env(name, task, 1) for task in tasks]
    generator = torch.Generator().manual_seed(1)
    observations = together.reset([torch.tensor([4]), torch.tensor([9])])
    expected = [env.reset(torch.tensor([seed])) for env, seed in zip(alone, (4, 9), strict=True)]
    for _ in range(12):
        for observation, wanted in zip(observations, expected, strict=True):
            assert all(torch.equal(getattr(observation, field), getattr(wanted, field)) for field in FIELDS)
        actions = [random_actions(observation.avail_actions, generator) for observation in observations]
        observations = [step.observation for step in together.step(actions)]
        expected = [env.step(a).observation for env, a in zip(alone, actions, strict=True)]
    together.close()
    for env in alone:
        env.close()


def test_it_holds_no_more_battles_than_it_says_and_closes_twice(name: str) -> None:
    most = environment_class(name).most_at_once()
    env = make_env(name, load_task("3m"), 5)
    assert env.num_envs == (5 if most is None else min(5, most))
    observation = env.reset(torch.arange(env.num_envs))
    assert len(observation.obs) == env.num_envs
    env.close()
    env.close()
