"""The PettingZoo wrapper: its own API tests, and what it says of a battle."""

from __future__ import annotations

import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from grid_battle import LIMIT

pytest.importorskip("pettingzoo", reason="the optional extra pettingzoo is not installed")
from pettingzoo.test import parallel_api_test, parallel_seed_test

from hygen_lightning.envs import make_env
from hygen_lightning.envs.pettingzoo import BattleParallelEnv, parallel_env
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import EAST, FIRST_TARGET, NO_OP, STOP

LINE = "grid_battle:LineEnv"


@pytest.mark.parametrize(("task", "env"), [("3m", "simulator"), ("MMM", "simulator"), ("line-2", LINE)])
@pytest.mark.filterwarnings("error")
def test_it_passes_pettingzoos_own_api_test(task: str, env: str) -> None:
    parallel_api_test(parallel_env(task, env), num_cycles=80)


def test_it_passes_pettingzoos_own_seed_test() -> None:
    parallel_seed_test(lambda: parallel_env("3m"), num_cycles=30)


def played(env: BattleParallelEnv, seed: int) -> tuple[list[float], dict[str, object]]:
    """Rewards and last info of a battle in which everybody attacks if possible, else stands."""
    observations, _ = env.reset(seed=seed)
    rewards: list[float] = []
    infos: dict[str, dict[str, object]] = {}
    while env.agents:
        actions = {}
        for agent in env.agents:
            mask = observations[agent]["action_mask"]
            targets = np.flatnonzero(mask[FIRST_TARGET:])
            actions[agent] = FIRST_TARGET + int(targets[0]) if len(targets) else STOP if mask[STOP] else NO_OP
        observations, reward, terminated, truncated, infos = env.step(actions)
        rewards.append(reward["ally_0"])
        assert set(reward.values()) == {reward["ally_0"]}
        assert env.agents or all(terminated.values()) != all(truncated.values())
        for agent, observation in observations.items():
            assert env.observation_space(agent).contains(observation)
    return rewards, infos["ally_0"]


def test_a_battle_is_the_environments_battle() -> None:
    rewards, info = played(parallel_env("3m"), seed=5)
    assert info["length"] == len(rewards)
    assert isinstance(info["success"], bool)
    generator = torch.Generator().manual_seed(5)
    battle = make_env("simulator", load_task("3m"), 1)
    observation = battle.reset(torch.randint(2**62, (1,), generator=generator))
    total, over = 0.0, False
    while not over:
        targets = observation.avail_actions[..., FIRST_TARGET:]
        first = FIRST_TARGET + targets.float().argmax(-1)
        idle = torch.where(observation.avail_actions[..., STOP], STOP, NO_OP)
        step = battle.step(torch.where(targets.any(-1), first, idle))
        observation, over, total = step.observation, bool(step.terminated), total + float(step.reward)
    assert sum(rewards) == pytest.approx(total)
    assert info["success"] == bool(step.success)


def test_a_time_out_is_a_truncation_and_no_termination() -> None:
    env, wait = parallel_env("line-1", LINE), 2
    env.reset(seed=1)
    for _ in range(LIMIT):
        _, _, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, wait))
    assert not any(terminated.values())
    assert all(truncated.values())
    assert infos["ally_0"] == {"success": False, "length": LIMIT, "replaced": False}
    assert env.agents == []


def test_seeds_decide_the_battle_and_later_ones_follow_from_it() -> None:
    env = parallel_env("5m")
    first, second = [env.reset(seed=3)[0]["ally_0"]["observation"], env.reset()[0]["ally_0"]["observation"]]
    states = []
    for seed in (3, 4):
        env.reset(seed=seed)
        env.step(dict.fromkeys(env.agents, STOP))
        states.append(env.state())
    other = parallel_env("5m")
    assert np.array_equal(other.reset(seed=3)[0]["ally_0"]["observation"], first)
    assert np.array_equal(other.reset()[0]["ally_0"]["observation"], second)
    assert states[0].shape == env.state_space.shape
    assert not np.array_equal(states[0], states[1])


def test_unavailable_actions_become_stop_or_no_op_and_the_infos_say_so() -> None:
    env, twin = parallel_env("3m"), parallel_env("3m")
    env.reset(seed=1)
    twin.reset(seed=1)
    observations, _, _, _, infos = env.step({"ally_0": NO_OP, "ally_1": FIRST_TARGET, "ally_2": EAST})
    expected = twin.step({"ally_0": STOP, "ally_1": STOP, "ally_2": EAST})[0]
    assert [infos[agent]["replaced"] for agent in env.agents] == [True, True, False]
    for agent in env.agents:
        assert np.array_equal(observations[agent]["observation"], expected[agent]["observation"])


def test_missing_and_refused_actions_are_one_clear_line() -> None:
    env = parallel_env("3m", unavailable="error")
    with pytest.raises(UserError, match=r"call reset\(\) before step"):
        env.step({})
    with pytest.raises(UserError, match=r"call reset\(\) before state"):
        env.state()
    env.reset(seed=1)
    with pytest.raises(UserError, match="ally_2 has no action"):
        env.step({"ally_0": STOP, "ally_1": STOP})
    with pytest.raises(
        UserError, match=r"ally_1: action 0 is not available; available are \[1, 2, 3, 4, 5\]"
    ):
        env.step({"ally_0": STOP, "ally_1": NO_OP, "ally_2": STOP})


def test_many_battles_cannot_be_wrapped_and_names_say_which_battle_it_is() -> None:
    with pytest.raises(ValueError, match="environment of 2"):
        BattleParallelEnv(make_env("simulator", load_task("3m"), 2))
    env = parallel_env("3m")
    assert str(env.metadata["name"]).startswith("simulator_3m_v")
    env.close()


def test_without_pettingzoo_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "hygen_lightning.envs.pettingzoo")
    with pytest.raises(UserError, match=r"pip install 'hygen_lightning\[pettingzoo\]'"):
        import_module("hygen_lightning.envs.pettingzoo")
