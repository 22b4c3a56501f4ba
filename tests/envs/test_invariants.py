"""What holds in every battle, whatever the map, the seeds and the actions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from total_reward import TotalReward

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator import step as battle_step
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.formation import formation
from hygen_lightning.envs.simulator.state import BattleState, uniform
from hygen_lightning.envs.simulator.terrain import Terrain, way_table
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.rollouts.scripted import SCRIPTED_POLICIES, scripted_policy
from hygen_lightning.specs import Observation, TimeStep
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import FIRST_TARGET
from hygen_lightning.tasks.maps import map_names

CPU = torch.device("cpu")
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KINDS = ["3m", "2s3z", "3s_vs_5z", "MMM2", "1c3s5z", "bane_vs_bane", "so_many_baneling", "2c_vs_64zg",
         "corridor", "6h_vs_8z", "2s_vs_1sc", "2m_vs_1z"]  # fmt: skip


def chosen(available: Tensor, generator: torch.Generator, attacks: bool) -> Tensor:
    """Random available actions [B, A]; `attacks`: any target before anything else."""
    draw = torch.rand(available.shape, generator=generator)
    if attacks:
        draw[..., FIRST_TARGET:] += 1
    return (draw * available).argmax(-1)


def check(env: SimulatorEnv, before: dict[str, Tensor], map_name: str) -> None:
    """The invariants of one step."""
    s, r = env.battles, env.params
    assert (s.health >= 0).all()
    assert (s.health <= r.health + 1e-4).all()
    assert (s.shield >= 0).all()
    assert (s.shield <= r.shield + 1e-4).all()
    assert (s.energy >= 0).all()
    dead = before["health"] <= 0
    assert (s.health[dead] == 0).all()
    assert torch.equal(s.x[dead], before["x"][dead])
    assert torch.equal(s.y[dead], before["y"][dead])
    alive = s.alive
    ground = alive & ~r.flying
    assert env.terrain.walkable(s.x, s.y)[ground].all(), map_name
    assert ((s.x >= 2) & (s.x < 30) & (s.y >= 2) & (s.y < 30))[alive].all()
    walked = torch.hypot(s.x - before["x"], s.y - before["y"])
    assert (walked <= r.speed * c.LOOPS_PER_STEP * 2 + 0.8)[alive].all()


@QUICK
@given(name=st.sampled_from(KINDS), seed=st.integers(0, 2**62), attacks=st.booleans())
def test_health_positions_and_the_dead_stay_within_bounds(name: str, seed: int, attacks: bool) -> None:
    env = SimulatorEnv(load_task(name), 4)
    generator = torch.Generator().manual_seed(seed)
    observation = env.reset(torch.arange(4) + seed)
    for _ in range(12):
        before = env.state_dict()
        step = env.step(chosen(observation.avail_actions, generator, attacks))
        observation = step.observation
        check(env, before, name)
        assert all(torch.isfinite(x).all() for x in (observation.obs, observation.state, step.reward))


class Watched:
    """`game_loop` that asserts that nobody aims or shoots at a unit that fell in an earlier loop.

    shots: how many were fired.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shots, self.loop, self.shooters = 0, battle_step.game_loop, battle_step.shooters
        monkeypatch.setattr(battle_step, "shooters", self.watched)

    def __call__(self, params: UnitParams, terrain: Terrain, before: BattleState, *plan: Any) -> BattleState:
        after = self.loop(params, terrain, before, *plan)
        aims = (after.target >= 0) & before.alive
        assert (after.target[~before.alive] == -1).all(), "the dead aim at somebody"
        assert before.alive.gather(0, after.target.clamp(min=0))[aims].all(), "somebody aims at the dead"
        return after

    def watched(self, params: UnitParams, s: BattleState, in_range: Tensor) -> Tensor:
        shots = self.shooters(params, s, in_range)
        fires = shots > 0
        assert s.alive[fires].all(), "the dead shoot"
        assert (s.target[fires] >= 0).all(), "somebody shoots at nobody"
        assert s.alive.gather(0, s.target.clamp(min=0))[fires].all(), "somebody shoots at the dead"
        self.shots += int(fires.sum())
        return shots


@pytest.mark.parametrize("name", ["3m", "2s3z", "MMM2", "1c3s5z", "bane_vs_bane"])
@torch.inference_mode()
def test_nobody_aims_or_shoots_at_a_unit_that_was_dead_before_the_loop(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between steps a target may be dead: it fell in the last loop, and the next one lets go of it."""
    env, watched = SimulatorEnv(load_task(name), 6), Watched(monkeypatch)
    env.dynamics = replace(battle_step.Dynamics.plain(), game_loop=watched)
    generator = torch.Generator().manual_seed(5)
    observation = env.reset(torch.arange(6))
    for number in range(40):
        observation = env.step(
            chosen(observation.avail_actions, generator, attacks=number % 4 > 0)
        ).observation
        if bool(env.battles.over.all()):
            break
    assert watched.shots > 0
    assert (~env.battles.alive).any(), "nobody fell: nothing was tested"


class Crowd:
    """Battles of one map, some of every scripted policy, stepped as one batch; those that are over leave it.

    who [B] int64: which of `policies` decides in a battle. hidden_states: one per policy.
    """

    def __init__(self, name: str, battles: dict[str, int]) -> None:
        self.task = load_task(name)
        self.policies = [scripted_policy(name, seed=1) for name in battles]
        self.who = torch.arange(len(battles)).repeat_interleave(torch.tensor(list(battles.values())))
        self.hidden_states = [
            self.policies[i].initial_hidden(self.task, n) for i, n in enumerate(battles.values())
        ]
        self.last_actions = torch.full((len(self.who), self.task.n_allies), -1)
        self.env = SimulatorEnv(self.task, len(self.who))
        self.observation = self.env.reset(torch.arange(len(self.who)))
        self.total = TotalReward(self.env)

    def step(self) -> TimeStep:
        """Every policy decides for its own battles."""
        actions = torch.empty_like(self.last_actions)
        for i, policy in enumerate(self.policies):
            own = self.who == i
            observation = Observation(
                self.observation.obs[own], self.observation.state[own], self.observation.avail_actions[own]
            )
            output = policy.act(
                self.task, observation, self.last_actions[own], torch.zeros(len(own)), self.hidden_states[i]
            )
            actions[own], self.hidden_states[i] = output.actions, output.hidden
        step = self.env.step(actions)
        self.observation, self.last_actions = step.observation, actions
        self.total.add(step)
        return step

    def send_home(self) -> None:
        """Go on with the battles that are not over, once a quarter of the batch is."""
        stays = ~self.env.battles.over
        if 4 * int(stays.sum()) > 3 * len(stays) or not bool(stays.any()):
            return
        for i, hidden in enumerate(self.hidden_states):
            if hidden is not None:
                self.hidden_states[i] = {k: v[stays[self.who == i]] for k, v in hidden.items()}
        observation = self.observation
        self.observation = Observation(
            observation.obs[stays], observation.state[stays], observation.avail_actions[stays]
        )
        self.env, self.who = self.env.only(stays.nonzero().flatten()), self.who[stays]
        self.last_actions = self.last_actions[stays]
        self.total = self.total.only(self.env, stays)


BATTLES_PER_POLICY = {name: 200 if name == "random" else 40 for name in SCRIPTED_POLICIES}


@pytest.mark.slow
@pytest.mark.parametrize("name", map_names())
@torch.inference_mode()
def test_hundreds_of_random_and_scripted_battles_of_every_map_break_nothing(name: str) -> None:
    """Two hundred of each; fifty with more than 40 units, which take minutes."""
    task = load_task(name)
    share = 4 if task.n_allies + task.n_enemies > 40 else 1
    battles = {policy: n // share for policy, n in BATTLES_PER_POLICY.items()}
    crowd, ended = Crowd(name, battles), 0
    for _ in range(crowd.task.episode_limit_env_steps):
        before = crowd.env.battles.tensors()
        step = crowd.step()
        check(crowd.env, before, name)
        assert torch.isfinite(step.observation.obs).all()
        assert torch.isfinite(step.observation.state).all()
        assert torch.isfinite(step.reward).all()
        crowd.total.check(step.success)
        ended += int(step.terminated.sum())
        if bool(crowd.env.battles.over.all()):
            break
        crowd.send_home()
    assert ended == sum(battles.values())


@pytest.mark.parametrize("name", map_names())
def test_units_start_apart_on_open_ground_near_their_spawn(name: str) -> None:
    task = load_task(name)
    terrain = Terrain.of(task.terrain, CPU)
    x, y = formation(task, terrain)
    assert terrain.walkable(x, y).all()
    env = SimulatorEnv(task, 5)
    env.reset(torch.arange(5))
    names = (*task.ally_units, *task.enemy_units)
    for kind in set(names[task.n_allies :]):  # shuffled among units of a kind, nothing lost or doubled
        rows = [i for i, unit in enumerate(names) if unit == kind and i >= task.n_allies]
        places = env.battles.x[rows].sort(0).values
        assert (places.max(1).values - places.min(1).values).max() < 1e-4
    gaps = torch.hypot(x.unsqueeze(0) - x.unsqueeze(1), y.unsqueeze(0) - y.unsqueeze(1))
    assert (gaps - env.params.apart[..., 0])[env.params.apart[..., 0] > 0].min() > -1e-3


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("3m", [(0, 0), (1, 0), (0, -1)]),  # as recorded: 0.6885 east and south of the first
        # Stalkers 0.918 * 2 * 0.625 = 1.1475 apart. Zealots on their own lattice (0.375, so 0.6885), at least
        # 0.918 from Stalkers: the four nearest places are too near to the first, both eastern diagonal ones
        # to the second; of the next ones the second Stalker stands in the eastern one.
        ("2s3z", [(0, 0), (1.1475 / 0.6885, 0), (-1, -1), (-1, 1), (0, -2)]),
    ],
)
def test_each_type_stands_on_a_lattice_of_its_own(name: str, places: list[tuple[float, float]]) -> None:
    task = load_task(name)
    x, y = formation(task, Terrain.of(task.terrain, CPU))
    expected = [(23 + 0.6885 * i, 16 + 0.6885 * j) for i, j in places]
    enemies = list(zip(x[task.n_allies :].tolist(), y[task.n_allies :].tolist()))
    assert enemies == [pytest.approx(place, abs=1e-4) for place in expected]


def test_the_way_around_a_wall_leads_over_a_free_corner() -> None:
    level = torch.tensor([[1.0, 1, 1, 1, 1], [1, -9, -9, -9, 1], [1, 1, -9, 1, 1]])
    table = way_table("test: a wall", level)
    assert table is not None
    here, there = 2 * 5 + 1, 2 * 5 + 3  # on both sides of the wall
    seen, cell = [], here
    while cell != there and len(seen) < 10:
        cell = int(table[cell, there])
        assert level.flatten()[cell] > 0
        seen.append(cell)
    assert seen[-1] == there
    assert len(seen) > 1


def test_ground_units_climb_ramps_only_and_colossi_climb_cliffs() -> None:
    env = SimulatorEnv(load_task("2c_vs_64zg"), 1)
    low, high = (
        (torch.tensor([[16.5]]), torch.tensor([[12.9]])),
        (torch.tensor([[16.5]]), torch.tensor([[13.1]])),
    )
    n = env.params.n_units
    at = [t.expand(n, 1) for t in (*low, *high)]
    _, y = env.terrain.kept_inside(env.params, *at)
    assert float(y[0, 0]) > 13
    assert float(y[5, 0]) < 13


def test_random_numbers_are_even_and_differ_by_seed_step_and_unit() -> None:
    number = torch.arange(3).unsqueeze(1)
    draws = uniform(torch.arange(20_000), torch.zeros(20_000, dtype=torch.int64), number, 0)
    assert ((draws >= 0) & (draws < 1)).all()
    assert abs(float(draws.mean()) - 0.5) < 0.01
    assert abs(float(draws.var()) - 1 / 12) < 0.005
    assert abs(float(torch.corrcoef(draws)[0, 1])) < 0.03
    later = uniform(torch.arange(20_000), torch.ones(20_000, dtype=torch.int64), number, 0)
    assert abs(float(torch.corrcoef(torch.stack([draws[0], later[0]]))[0, 1])) < 0.03
