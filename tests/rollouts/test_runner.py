"""The runner on battles that end at known steps."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.rollouts.runner import Rollout, play
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks import load_task

STOP, NORTH = 1, 2


class CountdownBattles(BattleEnv):
    """Battle b ends after ends[b] steps; its obs hold the step number, its reward is step + 1."""

    def __init__(self, ends: list[int], success: list[bool], timed_out: list[bool]) -> None:
        self.task = load_task("3m")
        self.num_envs = len(ends)
        self.ends, self.success = torch.tensor(ends), torch.tensor(success)
        self.timed_out = torch.tensor(timed_out)
        self.seen_actions: list[Tensor] = []

    def _observation(self) -> Observation:
        shape = (self.num_envs, self.task.n_allies)
        time = torch.minimum(torch.tensor(self.passed), self.ends).float()
        avail = torch.zeros(*shape, self.task.layout.n_actions, dtype=torch.bool)
        avail[..., STOP] = avail[..., NORTH] = True
        return Observation(
            obs=time[:, None, None].expand(*shape, self.task.layout.obs_dim).clone(),
            state=time[:, None].expand(self.num_envs, self.task.layout.state_dim).clone(),
            avail_actions=avail,
        )

    def reset(self, seeds: Tensor) -> Observation:
        self.passed = 0
        return self._observation()

    def step(self, actions: Tensor) -> TimeStep:
        was_open = self.passed < self.ends
        self.seen_actions.append(actions)
        self.passed += 1
        ended = was_open & (self.passed == self.ends)
        reward = torch.where(was_open, float(self.passed), 0.0)
        return TimeStep(self._observation(), reward, ended, ended & self.timed_out, ended & self.success)


class LeavableBattles(CountdownBattles):
    """The same, where battles can leave; notes how many battles each step had."""

    def __init__(self, ends: list[int], success: list[bool], timed_out: list[bool]) -> None:
        super().__init__(ends, success, timed_out)
        self.sizes: list[int] = []

    def only(self, battles: Tensor) -> LeavableBattles:
        part = copy.copy(self)
        part.num_envs = len(battles)
        part.ends, part.success, part.timed_out = (
            x[battles] for x in (self.ends, self.success, self.timed_out)
        )
        return part

    def step(self, actions: Tensor) -> TimeStep:
        self.sizes.append(len(actions))
        return super().step(actions)


class Counting:
    """Always stops, remembers how often it was asked, and calls that number its skill."""

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Tensor:
        return torch.zeros(num_envs, task.n_allies, dtype=torch.int64)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        return PolicyOutput(torch.full_like(hidden, STOP), hidden + 1, hidden)


def battles() -> CountdownBattles:
    return CountdownBattles([2, 3], success=[True, False], timed_out=[False, True])


def test_an_episode_stores_its_final_observation_and_nothing_after_it() -> None:
    episodes = play(battles(), Counting(), torch.arange(2)).episodes
    assert episodes.filled.tolist() == [[True, True, True, False], [True, True, True, True]]
    assert episodes.obs[:, :, 0, 0].tolist() == [[0, 1, 2, 0], [0, 1, 2, 3]]
    assert episodes.reward.tolist() == [[1, 2, 0, 0], [1, 2, 3, 0]]
    assert episodes.actions[0, :, 0].tolist() == [STOP, STOP, STOP, 0]
    assert not episodes.avail_actions[0, 3].any()


def test_the_step_that_ended_a_battle_is_marked_once_and_time_outs_apart() -> None:
    episodes = play(battles(), Counting(), torch.arange(2)).episodes
    assert episodes.terminated.nonzero().tolist() == [[0, 1], [1, 2]]
    assert episodes.truncated.nonzero().tolist() == [[1, 2]]


def test_returns_lengths_wins_and_skills_are_those_of_the_battles() -> None:
    played = play(battles(), Counting(), torch.arange(2))
    assert played.returns.tolist() == [3, 6]
    assert played.lengths.tolist() == [2, 3]
    assert played.success.tolist() == [True, False]
    assert played.skills is not None
    assert played.skills[:, :, 0].tolist() == [[0, 1, 2, -1], [0, 1, 2, 3]]


def test_the_last_actions_of_a_step_are_those_of_the_step_before() -> None:
    episodes = play(battles(), Counting(), torch.arange(2)).episodes
    assert episodes.last_actions[0, :, 0].tolist() == [-1, STOP, STOP, STOP]


def test_battles_that_are_over_leave_and_change_nothing() -> None:
    facts = ([2, 9, 3, 1, 6], [True, False, True, False, True], [False, True, False, False, False])
    leaving, staying = LeavableBattles(*facts), CountdownBattles(*facts)
    played, expected = (play(env, Counting(), torch.arange(5)) for env in (leaving, staying))
    assert leaving.sizes == [5, 5, 5, 5, 2, 2, 2, 1, 1]
    for name, tensor in vars(expected.episodes).items():
        same = torch.as_tensor(getattr(played.episodes, name) == tensor) if name != "task" else True
        assert bool(torch.as_tensor(same).all()), name
    assert torch.equal(played.success, expected.success)
    assert played.skills is not None
    assert expected.skills is not None
    assert torch.equal(played.skills, expected.skills)


@pytest.mark.parametrize("name", ["kiting", "nearest_attack"])
def test_simulated_battles_leave_without_a_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env, policy, seeds = SimulatorEnv(load_task("3m"), 12), scripted_policy(name, seed=1), torch.arange(12)
    played = play(env, policy, seeds)
    assert len(played.lengths.unique()) > 3
    monkeypatch.setattr(SimulatorEnv, "only", lambda *_: None)
    expected = play(env, policy, seeds)
    assert torch.equal(played.episodes.state, expected.episodes.state)
    assert torch.equal(played.episodes.obs, expected.episodes.obs)
    assert torch.equal(played.success, expected.success)


def test_more_battles_than_an_environment_holds_are_played_in_turn_and_are_the_same() -> None:
    seeds, opening = torch.arange(7), torch.tensor([0, 3, 0, 0, 1, 0, 0])
    few, all_at_once = (SimulatorEnv(load_task("3m"), n) for n in (3, 7))
    played, expected = (
        play(env, scripted_policy("kiting", seed=1), seeds, epsilon=torch.zeros(7))
        for env in (few, all_at_once)
    )
    for name in ("obs", "state", "actions", "reward", "filled", "terminated"):
        assert torch.equal(getattr(played.episodes, name), getattr(expected.episodes, name)), name
    assert torch.equal(played.success, expected.success)
    assert torch.equal(played.returns, expected.returns)
    exploring = play(few, scripted_policy("kiting", seed=1), seeds, 0.0, opening, torch.Generator())
    differs = (exploring.episodes.actions[:, 0] != expected.episodes.actions[:, 0]).any(1)
    assert differs[opening == 0].sum() == 0
    assert differs[opening > 0].any()


def test_joined_batches_pad_their_skills_like_their_steps() -> None:
    short, long = ([2, 1], [True, False], [False, False]), ([4], [False], [True])
    parts = [
        play(CountdownBattles(*facts), Counting(), torch.arange(len(facts[0]))) for facts in (short, long)
    ]
    both = Rollout.cat(parts)
    assert both.skills is not None
    assert both.skills[:, :, 0].tolist() == [[0, 1, 2, -1, -1], [0, 1, -1, -1, -1], [0, 1, 2, 3, 4]]
    assert both.lengths.tolist() == [2, 1, 4]
    assert both.success.tolist() == [True, False, False]


def test_an_environment_whose_battles_cannot_be_parted_refuses_a_smaller_rest() -> None:
    with pytest.raises(ValueError, match="1 battles in an environment that plays 2"):
        play(battles(), Counting(), torch.arange(3))


def test_exploration_takes_available_actions_at_about_its_share() -> None:
    env = CountdownBattles([40] * 50, [True] * 50, [False] * 50)
    generator = torch.Generator().manual_seed(0)
    actions = play(env, Counting(), torch.arange(50), 0.5, generator=generator).episodes.actions[:, :40]
    assert set(actions.unique().tolist()) == {STOP, NORTH}
    share_north = (actions == NORTH).float().mean()
    assert abs(share_north - 0.25) < 0.02, "half are random, half of those go north"


def test_each_battle_explores_at_its_own_share_and_opens_at_random() -> None:
    env = CountdownBattles([40] * 3, [True] * 3, [False] * 3)
    generator = torch.Generator().manual_seed(0)
    share, opening = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0, 0, 20])
    actions = play(env, Counting(), torch.arange(3), share, opening, generator).episodes.actions
    north = (actions == NORTH).any(dim=2)
    assert not north[0].any()
    assert north[1, :40].float().mean() > 0.7
    assert north[2, :20].any()
    assert not north[2, 20:].any()


def test_the_share_of_random_actions_is_counted_over_the_steps_played() -> None:
    env = CountdownBattles([2, 6], [True] * 2, [False] * 2)
    played = play(env, Counting(), torch.arange(2), opening=torch.tensor([0, 4]), generator=torch.Generator())
    assert played.explored.tolist() == [0, 4 * 3]
    assert played.random_share == 4 / 8
    assert play(env, Counting(), torch.arange(2)).random_share == 0.0


def test_an_environment_that_shows_other_sizes_than_its_layout_is_refused() -> None:
    env = battles()
    wrong = env._observation
    env._observation = lambda: replace(wrong(), state=torch.zeros(2, 5))  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"state is \(2, 5\), the layout of 3m says \(2, 48\)"):
        play(env, Counting(), torch.arange(2))


def test_an_environment_that_does_not_end_at_its_limit_is_refused() -> None:
    env = CountdownBattles([61], [True], [False])
    assert env.task.episode_limit_env_steps == 60
    with pytest.raises(UserError, match="goes on after the 60 steps of 3m"):
        play(env, Counting(), torch.arange(1))
