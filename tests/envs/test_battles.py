"""Hand-placed battles with exact outcomes, one rule at a time."""

from __future__ import annotations

import torch
from arenas import act, arena, lost

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.step import on_grid
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import EAST, FIRST_TARGET, NORTH, STOP, WEST

CPU = torch.device("cpu")


def test_a_marine_walks_one_and_an_eighth_units_a_step() -> None:
    env = arena("3m", [(10, 16)], [(25, 16)])
    act(env, EAST)
    assert abs(float(env.battles.x[0, 0]) - 11.125) < 1e-5
    assert float(env.battles.y[0, 0]) == 16


def test_positions_are_rounded_to_the_grid_but_not_into_the_next_cell() -> None:
    points = torch.tensor([20.00013, 20.0002, 20.99995, 21.0])  # a unit of the grid is 0.00024
    assert (on_grid(points) * 4096).tolist() == [20 * 4096 + 1, 20 * 4096 + 1, 21 * 4096 - 1, 21 * 4096]


def test_a_marine_stops_at_its_wall_margin() -> None:
    env = arena("3m", [(10, 23.9)], [(25, 16)])
    for _ in range(3):
        if not env.state_dict()["available"][0, 0, NORTH]:
            break
        act(env, NORTH)
    assert float(env.battles.y[0, 0]) == 25 - c.WALL_MARGIN


def test_a_marine_shoots_for_six_once_its_weapon_is_ready() -> None:
    env = arena("3m", [(10, 16)], [(15.5, 16)])
    reward = act(env, FIRST_TARGET)
    assert lost(env, 3) == 6
    assert abs(float(reward) - 6 * 20 / env.params.max_reward) < 1e-6
    low, high = c.COOLDOWN_JITTER_LOOPS
    left = float(env.battles.cooldown[0, 0]) + 6  # the shot fell on the second loop, six loops before
    assert 13.7728 + low - 1 <= left <= 13.7728 + high


def test_a_weapon_that_is_ready_in_seven_loops_fires_and_one_that_needs_more_does_not() -> None:
    for cooldown, damage in ((7.0, 6), (7.01, 0)):
        env = arena("3m", [(10, 16)], [(15.5, 16)])
        env.battles.last_action[0, 0] = FIRST_TARGET
        env.battles.cooldown[0, 0] = cooldown
        act(env, FIRST_TARGET)
        assert lost(env, 3) == damage


def test_a_target_out_of_reach_is_walked_to_and_shot_at() -> None:
    env = arena("3m", [(10, 16)], [(15.9, 16)])
    act(env, FIRST_TARGET)
    assert float(env.battles.x[0, 0]) > 10
    assert lost(env, 3) == 6


def test_an_ordered_stop_means_that_a_marine_holds_its_fire() -> None:
    env = arena("3m", [(10, 16)], [(14, 16)])
    act(env, STOP)
    assert lost(env, 3) == 0


def test_an_enemy_far_away_keeps_walking_and_one_in_range_shoots() -> None:
    env = arena("3m", [(10, 16)], [(15.5, 16)])
    for _ in range(4):
        act(env, STOP)
    assert lost(env, 0) >= 12
    assert float(env.battles.x[3, 0]) == 15.5


def test_an_enemy_turns_on_the_ally_that_attacks_it() -> None:
    env = arena("3m", [(12, 16), (12, 14.5)], [(16, 16)])
    for _ in range(3):
        act(env, STOP, STOP)
    assert int(env.battles.target[3, 0]) == 0
    for _ in range(8):
        act(env, STOP, FIRST_TARGET)
    assert int(env.battles.target[3, 0]) == 1


def test_two_units_that_meet_head_on_pass_each_other_without_touching() -> None:
    env = arena("3m", [(10, 16), (12, 16)], [(25, 16)])
    for _ in range(3):
        act(env, EAST, 5)
        gap = torch.hypot(env.battles.x[0] - env.battles.x[1], env.battles.y[0] - env.battles.y[1])
        assert float(gap) > 0.6
    assert float(env.battles.x[0, 0]) > float(env.battles.x[1, 0])


def test_a_marine_that_walks_ahead_keeps_its_line_when_others_run_into_its_side() -> None:
    env = arena("3m", [(9, 15.312), (9, 16), (9.688, 16)], [(25, 16)])  # the recordings' first step
    act(env, EAST, EAST, WEST)
    assert abs(float(env.battles.x[0, 0]) - 10.125) < 0.01
    assert abs(float(env.battles.y[0, 0]) - 15.312) < 0.01
    assert float(env.battles.y[2, 0]) > 16 > float(env.battles.y[1, 0]), "these two pass on their right"


def test_marines_that_touch_keep_their_formation() -> None:
    env = SimulatorEnv(load_task("3m"), 8)
    env.reset(torch.arange(8))
    before = env.battles
    for _ in range(4):
        env.step(torch.full((8, 3), int(STOP)))
    x, y = env.battles.x[3:] - before.x[3:], env.battles.y[3:] - before.y[3:]
    for way in (x, y):
        assert torch.allclose(way, way[:1].expand_as(way), atol=0.005)
    assert torch.allclose(torch.hypot(x, y), torch.full_like(x, 4 * 1.125), atol=1e-3)


def test_shields_absorb_first_and_grow_again_after_ten_seconds() -> None:
    env = arena("2s3z", [(10, 16)], [(13, 16)])
    s = env.battles
    s.shield[:] = 0
    s.shield[0], s.shield[5] = 40.0, 80.0
    s.calm[:] = 0
    act(env, FIRST_TARGET)
    assert lost(env, 5) == 0
    assert float(env.battles.shield[5, 0]) == 80 - 18
    quiet = arena("2s3z", [(5, 16)], [(25, 16)])
    quiet.battles.shield[0] = 40.0
    quiet.battles.calm[:] = 0
    for _ in range(20):
        act(quiet, STOP)
    assert float(quiet.battles.shield[0, 0]) == 40
    act(quiet, STOP)
    assert float(quiet.battles.shield[0, 0]) == 41


def test_armour_and_bonus_count() -> None:
    env = arena("2s3z", [(10, 16)], [(13, 16)])
    env.battles.shield[:] = 0
    act(env, FIRST_TARGET)
    assert lost(env, 5) == 13 + 5 - 1  # a stalker is armoured and has one point of armour


def test_a_medivac_heals_three_health_per_point_of_energy() -> None:
    places = [(10 + i, 16) for i in range(5)] + [(10 + i, 18) for i in range(5)]
    env = arena("MMM", places, [(25, 10)])
    medivac = env.task.ally_units.index("medivac")
    env.battles.health[2] = 20.0
    env.placed(env.battles)
    energy = float(env.battles.energy[medivac, 0])
    actions = [STOP] * 10
    actions[medivac] = FIRST_TARGET + 2
    act(env, *actions)
    healed = float(env.battles.health[2, 0]) - 20
    assert healed > 0
    used = energy - float(env.battles.energy[medivac, 0]) + 8 * c.ENERGY_PER_LOOP
    assert abs(healed - c.HEALTH_PER_ENERGY * used) < 1e-3


def test_a_colossus_hits_everybody_across_its_shot() -> None:
    env = arena("2c_vs_64zg", [(16, 10)], [(16, 15), (15, 15), (17, 15), (16, 16.5)])
    act(env, FIRST_TARGET)
    assert all(abs(lost(env, row) - 30) < 0.2 for row in (2, 3, 4))  # twice (10 + 5 against light)
    assert lost(env, 5) == 0


def test_a_baneling_dies_of_its_explosion_and_hurts_everybody_around() -> None:
    env = arena("bane_vs_bane", [(16, 16)], [(16.6, 16), (16.6, 17), (16.6, 21)])
    act(env, FIRST_TARGET)
    n = env.params.n_allies
    assert float(env.battles.health[0, 0]) == 0
    assert [float(env.battles.health[n + j, 0]) for j in (0, 1)] == [0, 0]
    assert lost(env, n + 2) == 0


def test_total_reward_of_a_won_battle_is_twenty() -> None:
    env = SimulatorEnv(load_task("3m"), 1)
    env.reset(torch.tensor([0]))
    s = env.battles
    s.x[3:], s.y[3:] = torch.tensor([[14.0], [14.0], [14.0]]), torch.tensor([[15.0], [16.0], [17.0]])
    s.x[:3], s.y[:3] = torch.tensor([[9.5], [9.5], [9.5]]), torch.tensor([[15.0], [16.0], [17.0]])
    observation = env.placed(s)
    total, over = 0.0, False
    while not over:
        env.battles.health[:3] = 45.0  # the allies do not die
        targets = observation.avail_actions[0, :, FIRST_TARGET:].int().argmax(1) + FIRST_TARGET
        step = env.step(targets.unsqueeze(0))
        observation, over = step.observation, bool(step.terminated)
        total += float(step.reward)
    assert bool(step.success)
    assert abs(total - 20) < 1e-4
