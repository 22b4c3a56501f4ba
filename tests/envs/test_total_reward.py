"""The total reward of a won battle: 20 on every map, and by how much it may differ where."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from total_reward import TotalReward

from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.step import conclude
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.tasks import battle_task, load_task
from hygen_lightning.tasks.battles import STOP
from hygen_lightning.tasks.maps import map_names

LASTING = {"marine", "marauder"}
"""Enemies whose losses stay: no shields, nothing that grows back."""


def maps() -> list[object]:
    """Every map; all but the smallest of each combination of enemies are slow tests."""
    smallest: dict[object, str] = {}
    for name in sorted(map_names(), key=lambda name: load_task(name).n_enemies):
        task = battle_task(name)
        smallest.setdefault((task.ally_types, frozenset(task.enemy_units)), name)
    quick = smallest.values()
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in map_names()]


@pytest.mark.parametrize("name", maps())
@torch.inference_mode()
def test_a_won_battle_of_every_map_brings_twenty_and_what_grew_back(name: str) -> None:
    """Allies that cannot die win everywhere; the enemies, who alone count, are as they are."""
    task, num_envs = load_task(name), 2
    env, policy = SimulatorEnv(task, num_envs), scripted_policy("nearest_attack")
    observation, hidden = env.reset(torch.arange(num_envs)), policy.initial_hidden(task, num_envs)
    total, success = TotalReward(env), torch.zeros(num_envs, dtype=torch.bool)
    last = torch.full((num_envs, task.n_allies), -1)
    while not bool(env.battles.over.all()):
        env.battles.health = torch.cat(
            [torch.full_like(env.battles.health[: task.n_allies], 1e9), env.battles.health[task.n_allies :]]
        )
        output = policy.act(task, observation, last, torch.zeros(len(last)), hidden)
        step = env.step(output.actions)
        observation, last, hidden = step.observation, output.actions, output.hidden
        total.add(step)
        success |= step.success
    assert success.all()
    total.check(success)
    if set(task.enemy_units) <= LASTING:
        assert (total.returns - 20).abs().max() < 1e-3


def test_shields_that_grow_back_are_rewarded_as_if_they_were_shot() -> None:
    """Three Zealots left alone: each grows one point of shield a step, and SMAC takes absolute values."""
    env = SimulatorEnv(load_task("3s_vs_3z"), 1)
    env.reset(torch.tensor([1]))
    s, n = env.battles, env.params.n_allies
    s.goal_x, s.goal_y = s.x[n:].clone(), s.y[n:].clone()
    s.shield, s.calm = s.shield - 20, torch.full_like(s.calm, 200.0)
    total = TotalReward(env)
    for _ in range(5):
        total.add(env.step(torch.full((1, n), int(STOP))))
    assert float(total.regrown) == 15
    assert float(total.returns) == pytest.approx(15 * 20 / env.params.max_reward)


def test_a_last_medivac_need_not_fall_and_is_missing_in_the_total() -> None:
    """MMM: all others fall at once; the Medivac of 150 health, 160 of the sum, still stands."""
    env = SimulatorEnv(load_task("MMM"), 1)
    env.reset(torch.tensor([1]))
    total, n = TotalReward(env), env.params.n_allies
    medivac = env.params.is_medivac[n:, 0]
    hurt = env.battles.health.clone()
    hurt[n:][~medivac] = 0.0
    after = replace(env.battles, health=hurt)
    env.battles, step = conclude(env.params, env.terrain, env.battles, after)
    total.add(step)
    assert bool(step.success)
    assert float(total.returns) == pytest.approx(20 * (1 - 160 / env.params.max_reward), abs=1e-4)
    total.check(step.success)
