"""When enemies notice, look around and change targets: one measured rule at a time."""

from __future__ import annotations

import pytest
import torch
from arenas import NEVER, act, after, arena

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.step import game_loop, give_orders
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import FIRST_TARGET, NO_OP, STOP

N_BATTLES = 400


def first_loops(env: SimulatorEnv, enemy: int) -> torch.Tensor:
    """[B]: the loop of one step in which the enemy first has a target, while the allies stop; 8 for none."""
    orders = torch.full((env.params.n_allies, env.num_envs), int(STOP))
    s, plan = give_orders(env.params, env.battles, orders)
    first = torch.full((env.num_envs,), 8)
    for loop in torch.arange(8).unbind():
        s = game_loop(env.params, env.terrain, s, plan, loop)
        first = torch.where((s.target[enemy] >= 0) & (first == 8), loop, first)
    return first


def test_whoever_comes_near_is_noticed_within_eight_loops_each_as_likely() -> None:
    env = arena("3m", [(10, 16)], [(15, 16)], N_BATTLES)
    counts = torch.bincount(first_loops(env, 3), minlength=9)
    assert int(counts[8]) == 0
    assert bool((counts[:8] > N_BATTLES / 16).all())
    assert bool((counts[:8] < N_BATTLES / 4).all())


def test_whoever_stays_beyond_the_distance_of_noticing_is_not_noticed() -> None:
    for x, noticed in ((9.7, False), (9.8, True)):  # 6.3 and 6.2 away, 6.25 are seen
        env = arena("3m", [(x, 16)], [(16, 16)], N_BATTLES)
        assert bool(((first_loops(env, 3) < 8) == noticed).all())


def test_an_enemy_that_notices_shoots_in_the_third_loop() -> None:
    env = arena("3m", [(10, 16)], [(15, 16)], N_BATTLES)
    noticed = first_loops(env, 3)
    act(env, STOP)
    assert torch.equal(env.battles.health[0] < 45, noticed <= 5)


def test_one_shot_wakes_all_enemies_in_hearing_at_once() -> None:
    near, hears, does_not = (15.5, 16), (17.45, 16), (17.55, 15.9)  # the shooter stands at 10; 7.5 are heard
    env = arena("3m", [(10, 16)], [near, hears, does_not])
    shoot = [int(FIRST_TARGET), int(NO_OP), int(NO_OP)]
    assert after(env, shoot, look=7, loops=2).target[3:, 0].tolist() == [-1, -1, -1]
    assert after(env, shoot, look=7, loops=3).target[3:, 0].tolist() == [0, 0, -1]


def test_an_enemy_that_is_shot_at_turns_on_the_shooter_the_others_on_the_nearest() -> None:
    env = arena("3m", [(10, 16), (9, 16)], [(14.6, 16), (16.8, 16)])  # the second one hears
    s = after(env, [int(STOP), int(FIRST_TARGET), int(NO_OP)], look=7, loops=3)
    assert s.target[3:5, 0].tolist() == [1, 0]


def test_of_two_who_shoot_at_once_the_lot_decides() -> None:
    env = arena("3m", [(10, 16), (10.5, 16)], [(15.5, 16)], N_BATTLES)
    orders = torch.tensor([int(FIRST_TARGET), int(FIRST_TARGET), int(NO_OP)]).unsqueeze(1)
    s, plan = give_orders(env.params, env.battles, orders.expand(3, N_BATTLES))
    plan.look = torch.full_like(plan.look, NEVER)
    for loop in torch.arange(3).unbind():
        s = game_loop(env.params, env.terrain, s, plan, loop)
    chosen = torch.bincount(s.target[3], minlength=2)
    assert chosen.tolist() == [int((plan.lot[0] < plan.lot[1]).sum()), int((plan.lot[0] > plan.lot[1]).sum())]
    assert 0.4 < float(chosen[0]) / N_BATTLES < 0.6


def test_an_enemy_that_looks_around_gives_up_a_target_out_of_range_for_one_in_range() -> None:
    for x, target in ((10.3, 0), (10.2, 1)):  # 5.7 and 5.8 away; a Marine reaches 5.75
        env = arena("3m", [(x, 16), (12, 16)], [(16, 16)])
        env.battles.target[3] = 0
        stay = [int(STOP), int(STOP), int(NO_OP)]
        assert int(after(env, stay, look=0, loops=1).target[3, 0]) == target


@pytest.mark.parametrize(
    ("name", "chased", "answered"),
    [
        # 5 and the radii of Stalker and Zealot, 0.625 + 0.5; the Zealot's weapon reaches 0.1 + 1.125 only
        ("3s_vs_5z", 4.0, 6.125),
        ("3s_vs_5z", 1.2, 6.125),  # the same while it hits its target
        ("3m", 5.6, 5.75),  # a Marine's own reach, 5 + 0.75
    ],
)
def test_enemies_turn_to_attackers_within_their_range_but_melee_ones_within_five(
    name: str, chased: float, answered: float
) -> None:
    for distance, target in ((answered - 0.01, 1), (answered + 0.01, 0)):
        env = arena(name, [(16 - chased, 16), (16 - distance, 16)], [(16, 16)])
        env.battles.target[3], env.battles.cooldown[3] = 0, 8.0
        attacked = [int(STOP), int(FIRST_TARGET), int(NO_OP)]
        assert int(after(env, attacked, look=0, loops=1).target[3, 0]) == target


def test_an_enemy_looks_around_every_eight_loops_from_its_first_target_in_range() -> None:
    env = arena("3m", [(10, 16)], [(15, 16)], N_BATTLES)
    noticed = first_loops(env, 3)
    act(env, STOP)
    assert torch.equal(env.battles.look_loop[0], noticed)


def test_with_its_target_in_range_an_enemy_looks_at_its_own_time_else_at_one_drawn_anew() -> None:
    for x, look_loop, drawn, target in ((12, 0, 5, 1), (12, 5, 0, 0), (10.2, 5, 0, 1), (10.2, 0, 5, 0)):
        env = arena("3m", [(x, 16), (12, 14.5)], [(16, 16)])  # 4 or 5.8 away; 5.75 are reached
        env.battles.target[3], env.battles.cooldown[3] = 0, 8.0
        env.battles.look_loop[0] = look_loop
        attacked = torch.tensor([int(STOP), int(FIRST_TARGET), int(NO_OP)]).unsqueeze(1)
        s, plan = give_orders(env.params, env.battles, attacked)
        plan.look = torch.full_like(plan.look, drawn)
        s = game_loop(env.params, env.terrain, s, plan, torch.tensor(0))
        assert int(s.target[3, 0]) == target


def test_eight_loops_are_counted_from_the_death_of_the_last_target_wherever_the_next_one_is() -> None:
    for x in (12, 10.2):
        env = arena("3m", [(11, 16), (x, 16)], [(16, 16)])
        env.battles.target[3], env.battles.health[0] = 0, 0.0
        s, plan = give_orders(env.params, env.battles, torch.tensor([[NO_OP], [STOP], [NO_OP]]))
        s = game_loop(env.params, env.terrain, s, plan, torch.tensor(6))
        assert (int(s.target[3, 0]), int(s.look_loop[0, 0])) == (1, 6)


def test_when_it_looks_around_is_drawn_if_its_first_target_is_out_of_range() -> None:
    env = arena("3m", [(9.9, 16)], [(16, 16)], N_BATTLES)  # 6.1 away: seen, and not in range
    s, plan = give_orders(env.params, env.battles, torch.full((3, N_BATTLES), int(STOP)))
    plan.look = torch.zeros_like(plan.look)
    s = game_loop(env.params, env.terrain, s, plan, torch.tensor(0))
    assert bool((s.target[3] == 0).all())
    assert bool((torch.bincount(s.look_loop[0], minlength=8) > N_BATTLES / 16).all())


def test_an_attacker_out_of_range_is_none() -> None:
    for x, target in ((10.2, 0), (10.3, 1)):  # 5.8 and 5.7 away; 5.75 are reached
        env = arena("3m", [(12, 16), (x, 16)], [(16, 16)])
        env.battles.target[3], env.battles.cooldown[3] = 0, 10.0
        attacked = [int(STOP), int(FIRST_TARGET), int(NO_OP)]
        assert int(after(env, attacked, look=0, loops=1).target[3, 0]) == target


def test_an_enemy_keeps_a_target_that_it_has_shot_at_and_that_attacks_it() -> None:
    for not_shot_at, target_attacks, target in ((False, True, 0), (False, False, 1), (True, True, 1)):
        env = arena("3m", [(12, 14.5), (12, 16)], [(16, 16)])
        env.battles.target[3], env.battles.cooldown[3] = 0, 8.0
        env.battles.not_shot_at[0] = not_shot_at
        actions = [int(FIRST_TARGET if target_attacks else STOP), int(FIRST_TARGET), int(NO_OP)]
        assert int(after(env, actions, look=3, loops=4).target[3, 0]) == target


def test_an_enemy_whose_look_falls_on_its_shot_looks_one_loop_later_for_good() -> None:
    env = arena("3m", [(12, 14.5), (12, 16)], [(16, 16)])
    env.battles.target[3], env.battles.cooldown[3] = 0, 7.0
    s = after(env, [int(STOP), int(STOP), int(NO_OP)], look=7, loops=8)
    assert s.health[:2, 0].tolist() == [39, 45]
    assert int(s.look_loop[0, 0]) == 0, "the loop after the last one is the first of the next step"


def test_an_enemy_shoots_first_and_looks_around_in_the_next_loop() -> None:
    for loops, target, looks in ((1, 0, 1), (2, 1, 1)):
        env = arena("3m", [(12, 14.5), (12, 16)], [(16, 16)])
        env.battles.target[3], env.battles.cooldown[3] = 0, 0.0
        s = after(env, [int(STOP), int(FIRST_TARGET), int(NO_OP)], look=0, loops=loops)
        assert s.health[:2, 0].tolist() == [39, 45]
        assert (int(s.target[3, 0]), int(s.look_loop[0, 0])) == (target, looks)


@pytest.mark.parametrize(("x", "cooldown"), [(12, 8 + c.ANSWER_LOOPS), (10.2, 8)])
def test_turning_to_an_attacker_from_a_target_in_range_that_is_none_delays_the_shot(
    x: float, cooldown: float
) -> None:
    env = arena("3m", [(x, 16), (12, 14.5)], [(16, 16)])
    env.battles.target[3], env.battles.cooldown[3] = 0, 9.0
    s = after(env, [int(STOP), int(FIRST_TARGET), int(NO_OP)], look=0, loops=1)
    assert int(s.target[3, 0]) == 1
    assert float(s.cooldown[3, 0]) == cooldown


def test_an_enemy_that_nobody_attacks_keeps_its_target() -> None:
    env = arena("3m", [(12, 14.5), (12, 16)], [(16, 16)])
    env.battles.target[3], env.battles.cooldown[3] = 0, 8.0
    assert int(after(env, [int(STOP), int(STOP), int(NO_OP)], look=0, loops=8).target[3, 0]) == 0


def test_a_later_target_that_does_not_attack_it_is_given_up_unless_shot_at_or_the_shot_is_near() -> None:
    cases = [(12, True, STOP, 2.1, 1), (12, True, STOP, 1.9, 0), (12, False, STOP, 2.1, 0)]
    cases += [(12, True, FIRST_TARGET, 2.1, 0), (10.2, True, STOP, 2.1, 0)]  # it attacks; it is out of range
    for x, not_shot_at, action, cooldown, target in cases:
        env = arena("3m", [(x, 16.1), (12, 16)], [(16, 16)])
        env.battles.target[3], env.battles.cooldown[3] = 0, cooldown
        env.battles.not_shot_at[0] = not_shot_at
        orders = [int(action), int(STOP), int(NO_OP)]
        assert int(after(env, orders, look=NEVER, loops=1).target[3, 0]) == target


def test_a_first_target_counts_as_shot_at() -> None:
    env = arena("3m", [(12, 16)], [(16, 16)])
    s = after(env, [int(STOP), int(NO_OP), int(NO_OP)], look=0, loops=1)
    assert int(s.target[3, 0]) == 0
    assert not bool(s.not_shot_at[0, 0])


def test_a_later_target_is_marked_until_it_is_shot_at() -> None:
    for loops, not_shot_at in ((1, True), (3, True), (4, False)):  # it looks in loop 0 and shoots in loop 3
        env = arena("3m", [(12, 16), (12, 14.5)], [(16, 16)])
        env.battles.target[3], env.battles.cooldown[3] = 0, 3.0 - c.ANSWER_LOOPS
        attacked = [int(STOP), int(FIRST_TARGET), int(NO_OP)]
        assert bool(after(env, attacked, look=0, loops=loops).not_shot_at[0, 0]) == not_shot_at


def test_orders_that_arrive_with_a_first_look_do_not_count_in_it() -> None:
    for look, target in ((0, 0), (1, 1)):
        env = arena("3m", [(12, 16), (12, 14.5)], [(16, 16)])
        attacked = [int(STOP), int(FIRST_TARGET), int(NO_OP)]
        assert int(after(env, attacked, look=look, loops=look + 1).target[3, 0]) == target


def test_who_is_shot_at_answers_a_loop_before_the_others() -> None:
    env = arena("3m", [(12, 16)], [(16, 16), (16, 17)])
    shoot = [int(FIRST_TARGET), int(NO_OP), int(NO_OP)]  # in loop 1
    health = [float(after(env, shoot, look=NEVER, loops=n).health[0, 0]) for n in (2, 3, 4)]
    assert health == [45, 39, 33]


def test_after_the_death_of_its_target_a_ready_weapon_waits_one_loop() -> None:
    env = arena("3m", [(11, 16), (12, 14.5), (12, 16)], [(16, 16)])
    env.battles.target[3], env.battles.health[2] = 2, 0.0
    stay = [int(STOP), int(STOP), int(NO_OP)]
    health = [float(after(env, stay, look=NEVER, loops=n).health[1, 0]) for n in (1, 2)]
    assert health == [45, 39]


def test_an_enemy_whose_target_dies_takes_the_nearest_at_first_whoever_attacks_it() -> None:
    env = arena("3m", [(11, 16), (12, 14.5), (12, 16)], [(16, 16)])
    env.battles.target[3], env.battles.health[2] = 2, 0.0
    attacked = [int(FIRST_TARGET), int(STOP), int(NO_OP)]
    s = after(env, attacked, look=NEVER, loops=1)
    assert int(s.target[3, 0]) == 1
    assert bool(s.not_shot_at[0, 0])


def test_an_enemy_walks_again_twelve_loops_after_its_shot() -> None:
    env = arena("3m", [(10, 16), (9.5, 16)], [(15.5, 16)])
    env.battles.target[3], env.battles.cooldown[3], env.battles.health[0] = 0, 0.0, 6.0  # it kills
    act(env, STOP, STOP)
    for loops, x in ((4, 15.5), (5, 15.5 - 9 / 64)):  # eight and four loops stands, then comes nearer
        assert float(after(env, [int(NO_OP), int(STOP), int(NO_OP)], look=NEVER, loops=loops).x[3, 0]) == x


def test_backswing_is_the_unit_s_own() -> None:
    env = arena("MMM", [(10, 16)], [(15, 16)])  # a Marauder and a Marine
    r, s = env.params, env.battles
    marine, marauder = (r.names.index(name, r.n_allies) for name in ("marine", "marauder"))
    s.health[marauder], s.x[marauder], s.y[marauder] = 125.0, 15.0, 17.5
    env.placed(s)
    for row in (marine, marauder):
        env.battles.target[row], env.battles.cooldown[row] = 0, 0.0
    actions = [int(STOP)] + [int(NO_OP)] * (r.n_allies - 1)
    s = after(env, actions, look=NEVER, loops=1)
    assert float(s.health[0, 0]) == 125 - 5 - 19  # a Marauder: one armour, armoured
    assert [float(s.backswing_left[row, 0]) for row in (marine, marauder)] == [11.0, 0.0]


def test_a_baneling_gives_up_a_target_out_of_range_too() -> None:
    env = arena("so_many_baneling", [(10, 16), (14.5, 16)], [(16, 16)])
    n = env.params.n_allies
    env.battles.target[n], env.battles.cooldown[n] = 0, c.WIND_UP_LOOPS  # it walks to its target
    stay = [int(STOP), int(STOP)] + [int(NO_OP)] * (n - 2)
    assert int(after(env, stay, look=0, loops=1).target[n, 0]) == 1


def test_an_order_to_heal_wakes_nobody() -> None:
    env = SimulatorEnv(load_task("MMM"), 1)
    env.reset(torch.tensor([3]))
    s, r = env.battles, env.params
    healer, patient = r.names.index("medivac"), r.names.index("marine")
    enemy = r.names.index("marine", r.n_allies)
    lives = torch.isin(torch.arange(r.n_units), torch.tensor([healer, patient, enemy])).unsqueeze(1)
    s.health = torch.where(lives, r.health, 0.0)
    s.health[patient] = 20.0
    s.x[healer], s.x[patient], s.x[enemy] = 10.0, 9.0, 16.8  # 6.8 from the Medivac: heard, not seen
    s.y[:] = 16.0
    env.placed(s)
    env.battles.goal_x, env.battles.goal_y = s.x[r.n_allies :].clone(), s.y[r.n_allies :].clone()
    actions = [int(NO_OP)] * r.n_allies
    actions[patient], actions[healer] = int(STOP), int(FIRST_TARGET) + patient
    assert int(after(env, actions, look=9, loops=6).target[enemy, 0]) == -1
