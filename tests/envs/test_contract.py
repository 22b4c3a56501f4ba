"""What every environment promises: those of the table, and one from outside. StarCraft II is a stand-in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from arenas import random_actions
from stand_in import stand_in_for_starcraft
from torch import Tensor

from hygen_lightning.envs import ENVIRONMENTS, environment_class, make_env, own_environment
from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import RandomPolicy
from hygen_lightning.specs import TaskSpec, TimeStep, UserError
from hygen_lightning.tasks import BattleTask, load_task

OUTSIDE = "grid_battle:LineEnv"
TASKS = dict.fromkeys(ENVIRONMENTS, ("3m", "8m")) | {
    "navigation": ("cn-3", "cn-2"),
    "smax": ("smax-3m", "smax-5m_vs_6m"),
    OUTSIDE: ("line-2", "line-1"),
}
"""Two tasks that each environment plays."""
FIELDS = ("obs", "state", "avail_actions")


@pytest.fixture(scope="module", params=list(TASKS))
def name(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "smax":
        pytest.importorskip(
            "jaxmarl", reason="JaxMARL is not installed (pip install 'hygen_lightning[smax]')"
        )
    with pytest.MonkeyPatch.context() as patch:
        stand_in_for_starcraft(tmp_path_factory.mktemp("starcraft"), patch)
        yield str(request.param)


@pytest.fixture(scope="module")
def env(name: str) -> Iterator[BattleEnv]:
    """Two episodes of the first task; every test starts them anew."""
    env = make_env(name, TASKS[name][0], 2)
    yield env
    env.close()
    env.close()


def steps(env: BattleEnv, seeds: Tensor, n_steps: int) -> Iterator[TimeStep]:
    """The first steps of episodes with random actions."""
    generator = torch.Generator().manual_seed(0)
    observation = env.reset(seeds)
    for _ in range(n_steps):
        step = env.step(random_actions(observation.avail_actions, generator))
        yield step
        observation = step.observation


def test_it_says_what_it_is(name: str, env: BattleEnv) -> None:
    kind = environment_class(name)
    assert isinstance(env, kind)
    assert env.name == kind.name != BattleEnv.name
    assert name in (env.name, OUTSIDE)
    assert env.version != BattleEnv.version
    assert (env.task.name, env.num_envs) == (TASKS[name][0], 2)


def test_it_checks_its_tasks(name: str) -> None:
    kind = environment_class(name)
    tasks = [load_task(task) for task in TASKS[name]]
    assert all(isinstance(task, TaskSpec) for task in tasks)
    assert [task.name for task in tasks] == list(TASKS[name])
    kind.check_installed()
    kind.check_tasks(tasks)


def test_it_says_what_it_needs_and_how_to_mend_what_is_wrong(name: str) -> None:
    kind = environment_class(name)
    for check in kind.checks([load_task(task) for task in TASKS[name]]):
        assert check.what
        assert check.found
        assert check.ok or check.remedy
    with pytest.raises(UserError, match=r"no_such_option|no options"):
        kind.configured({"no_such_option": 1})
    assert kind.configured({}).name == kind.name


def test_a_task_has_its_own_environment_unless_it_comes_from_outside(name: str) -> None:
    own = own_environment(load_task(TASKS[name][0]))
    if own is None:
        assert name == OUTSIDE
    else:
        assert environment_class(own).task_type is environment_class(name).task_type


def test_observations_and_steps_have_the_shapes_and_types_of_the_protocol(env: BattleEnv) -> None:
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


def test_every_episode_ends_once_and_then_stands_still(name: str) -> None:
    env = make_env(name, TASKS[name][0], 16)
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
        if isinstance(env.task, BattleTask):
            assert not step.observation.avail_actions[over][..., 1:].any(), "more than no-op"
    assert ended.tolist() == [1] * b
    for step in played:
        assert not ((step.truncated | step.success) & ~step.terminated).any()
        assert not (step.truncated & step.success).any()


def test_a_reset_starts_all_episodes_anew(env: BattleEnv) -> None:
    first = env.reset(torch.arange(2))
    for _ in steps(env, torch.arange(2), 3):
        pass
    again = env.reset(torch.arange(2))
    assert (again.avail_actions.sum(-1) > 1).any()
    assert again.state.shape == first.state.shape
    if env.reproducible:
        assert all(torch.equal(getattr(first, field), getattr(again, field)) for field in FIELDS)


def test_equal_seeds_and_actions_are_equal_episodes_where_it_promises_that(env: BattleEnv) -> None:
    (one, two), (three, four) = (
        torch.stack([step.observation.state for step in steps(env, torch.tensor(seeds), 15)]).unbind(1)
        for seeds in ([5, 6], [5, 7])
    )
    assert torch.equal(one, three) or not env.reproducible
    assert not torch.equal(two, four)


def test_an_action_that_is_not_available_is_refused(env: BattleEnv) -> None:
    played = (step.observation.avail_actions for step in steps(env, torch.arange(2), 20))
    available = next(shown for shown in played if not shown.all())
    worst = available.int().argmin(-1)
    with pytest.raises(ValueError, match="not available"):
        env.step(worst)


def test_a_part_of_the_episodes_goes_on_as_in_the_whole(env: BattleEnv) -> None:
    observation, generator = env.reset(torch.tensor([3, 4])), torch.Generator().manual_seed(1)
    part = env.only(torch.tensor([1]))
    if part is None:
        pytest.skip("its episodes cannot be split")
    assert part.num_envs == 1
    if not env.reproducible:  # the part is the same games: they cannot be stepped twice
        return
    for _ in range(3):
        actions = random_actions(observation.avail_actions, generator)
        observation = env.step(actions).observation
        assert torch.equal(part.step(actions[1:]).observation.obs[0], observation.obs[1])


def test_it_holds_no_more_episodes_than_it_says(name: str) -> None:
    kind = environment_class(name)
    most = kind.most_at_once()
    env = make_env(name, load_task(TASKS[name][1]), 3)
    assert env.num_envs == (3 if most is None else min(3, most))
    assert len(env.reset(torch.arange(env.num_envs)).obs) == env.num_envs
    env.close()


def test_a_policy_plays_it_to_the_end(env: BattleEnv) -> None:
    played = play(env, RandomPolicy(1), torch.tensor([8, 9]))
    assert played.episodes.task is env.task
    assert (played.episodes.terminated.sum(1) == 1).all()
    assert played.success.shape == played.returns.shape == (2,)


def test_its_own_heuristics_play_its_tasks(name: str, env: BattleEnv) -> None:
    for make in environment_class(name).scripted_policies().values():
        played = play(env, make(0), torch.tensor([8, 9]))
        assert played.episodes.terminated.any(1).all()


def test_with_seeds_finished_episodes_begin_anew_in_the_same_step(name: str) -> None:
    """The ended ones show their first view, reward and flags tell of the old one; the others go on."""
    env = make_env(name, TASKS[name][0], 4)
    if not env.restarts:
        pytest.skip("its episodes cannot begin anew one by one")
    b, generator = env.num_envs, torch.Generator().manual_seed(0)
    seeds = torch.arange(b)
    observation, ends, lengths = env.reset(seeds), torch.zeros(b, dtype=torch.int64), torch.zeros(b)
    twin = make_env(name, TASKS[name][0], b) if env.reproducible else None
    while int(ends.min()) < 2:
        assert env.clock.tolist() == lengths.tolist()
        seeds = seeds + 100
        step = env.step(random_actions(observation.avail_actions, generator), seeds)
        observation, lengths = step.observation, torch.where(step.terminated, 0, lengths + 1)
        ends += step.terminated
        assert observation.avail_actions[..., 1:].any(-1).any(-1).all(), "somebody can act in every episode"
        if twin is not None:
            first = twin.reset(seeds)
            for field in FIELDS:
                shown = getattr(observation, field)[step.terminated]
                assert torch.equal(shown, getattr(first, field)[step.terminated])
    env.close()


def test_seeds_change_nothing_until_an_episode_ends(env: BattleEnv) -> None:
    if not (env.restarts and env.reproducible):
        pytest.skip("its episodes cannot begin anew one by one, or not twice alike")
    twin = make_env(env.name, env.task, 2)
    observation, generator = env.reset(torch.arange(2)), torch.Generator().manual_seed(1)
    twin.reset(torch.arange(2))
    while True:
        actions = random_actions(observation.avail_actions, generator)
        step, other = env.step(actions), twin.step(actions, torch.tensor([7, 8]))
        assert torch.equal(step.reward, other.reward)
        assert torch.equal(step.success, other.success)
        assert torch.equal(step.terminated, other.terminated)
        going = ~step.terminated
        for field in FIELDS:
            assert torch.equal(
                getattr(step.observation, field)[going], getattr(other.observation, field)[going]
            )
        if step.terminated.any():
            return
        observation = step.observation


def test_what_it_cannot_do_it_says_in_one_line(env: BattleEnv) -> None:
    observation = env.reset(torch.arange(2))
    if not env.restarts:
        with pytest.raises(UserError, match=f"{env.name} does not count the steps"):
            _ = env.clock
    if type(env).state_dict is BattleEnv.state_dict:
        with pytest.raises(UserError, match=f"{env.name} cannot save"):
            env.state_dict()
        with pytest.raises(UserError, match=f"{env.name} cannot continue"):
            env.load_state_dict({})
        return
    saved = env.state_dict()
    actions = random_actions(observation.avail_actions, torch.Generator().manual_seed(0))
    once = env.step(actions).observation
    env.load_state_dict(saved)
    again = env.step(actions).observation
    assert all(torch.equal(getattr(once, field), getattr(again, field)) for field in FIELDS)
