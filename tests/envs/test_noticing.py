"""When enemies notice, answer and settle: one measured rule at a time, over many seeds."""

from __future__ import annotations

import torch
from arenas import act, arena

from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.step import game_loop, prepared
from hygen_lightning.specs import FIRST_TARGET, STOP
from hygen_lightning.tasks import load_task

N_BATTLES = 400


def first_loops(env: SimulatorEnv, enemy: int) -> torch.Tensor:
    """[B]: the loop of one step in which the enemy first has a target, while the allies stop; 8 for none."""
    orders = torch.full((env.roster.n_allies, env.n_battles), int(STOP))
    s, plan = prepared(env.roster, env.battles, orders)
    first = torch.full((env.n_battles,), 8)
    for loop in torch.arange(8).unbind():
        s = game_loop(env.roster, env.terrain, s, plan, loop)
        first = torch.where((s.target[enemy] >= 0) & (first == 8), loop, first)
    return first


def test_whoever_comes_near_is_noticed_within_eight_loops_each_as_likely() -> None:
    env = arena("3m", [(10, 16)], [(15, 16)], N_BATTLES)
    counts = torch.bincount(first_loops(env, 3), minlength=9)
    assert int(counts[8]) == 0
    assert bool((counts[:8] > N_BATTLES / 16).all())
    assert bool((counts[:8] < N_BATTLES / 4).all())


def test_nobody_is_noticed_beyond_the_weapon_range_and_its_margin() -> None:
    env = arena("3m", [(9.7, 16)], [(16, 16)], N_BATTLES)  # 6.3 away, 6.25 are seen
    assert bool((first_loops(env, 3) == 8).all())


def test_an_enemy_that_notices_shoots_in_the_third_loop() -> None:
    env = arena("3m", [(10, 16)], [(15, 16)], N_BATTLES)
    noticed = first_loops(env, 3)
    act(env, STOP)
    assert torch.equal(env.battles.health[0] < 45, noticed <= 5)


def test_one_shot_wakes_all_enemies_near_the_shooter_at_once() -> None:
    near, far = (15.5, 16), (16.9, 16)  # the shooter stands at 10: in its range, and 6.9 away
    env = arena("3m", [(10, 16)], [near, far, (18, 16)], N_BATTLES)
    s, plan = prepared(env.roster, env.battles, torch.tensor([[FIRST_TARGET], [0], [0]]).expand(3, N_BATTLES))
    plan.look = torch.full_like(plan.look, 7)
    for loop in torch.arange(3).unbind():
        assert bool((s.target[3:] == -1).all())
        s = game_loop(env.roster, env.terrain, s, plan, loop)
    assert bool((s.target[3:5] == 0).all())
    assert bool((s.target[5] == -1).all())  # 8 away


def test_an_enemy_that_looks_around_gives_up_a_target_out_of_range_for_one_in_range() -> None:
    for x, target in ((10.3, 0), (10.2, 1)):  # 5.7 and 5.8 away; a Marine reaches 5.75
        env = arena("3m", [(x, 16), (12, 16)], [(16, 16)])
        env.battles.target[3] = 0
        s, plan = prepared(env.roster, env.battles, torch.tensor([[STOP], [STOP], [0]]))
        plan.look = torch.full_like(plan.look, 0)
        s = game_loop(env.roster, env.terrain, s, plan, torch.tensor(0))
        assert int(s.target[3, 0]) == target


def test_an_enemy_that_has_just_shot_does_not_look_for_a_better_target() -> None:
    for cooldown, switched in ((13.7, False), (5.0, True)):
        env = arena("3m", [(12, 16), (12, 14.5)], [(16, 16)], N_BATTLES)
        env.battles.target[3], env.battles.cooldown[3] = 0, cooldown
        s, plan = prepared(
            env.roster, env.battles, torch.tensor([[STOP], [FIRST_TARGET], [0]]).expand(3, N_BATTLES)
        )
        plan.look = torch.full_like(plan.look, 2)
        for loop in torch.arange(4).unbind():
            s = game_loop(env.roster, env.terrain, s, plan, loop)
        assert bool((s.target[3] == int(switched)).all())


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
