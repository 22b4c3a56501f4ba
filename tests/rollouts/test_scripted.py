"""Scripted policies: hand-placed situations, and availability under random ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hygen_lightning.rollouts.headings import towards_arc
from hygen_lightning.rollouts.scripted import SCRIPTED_POLICIES, scripted_policy
from hygen_lightning.specs import Observation, TaskSpec, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import (
    EAST,
    FIRST_TARGET,
    NO_OP,
    NORTH,
    SOUTH,
    STATE_CENTRE,
    STATE_EXTENT,
    STOP,
    WEST,
)

DETERMINISTIC = [name for name in SCRIPTED_POLICIES if name != "random"]


def placed(
    task: TaskSpec,
    allies: list[tuple[float, float]],
    enemies: list[tuple[float, float]],
    ally_health: list[float] | None = None,
    enemy_health: list[float] | None = None,
    cooldown: list[float] | None = None,
) -> Observation:
    """One battle with units at these map positions; attacks are available within 6 map units."""
    layout = task.layout
    state = torch.zeros(1, layout.state_dim)
    ally_rows, enemy_rows, _ = layout.split_state(state)  # views into `state`
    ally_xy, enemy_xy = torch.tensor(allies).float(), torch.tensor(enemies).float()
    ally_rows[0, :, 0] = torch.tensor(ally_health or [1.0] * task.n_allies)
    ally_rows[0, :, 1] = torch.tensor(cooldown or [0.0] * task.n_allies)
    ally_rows[0, :, 2:4] = (ally_xy - STATE_CENTRE) / STATE_EXTENT
    enemy_rows[0, :, 0] = torch.tensor(enemy_health or [1.0] * task.n_enemies)
    enemy_rows[0, :, 1:3] = (enemy_xy - STATE_CENTRE) / STATE_EXTENT
    avail = torch.ones(1, task.n_allies, layout.n_actions, dtype=torch.bool)
    reach = torch.cdist(ally_xy, enemy_xy) <= 6.0
    avail[0, :, FIRST_TARGET:] = reach & (enemy_rows[0, :, 0] > 0)
    avail[0, :, NO_OP] = False
    dead = ally_rows[0, :, 0] == 0
    avail[0, dead] = False
    avail[0, dead, NO_OP] = True
    return Observation(torch.zeros(1, task.n_allies, layout.obs_dim), state, avail)


def actions_of(name: str, task: TaskSpec, observation: Observation) -> list[int]:
    policy = scripted_policy(name)
    hidden = policy.initial_hidden(task, 1)
    nothing_yet = torch.full(observation.avail_actions.shape[:2], -1)
    return policy.act(task, observation, nothing_yet, torch.zeros(1), hidden).actions[0].tolist()


def actions_while_hurt(
    name: str, task: TaskSpec, place: tuple[Any, Any], healths: list[list[float]]
) -> list[list[int]]:
    """What a policy does at each step, allies having these healths then."""
    policy = scripted_policy(name)
    hidden, chosen = policy.initial_hidden(task, 1), []
    for health in healths:
        observation = placed(task, *place, ally_health=health)
        output = policy.act(task, observation, torch.full((1, 3), -1), torch.zeros(1), hidden)
        hidden = output.hidden
        chosen.append(output.actions[0].tolist())
    return chosen


def test_the_state_is_read_back_in_map_units() -> None:
    task = load_task("2s3z")
    observation = placed(task, [(9.0, 16.0 + i) for i in range(5)], [(23.0, 10.0 + i) for i in range(5)])
    allies, enemies = task.sides(observation.state)
    assert allies.position[0, 2].tolist() == pytest.approx([9.0, 18.0], abs=1e-5)
    assert enemies.position[0, 4].tolist() == pytest.approx([23.0, 14.0], abs=1e-5)
    assert allies.shield.tolist() == [[0.0] * 5]
    assert bool(allies.alive.all())


def test_nearest_attack_shoots_the_nearest_and_walks_when_none_is_in_range() -> None:
    task = load_task("3m")
    observation = placed(task, [(10, 16), (12, 16), (2, 16)], [(14, 16), (13, 16), (15, 20)])
    assert actions_of("nearest_attack", task, observation) == [FIRST_TARGET + 1, FIRST_TARGET + 1, EAST]


def test_nearest_attack_goes_around_what_blocks_its_way() -> None:
    task = load_task("3m")
    observation = placed(task, [(5, 16), (5, 17), (5, 18)], [(20, 20), (20, 20), (20, 20)])
    observation.avail_actions[..., EAST] = False
    assert actions_of("nearest_attack", task, observation) == [NORTH, NORTH, NORTH]


def test_nearest_attack_stands_still_rather_than_walk_away() -> None:
    task = load_task("3m")
    observation = placed(task, [(5, 16), (5, 16), (5, 16)], [(20, 16), (20, 16), (20, 16)])
    observation.avail_actions[..., EAST] = False
    assert actions_of("nearest_attack", task, observation) == [STOP, STOP, STOP]


def test_nearest_attack_ignores_dead_enemies() -> None:
    task = load_task("3m")
    observation = placed(
        task, [(10, 16), (12, 16), (2, 16)], [(14, 16), (13, 16), (15, 20)], enemy_health=[0.2, 0, 1]
    )
    assert actions_of("nearest_attack", task, observation)[:2] == [FIRST_TARGET, FIRST_TARGET]


def test_smac_heuristic_keeps_its_target_until_that_is_dead_and_attacks_no_other() -> None:
    task, policy = load_task("3m"), scripted_policy("smac_heuristic")
    hidden, nothing_yet = policy.initial_hidden(task, 1), torch.full((1, 3), -1)
    allies = [(10.0, 16.0), (12.0, 16.0), (2.0, 16.0)]
    chosen = []
    for enemies, health in (
        ([(14, 16), (15, 16), (30, 2)], [1, 1, 1]),  # the first is the nearest to all three
        ([(22, 16), (15, 16), (30, 2)], [1, 1, 1]),  # it has gone: they follow it past the second
        ([(22, 16), (15, 16), (30, 2)], [0, 1, 1]),  # it is dead: now the second
    ):
        out = policy.act(
            task, placed(task, allies, enemies, enemy_health=health), nothing_yet, torch.zeros(1), hidden
        )
        hidden = out.hidden
        chosen.append(out.actions[0].tolist())
    assert chosen == [
        [FIRST_TARGET, FIRST_TARGET, EAST],
        [EAST, EAST, EAST],
        [FIRST_TARGET + 1, FIRST_TARGET + 1, EAST],
    ]


def test_focus_fire_agrees_on_the_weakest_enemy() -> None:
    task = load_task("3m")
    observation = placed(
        task, [(10, 16), (12, 16), (11, 17)], [(14, 16), (13, 16), (14, 18)], enemy_health=[1, 1, 0.5]
    )
    assert actions_of("focus_fire", task, observation) == [FIRST_TARGET + 2] * 3


def test_focus_fire_takes_the_next_in_order_when_the_weakest_is_out_of_range() -> None:
    task = load_task("3m")
    observation = placed(
        task, [(10, 16), (12, 16), (16, 16)], [(14, 16), (13, 16), (20, 16)], enemy_health=[0.9, 1, 0.1]
    )
    assert actions_of("focus_fire", task, observation) == [FIRST_TARGET, FIRST_TARGET, FIRST_TARGET + 2]


def test_focus_fire_waits_for_enemies_that_come_and_walks_to_those_that_hold() -> None:
    far = {"3m": STOP, "2s_vs_1sc": EAST}
    for name, expected in far.items():
        task = load_task(name)
        observation = placed(
            task,
            [(5, 16 + i) for i in range(task.n_allies)],
            [(25, 16 + i) for i in range(task.n_enemies)],
        )
        assert actions_of("focus_fire", task, observation) == [expected] * task.n_allies


def test_kiting_steps_back_only_while_the_weapon_cools_and_melee_is_near() -> None:
    task = load_task("3s_vs_3z")
    near = [(12.0, 16.0), (25.0, 16.0), (25.0, 18.0)]
    allies = [(10.0, 16.0), (10.0, 16.5), (3.0, 16.0)]
    hot = placed(task, allies, near, cooldown=[0.8, 0.0, 0.8])
    first, second, third = actions_of("kiting", task, hot)
    assert first == WEST
    assert second == FIRST_TARGET
    assert third == EAST, "out of danger it closes up, cooling or not"


def test_kiting_shoots_marines_like_focus_fire() -> None:
    task = load_task("3m")
    observation = placed(
        task, [(10, 16), (12, 16), (11, 17)], [(14, 16), (13, 16), (14, 18)], cooldown=[1, 1, 1]
    )
    assert actions_of("kiting", task, observation) == actions_of("focus_fire", task, observation)


def test_kiting_in_a_corner_attacks_rather_than_stand_idle() -> None:
    task = load_task("3s_vs_3z")
    observation = placed(task, [(3, 16)] * 3, [(5, 16)] * 3, cooldown=[0.8] * 3)
    observation.avail_actions[..., WEST] = False
    assert all(action >= FIRST_TARGET for action in actions_of("kiting", task, observation))


def test_melee_allies_attack_the_nearest_and_ranged_ones_the_weakest() -> None:
    task = load_task("2s3z")
    allies = [(12.0, 16.0), (12.0, 17.0), (13.0, 16.0), (13.0, 17.0), (13.0, 18.0)]
    enemies = [(17.5, 16.0), (17.5, 17.0), (15.0, 16.0), (15.0, 17.0), (15.0, 18.0)]
    observation = placed(task, allies, enemies, enemy_health=[0.3, 1, 1, 1, 1])
    assert actions_of("focus_fire", task, observation) == [
        FIRST_TARGET + target for target in (0, 0, 2, 3, 4)
    ]


def test_allies_that_wait_spread_into_an_arc_around_the_first_enemy() -> None:
    task = load_task("5m")
    bunch = [(10.0, 16.0 + 0.05 * k) for k in range(-2, 3)]
    observation = placed(task, bunch, [(17.0, 16.0)] * 5)
    way = towards_arc(*task.sides(observation.state))[0]
    # Neighbours 0.8 apart on a circle of radius 7: angles of 0, 0.8/7 and 1.6/7 to the middle one,
    # so places are 7 sin(angle) to the side and 7 (1 - cos(angle)) ahead, less the mean of that.
    ahead = [7 * (1 - math.cos(angle)) for angle in (0, 0.8 / 7, 1.6 / 7)]
    mean_ahead = (ahead[0] + 2 * ahead[1] + 2 * ahead[2]) / 5
    side, forward = 7 * math.sin(1.6 / 7) - 0.1, ahead[2] - mean_ahead
    length = math.hypot(side, forward)
    assert way[4].tolist() == pytest.approx([forward / length, side / length], abs=1e-4)
    assert way[0].tolist() == pytest.approx([forward / length, -side / length], abs=1e-4)
    assert way[2].tolist() == [0.0, 0.0]


def test_kiting_leaves_the_range_of_shooters_while_hit_and_comes_back() -> None:
    task = load_task("3m")
    place = ([(10, 16), (10, 17), (10, 18)], [(15, 16), (15, 17), (15, 18)])
    chosen = actions_while_hurt("kiting", task, place, [[1, 1, 1], *[[0.6, 0.8, 1]] * 4])
    attacks = [[action >= FIRST_TARGET for action in actions] for actions in chosen]
    assert attacks[0] == [True, True, True]
    assert attacks[1:4] == [[False, True, True]] * 3, "hit and weaker than 70 % of the strongest: it leaves"
    assert attacks[4] == [True, True, True]


def test_pull_back_meets_the_nearest_enemy_and_shoots_the_weakest_in_range() -> None:
    task = load_task("3m")
    far = placed(task, [(5, 16), (5, 17), (5, 18)], [(20, 16), (20, 17), (20, 18)])
    assert actions_of("pull_back", task, far) == [EAST, EAST, EAST]
    near = placed(
        task, [(10, 16), (7, 16), (15, 25)], [(15, 16), (15, 17), (19, 16)], enemy_health=[1, 0.5, 0.1]
    )
    assert actions_of("pull_back", task, near) == [FIRST_TARGET + 1, EAST, SOUTH], "whatever others do"


def test_pull_back_leaves_the_enemies_only_when_hit_lately_and_hurt() -> None:
    task = load_task("3m")
    place = ([(10, 16), (10, 17), (10, 18)], [(15, 16), (15, 17), (15, 18)])
    chosen = actions_while_hurt("pull_back", task, place, [[1, 1, 1], *[[0.45, 0.55, 1]] * 5])
    assert [actions[0] for actions in chosen[1:5]] == [WEST] * 4
    assert all(action >= FIRST_TARGET for action in (*chosen[0], *chosen[5], chosen[1][1], chosen[1][2]))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_medivac_heals_the_most_hurt_ally_in_reach(name: str) -> None:
    task = load_task("MMM")
    medivac = task.ally_units.index("medivac")
    health = [1.0] * task.n_allies
    health[3], health[4], health[medivac] = 0.4, 0.2, 0.1
    observation = placed(
        task,
        [(10, 12 + i) for i in range(task.n_allies)],
        [(25, 12 + i) for i in range(task.n_enemies)],
        ally_health=health,
    )
    observation.avail_actions[0, medivac, FIRST_TARGET:] = True
    observation.avail_actions[0, medivac, FIRST_TARGET + 4] = False
    assert actions_of(name, task, observation)[medivac] == FIRST_TARGET + 3
    observation.avail_actions[0, medivac, FIRST_TARGET:] = False
    south_to_patient_4 = 3
    assert actions_of(name, task, observation)[medivac] == south_to_patient_4


@pytest.mark.parametrize("name", sorted(SCRIPTED_POLICIES))
@settings(max_examples=25, deadline=None)
@given(
    task_name=st.sampled_from(["3m", "MMM2", "2s3z", "bane_vs_bane", "2s_vs_1sc", "2m_vs_1z"]),
    seed=st.integers(0, 2**31),
)
def test_scripted_policies_choose_available_actions_only(name: str, task_name: str, seed: int) -> None:
    task = load_task(task_name)
    generator = torch.Generator().manual_seed(seed)
    shape = (7, task.n_allies, task.layout.n_actions)
    avail = torch.rand(shape, generator=generator) < 0.3
    avail[..., NO_OP] |= ~avail.any(dim=-1)
    state = torch.rand(7, task.layout.state_dim, generator=generator) * 2 - 1
    observation = Observation(torch.zeros(7, task.n_allies, task.layout.obs_dim), state, avail)
    policy = scripted_policy(name, seed)
    hidden = policy.initial_hidden(task, 7)
    actions = policy.act(task, observation, torch.full(shape[:2], -1), torch.zeros(shape[0]), hidden).actions
    assert actions.shape == shape[:2]
    assert actions.dtype == torch.int64
    assert bool(avail.gather(-1, actions[..., None]).all())


def test_random_uses_every_available_action_and_repeats_with_its_seed() -> None:
    task = load_task("3m")
    observation = placed(task, [(10, 16)] * 3, [(14, 16)] * 3)
    runs = []
    for seed in (1, 1, 2):
        policy = scripted_policy("random", seed)
        before = torch.full((1, 3), -1), torch.zeros(1), None
        acts = [policy.act(task, observation, *before).actions for _ in range(200)]
        runs.append(torch.cat(acts))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    counts = torch.bincount(runs[0].flatten(), minlength=task.layout.n_actions)
    assert counts[NO_OP] == 0
    assert counts[1:].min() > 600 / 8 / 2, "each of the 8 available actions about as often"


def test_an_unknown_name_and_a_task_without_battle_are_one_clear_line() -> None:
    with pytest.raises(UserError, match="unknown policy 'kyte'; choose one of random"):
        scripted_policy("kyte")
    with pytest.raises(UserError, match="cn-3"):
        scripted_policy("kiting").initial_hidden(load_task("cn-3"), 1)
