"""The map table against its own counts, and the layouts against SMAC's published sizes."""

from __future__ import annotations

import pytest

from hygen_lightning.specs import UserError
from hygen_lightning.tasks import (
    TASK_SETS,
    battle_task,
    load_task,
    terrain_levels,
)
from hygen_lightning.tasks.maps import map_names
from hygen_lightning.tasks.navigation import navigation_names, navigation_task

# obs_dim, state_dim, n_actions as SMAC's get_env_info gives them with its default settings.
SMAC_SIZES = {
    "3m": (30, 48, 9),
    "8m": (80, 168, 14),
    "5m_vs_6m": (55, 98, 12),
    "8m_vs_9m": (85, 179, 15),
    "27m_vs_30m": (285, 1170, 36),
    "MMM": (160, 290, 16),
    "MMM2": (176, 322, 18),
    "2s3z": (80, 120, 11),
    "3s5z": (128, 216, 14),
    "3s5z_vs_3s6z": (136, 230, 15),
    "3s_vs_5z": (48, 68, 11),
    "1c3s5z": (162, 270, 15),
    "2m_vs_1z": (16, 26, 7),
    "corridor": (156, 282, 30),
    "6h_vs_8z": (78, 140, 14),
    "2s_vs_1sc": (17, 27, 7),
    "2c_vs_64zg": (332, 342, 70),
}

# Races of allies and enemies, type bits, episode limit: SMAC's map registry.
SMAC_REGISTRY = {
    "3m": ("T", "T", 0, 60),
    "8m": ("T", "T", 0, 120),
    "25m": ("T", "T", 0, 150),
    "5m_vs_6m": ("T", "T", 0, 70),
    "8m_vs_9m": ("T", "T", 0, 120),
    "10m_vs_11m": ("T", "T", 0, 150),
    "27m_vs_30m": ("T", "T", 0, 180),
    "MMM": ("T", "T", 3, 150),
    "MMM2": ("T", "T", 3, 180),
    "2s3z": ("P", "P", 2, 120),
    "3s5z": ("P", "P", 2, 150),
    "3s5z_vs_3s6z": ("P", "P", 2, 170),
    "3s_vs_3z": ("P", "P", 0, 150),
    "3s_vs_4z": ("P", "P", 0, 200),
    "3s_vs_5z": ("P", "P", 0, 250),
    "1c3s5z": ("P", "P", 3, 180),
    "2m_vs_1z": ("T", "P", 0, 150),
    "corridor": ("P", "Z", 0, 400),
    "6h_vs_8z": ("Z", "P", 0, 150),
    "2s_vs_1sc": ("P", "Z", 0, 300),
    "so_many_baneling": ("P", "Z", 0, 100),
    "bane_vs_bane": ("Z", "Z", 2, 200),
    "2c_vs_64zg": ("P", "Z", 0, 400),
}


@pytest.mark.parametrize("name", map_names())
def test_units_spawns_and_counts_agree(name: str) -> None:
    task = load_task(name)
    assert len(task.ally_spawns) == task.n_allies >= 1
    assert len(task.enemy_spawns) == task.n_enemies >= 1
    assert 0 < task.episode_limit_env_steps <= 400
    rows = terrain_levels(task.terrain)
    assert len(rows) == 32
    assert {len(row) for row in rows} == {32}
    for x, y in (*task.ally_spawns, *task.enemy_spawns):
        assert rows[int(y)][int(x)] != "0", "units are born on ground that can be walked"


@pytest.mark.parametrize("name", map_names())
def test_every_number_of_a_vector_has_one_name(name: str) -> None:
    layout = load_task(name).layout
    assert len(layout.obs_feature_names()) == layout.obs_dim == len(set(layout.obs_feature_names()))
    assert len(layout.state_feature_names()) == layout.state_dim == len(set(layout.state_feature_names()))


@pytest.mark.parametrize("name", sorted(SMAC_SIZES))
def test_sizes_are_those_that_smac_reports(name: str) -> None:
    layout = load_task(name).layout
    assert (layout.obs_dim, layout.state_dim, layout.n_actions) == SMAC_SIZES[name]


@pytest.mark.parametrize("name", sorted(SMAC_REGISTRY))
def test_races_type_bits_and_limits_are_those_of_smacs_registry(name: str) -> None:
    task = load_task(name)
    found = (task.ally_race, task.enemy_race, len(task.ally_types), task.episode_limit_env_steps)
    assert found == SMAC_REGISTRY[name]


@pytest.mark.parametrize("name", map_names())
def test_sizes_follow_from_units_races_and_type_bits_as_in_get_env_info(name: str) -> None:
    """The sums of SMAC's `get_obs_size`, `get_state_size` and `get_total_actions`, term by term."""
    task = load_task(name)
    a, e, bits = len(task.ally_units), len(task.enemy_units), len(task.ally_types)
    shield_a, shield_e = task.ally_race == "P", task.enemy_race == "P"
    own, enemy, ally = bits + 1 + shield_a, 4 + bits + 1 + shield_e, 4 + bits + 1 + shield_a
    actions = 6 + e
    state = a * (4 + shield_a + bits) + e * (3 + shield_e + bits) + a * actions
    sizes = (4 + e * enemy + (a - 1) * ally + own, state, actions)
    layout = task.layout
    assert (layout.obs_dim, layout.state_dim, layout.n_actions) == sizes


def test_units_with_type_bits_have_a_place_in_the_type_order() -> None:
    for task in map(battle_task, map_names()):
        if task.ally_types:
            assert len(task.ally_types) == len(task.enemy_types)
            assert set(task.ally_units) <= set(task.ally_types)
            assert set(task.enemy_units) <= set(task.enemy_types)
            order = [task.ally_types.index(unit) for unit in task.ally_units]
            assert order == sorted(order), "SMAC sorts allies by type"


def test_task_sets_hold_known_tasks_of_one_family_and_no_task_twice() -> None:
    for task_set in TASK_SETS.values():
        names = [*task_set.train, *task_set.unseen, *task_set.extra]
        assert len(set(names)) == len(names)
        assert len({load_task(name).layout.widths for name in names}) == 1


def test_navigation_has_the_grids_of_odis() -> None:
    layout = load_task("cn-4").layout
    assert (layout.obs_dim, layout.state_dim, layout.n_actions) == (16, 16, 5)
    tasks = [navigation_task(name) for name in navigation_names()]
    assert [task.n_allies for task in tasks] == [*range(2, 13), 15]
    assert [task.size for task in tasks] == [6, 8, 10, 12, 15, 15, 15, 15, 15, 18, 18, 20]
    assert [task.episode_limit_env_steps for task in tasks] == [50] * 5 + [70] * 6 + [80]
    for name in ("cn-1", "cn-13"):
        with pytest.raises(UserError, match="unknown task"):
            load_task(name)
