"""How units walk around one another: one measured rule at a time."""

from __future__ import annotations

import math

import pytest
import torch
from arenas import act, after, arena
from torch import Tensor

from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.walking import walk
from hygen_lightning.tasks.battles import EAST, FIRST_TARGET, NO_OP, WEST

V = 9 / 64
"""Map units that a Marine walks in a game loop."""
TOUCH = 0.6885
"""Closest distance of two Marines, in map units."""
HARD, SOFT = 0.064, 0.061
"""Lots on both sides of one half: eight times the lot, less its whole part, is 0.512 and 0.488."""


def walked(
    places: list[tuple[float, float]], ways: list[tuple[float, float]], lot: float = HARD, target: int = 0
) -> Tensor:
    """[E, 2]: where three enemies are after one loop of these ways, in map units per loop."""
    env = arena("3m", [(4, 4)], places)
    s = env.battles
    s.target = torch.full_like(s.target, target)
    s.walked = torch.ones_like(s.walked)
    still = [0.0] * env.params.n_allies
    vx, vy = (torch.tensor(still + [way[i] for way in ways]).unsqueeze(1) for i in (0, 1))
    walk(env.params, env.terrain, s, vx, vy, torch.full_like(s.x, lot))
    return torch.stack([s.x[3:, 0], s.y[3:, 0]], dim=1)


@pytest.mark.parametrize(("target", "turn"), [(0, c.SLIDE_TURN), (-1, c.AIMLESS_SLIDE_TURN)])
def test_who_walks_into_one_that_stands_turns_aside_and_is_pushed_out(target: int, turn: float) -> None:
    places = [(10.0, 16.0), (10.0 + TOUCH, 16.001), (30.0, 30.0)]
    end = walked(places, [(0, 0), (-V, 0), (0, 0)], target=target)
    assert end[0].tolist() == pytest.approx([10.0, 16.0], abs=1e-5), "who stands gives no way"
    assert float(end[1, 1]) - 16.001 == pytest.approx(V * math.sin(turn), abs=1e-3), "a right turn"
    assert math.dist(end[0].tolist(), end[1].tolist()) == pytest.approx(TOUCH, abs=0.01)


@pytest.mark.parametrize("side", [1, -1])
def test_two_that_stand_together_are_walked_around_on_the_open_side(side: int) -> None:
    places = [(10.0, 16.0), (10.1, 16.0 - side * 0.69), (10.0 + TOUCH, 16.0 - side * 0.1)]
    end = walked(places, [(0, 0), (0, 0), (-V, 0)])
    assert (float(end[2, 1]) - (16.0 - side * 0.1)) * side > 0.05


def test_half_of_those_who_have_just_stopped_are_pushed_on() -> None:
    places = [(10.0, 16.0), (10.0 + TOUCH, 16.0), (30.0, 30.0)]
    ways = [(0.0, 0.0), (-V, 0.0), (0.0, 0.0)]
    hard, soft = walked(places, ways, HARD), walked(places, ways, SOFT)
    assert float(hard[0, 0]) == pytest.approx(10.0, abs=1e-5)
    assert 10.0 - float(soft[0, 0]) == pytest.approx(7 / 8 * V, abs=1e-3)
    assert 10.0 + TOUCH - float(soft[1, 0]) == pytest.approx(7 / 8 * V, abs=1e-3)
    assert float(soft[1, 1]) == pytest.approx(16.0, abs=1e-5), "the one behind keeps straight on"


def test_who_stood_in_the_last_loop_already_is_not_pushed() -> None:
    env = arena("3m", [(4, 4)], [(10.0, 16.0), (10.0 + TOUCH, 16.0)])
    s = env.battles
    vx = torch.zeros_like(s.x)
    vx[4] = -V
    walk(env.params, env.terrain, s, vx, torch.zeros_like(vx), torch.full_like(vx, SOFT))
    assert float(s.x[3, 0]) == 10.0
    assert s.walked[:, 0].tolist() == [0.0] * 4 + [1.0, 0.0]


def test_two_marines_that_change_places_end_where_the_recordings_have_them() -> None:
    env = arena("3m", [(9, 15.3115), (9, 16), (9.6885, 16)], [(25, 16)])
    act(env, EAST, EAST, WEST)
    mean = [(10.12, 15.31), (9.33, 15.6), (8.73, 16.29)]  # of 1 500 first steps
    for row, (place, off) in enumerate(zip(mean, (0.02, 0.12, 0.12))):
        assert math.dist(place, (float(env.battles.x[row, 0]), float(env.battles.y[row, 0]))) < off


def test_enemies_near_an_ally_halt_in_the_loop_of_its_shot() -> None:
    """The ally shoots in the second loop (its order is new), so they have walked for one; who is farther
    away takes a target then and walks to it."""
    env = arena("3m", [(10, 16)], [(15.5, 16), (15.3, 17.5), (17.0, 14)])
    env.battles.goal_x = env.battles.goal_x - 20
    before = env.battles.x[3:, 0].clone()
    shoot = [int(FIRST_TARGET), int(NO_OP), int(NO_OP)]
    ways = before - after(env, shoot, look=7, loops=8).x[3:, 0]
    assert ways[:2].tolist() == pytest.approx([V, V], abs=1e-3)
    assert float(ways[2]) > 7 * V, "the one farther away does not halt"
