from __future__ import annotations

import pytest
import torch
from made_up_episodes import make_layout

from hygen_lightning.models.layers import (
    ObservationTokens,
    Packing,
    agent_id_code,
    compact_action,
    observation_features,
    state_features,
)
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

MARINES = load_task("3m").layout
NAVIGATION = load_task("cn-2").layout


def test_agent_numbers_are_written_in_binary_from_one() -> None:
    code = agent_id_code(5, 4, torch.zeros(()))
    assert code.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 1, 0, 1]]


def test_more_agents_than_the_code_allows_is_the_users_error() -> None:
    assert agent_id_code(15, 4, torch.zeros(())).shape == (15, 4)
    with pytest.raises(UserError, match=r"16 agents .* 4 bits .*at most 15"):
        agent_id_code(16, 4, torch.zeros(()))


def test_a_compact_action_is_six_base_actions_and_one_flag() -> None:
    compact = compact_action(torch.tensor([-1, 0, 5, 6, 8]), MARINES.widths, torch.float32)
    expected = torch.zeros(5, 7)
    expected[1, 0] = expected[2, 5] = expected[3, 6] = expected[4, 6] = 1
    assert torch.equal(compact, expected)


def test_without_targets_a_compact_action_has_no_flag() -> None:
    compact = compact_action(torch.tensor([-1, 4]), NAVIGATION.widths, torch.float32)
    assert compact.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_an_observation_is_taken_apart_in_order() -> None:
    obs = torch.arange(30.0).expand(3, 30)
    features = observation_features(MARINES, obs, torch.tensor([7, -1, 2]), id_bits=4)
    assert features.own is not None
    own = [0, 1, 2, 3, 29]  # four moves, own health
    assert features.own[0].tolist() == [*own, 0, 0, 0, 1, *[0] * 6, 1]
    assert features.own[1].tolist() == [*own, 0, 0, 1, 0, *[0] * 7]
    assert features.own[2].tolist() == [*own, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert features.enemies[0].tolist() == [
        [4, 5, 6, 7, 8, 0],
        [9, 10, 11, 12, 13, 1],
        [14, 15, 16, 17, 18, 0],
    ]
    assert features.enemies[1:, :, 5].sum() == 0
    assert features.allies[0].tolist() == [[19, 20, 21, 22, 23], [24, 25, 26, 27, 28]]


def test_where_observations_hold_places_networks_are_told_ways_between_them_too() -> None:
    """Two walkers in (1, 2) and (6, 2), landmarks in (6, 7) and (1, 12): five cells are one unit."""
    obs = torch.tensor([[1.0, 2, 6, 2, 6, 7, 1, 12], [6, 2, 1, 2, 6, 7, 1, 12]])
    features = observation_features(NAVIGATION, obs, torch.tensor([0, 0]), id_bits=0)
    to_it, from_the_other_walker = [[1, 1], [0, 2]], [[0, 1], [-1, 2]]
    places = [[6, 7], [1, 12]]
    told = [[*a, *b, *c] for a, b, c in zip(places, to_it, from_the_other_walker)]
    assert features.enemies[0].tolist() == told
    assert features.allies[0].tolist() == [[6, 2, 1, 0, 0, -1]]  # its nearest landmark lies five columns east
    alone = make_layout("navigation", n_allies=1, n_enemies=2)
    assert alone.split_obs(torch.ones(alone.obs_dim))[1].shape == (2, alone.widths.enemy)


def test_a_state_is_taken_apart_with_current_before_last_actions() -> None:
    state = torch.zeros(48)
    state[:21] = torch.arange(21.0)
    state[21 + 8] = 1  # ally 0's last action: attack enemy 2
    state[21 + 9 + 1] = 1  # ally 1's: stop
    features = state_features(MARINES, state, torch.tensor([6, 3, 6]))
    assert features.allies[0].tolist() == [0, 1, 2, 3, *[0] * 6, 1, *[0] * 6, 1]
    assert features.allies[1].tolist() == [4, 5, 6, 7, 0, 0, 0, 1, 0, 0, 0, 0, 1, *[0] * 5]
    assert features.enemies.tolist() == [[12, 13, 14, 1], [15, 16, 17, 0], [18, 19, 20, 0]]


def test_without_actions_a_state_has_last_actions_only() -> None:
    features = state_features(MARINES, torch.zeros(2, 48))
    assert features.allies.shape == (2, 3, 4 + 7)
    assert features.enemies.shape == (2, 3, 3)


def test_navigation_states_have_neither_flags_nor_last_actions() -> None:
    features = state_features(NAVIGATION, torch.arange(8.0), torch.tensor([4, 0]))
    assert features.allies.tolist() == [[0, 1, 0, 0, 0, 0, 1], [2, 3, 1, 0, 0, 0, 0]]
    assert features.enemies.tolist() == [[4, 5], [6, 7]]


def test_further_own_numbers_reach_the_own_token_alone() -> None:
    layout = make_layout("marines", 2, 2)
    tokens = ObservationTokens(layout.widths, 8, extra_own=1)
    obs, last = torch.randn(2, layout.obs_dim), torch.tensor([0, 1])
    low = tokens(layout, obs, last, torch.zeros(2, 1))
    high = tokens(layout, obs, last, torch.ones(2, 1))
    assert not torch.equal(low[:, 0], high[:, 0])
    assert torch.equal(low[:, 1:], high[:, 1:])


def test_steps_are_packed_in_order_of_time_with_the_longest_episode_first() -> None:
    filled = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    x = torch.arange(9).reshape(3, 3)
    packing = Packing.of(filled, x)
    assert packing.counts == (3, 2, 1)
    assert packing.pack(x).tolist() == [3, 0, 6, 4, 1, 5]
    assert torch.equal(packing.unpack(packing.pack(x)), torch.where(filled, x, 0))


def test_without_a_mask_every_step_is_packed() -> None:
    x = torch.randn(2, 3, 4)
    packing = Packing.of(None, x)
    assert packing.counts == (2, 2, 2)
    assert torch.equal(packing.unpack(packing.pack(x)), x)


def test_time_steps_that_no_episode_fills_are_dropped() -> None:
    filled = torch.tensor([[True, False, False], [True, True, False]])
    packing = Packing.of(filled, filled)
    assert packing.counts == (2, 1)
    assert packing.unpack(torch.ones(3)).shape == (2, 3)
