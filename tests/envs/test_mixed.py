"""Battles of several tasks in one batch: each goes on as it would alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hygen_lightning.envs import make_env, make_envs
from hygen_lightning.envs.base import BattleEnv, BattleEnvs
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.mixed import PAIRS_PER_CALL, MixedSimulatorEnvs, grouped
from hygen_lightning.specs import Observation, TaskSpec, TimeStep
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import FIRST_TARGET

MIXTURES = [
    ["3m", "5m_vs_6m", "13m_vs_15m"],
    ["2s3z", "bane_vs_bane", "MMM2", "3m"],
    ["2c_vs_64zg", "3s_vs_5z", "2s_vs_1sc", "1c3s5z"],
    ["6h_vs_8z", "so_many_baneling", "2m_vs_1z", "corridor"],
]


def drawn(available: Tensor, seed: int) -> Tensor:
    """Random available actions [B, A], targets before anything else."""
    draw = torch.rand(available.shape, generator=torch.Generator().manual_seed(seed))
    draw[..., FIRST_TARGET:] += 1
    return (draw * available).argmax(-1)


def tasks(names: Sequence[str]) -> list[TaskSpec]:
    return [load_task(name) for name in names]


def same(one: TimeStep, other: TimeStep) -> bool:
    """Whether two steps brought and show the same, bit for bit."""
    mine, theirs = ({**vars(step), **vars(step.observation)} for step in (one, other))
    return all(torch.equal(mine[k], theirs[k]) for k in mine if k != "observation")


@pytest.mark.parametrize("names", MIXTURES, ids="-".join)
def test_battles_of_a_mixed_batch_are_those_of_each_task_alone(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PAIRS_PER_CALL, "cpu", 10**9)  # all in one batch, whatever it costs
    sizes = [5, 2, 3, 4][: len(names)]
    mixed = make_envs("simulator", tasks(names), sizes)
    assert isinstance(mixed, MixedSimulatorEnvs)
    assert len(mixed.groups) == 1
    alone = [make_env("simulator", task, n) for task, n in zip(tasks(names), sizes)]
    seeds = [torch.arange(n) + 7 for n in sizes]
    observations = mixed.reset(seeds)
    for env, seed, observation in zip(alone, seeds, observations):
        assert torch.equal(env.reset(seed).obs, observation.obs)
    for step in range(45):
        actions = [drawn(observation.avail_actions, step) for observation in observations]
        steps = mixed.step(actions)
        assert all(same(env.step(a), s) for env, a, s in zip(alone, actions, steps))
        observations = [s.observation for s in steps]
    for env, other in zip(alone, mixed.envs):
        assert isinstance(env, SimulatorEnv)
        for name, value in env.battles.tensors().items():
            counted = name != "calm" or env.params.has_shields  # else nobody reads it
            assert not counted or torch.equal(value, getattr(other.battles, name)), name


def test_a_battle_does_not_depend_on_how_many_others_are_in_the_batch() -> None:
    """In crowds many pushes add up, whose sum must not depend on a battle's place in the batch."""
    crowd, alone = (make_env("simulator", load_task("bane_vs_bane"), n) for n in (97, 1))
    observation, own = crowd.reset(torch.arange(97)), alone.reset(torch.tensor([95]))
    for step in range(15):
        actions = drawn(observation.avail_actions, step)
        observation, own = crowd.step(actions).observation, alone.step(actions[95:96]).observation
        assert torch.equal(observation.state[95], own.state[0])


def test_tasks_whose_battles_are_over_wait_for_the_others() -> None:
    mixed = make_envs("simulator", tasks(["3m", "2s_vs_1sc"]), [2, 2])
    observations = mixed.reset([torch.arange(2), torch.arange(2)])
    assert isinstance(mixed, MixedSimulatorEnvs)
    ended = torch.zeros(2, dtype=torch.bool)
    n_steps = load_task("3m").episode_limit_env_steps + 3
    for step in range(n_steps):
        steps = mixed.step([drawn(observation.avail_actions, step) for observation in observations])
        assert not (steps[0].terminated & ended).any()
        assert (steps[0].reward[ended] == 0).all()
        ended |= steps[0].terminated
        observations = [s.observation for s in steps]
    assert ended.all()
    assert int(mixed.envs[1].battles.step.max()) == n_steps
    observations[0] = mixed.envs[0].reset(torch.arange(2) + 9)
    mixed.step([drawn(observation.avail_actions, 0) for observation in observations])
    assert torch.equal(mixed.envs[0].battles.step, torch.tensor([1, 1]))


def test_tasks_of_similar_size_step_in_one_batch_and_others_apart() -> None:
    small, larger, huge = (3, 3, 8), (5, 6, 8), (27, 30, 8)
    assert grouped([small, huge, larger], pairs_per_call=1_000, most_pairs=10**6) == [[0, 2], [1]]
    assert grouped([small, huge, larger], pairs_per_call=10**6, most_pairs=10**6) == [[0, 2, 1]]
    assert grouped([small, larger], pairs_per_call=0, most_pairs=10**6) == [[0], [1]]
    assert grouped([small, small, small], pairs_per_call=1, most_pairs=36 * 16) == [[0, 1], [2]]


def test_actions_that_are_not_available_and_foreign_environments_are_refused() -> None:
    mixed = make_envs("simulator", tasks(["3m", "5m"]), [1, 1])
    mixed.reset([torch.zeros(1, dtype=torch.int64)] * 2)
    with pytest.raises(ValueError, match="5m: an action was not available"):
        mixed.step([torch.ones(1, 3, dtype=torch.int64), torch.zeros(1, 5, dtype=torch.int64)])
    with pytest.raises(ValueError, match="only simulators"):
        SimulatorEnv.together([Still()])


class Still(BattleEnv):
    """An environment that knows nothing of batches: it counts its steps."""

    n_steps = 0

    def reset(self, seeds: Tensor) -> Observation:
        return Observation(seeds, seeds, seeds)

    def step(self, actions: Tensor) -> TimeStep:
        self.n_steps += 1
        return TimeStep(self.reset(actions), actions, actions, actions, actions)


def test_environments_that_cannot_be_mixed_step_one_after_another() -> None:
    envs = Still.together([Still(), Still()])
    assert type(envs) is BattleEnvs
    assert [int(observation.obs) for observation in envs.reset([torch.tensor(1), torch.tensor(2)])] == [1, 2]
    assert [int(step.reward) for step in envs.step([torch.tensor(3), torch.tensor(4)])] == [3, 4]
    with pytest.raises(ValueError, match="shorter"):
        envs.step([torch.tensor(3)])
    envs.close()
