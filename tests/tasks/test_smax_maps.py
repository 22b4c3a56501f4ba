"""SMAX's maps as tasks: sizes, what the numbers mean, and who has won. Nothing here needs JaxMARL."""

from __future__ import annotations

import pytest
import torch

from hygen_lightning.specs import Episodes, UserError
from hygen_lightning.tasks import load_task, load_task_set, register_task, smax_battle
from hygen_lightning.tasks.smax import MAP_SIDE, UNIT_TYPES, SmaxTask, smax_names


@pytest.mark.parametrize("name", smax_names())
def test_sizes_are_those_of_a_list_of_units(name: str) -> None:
    """7 numbers and 6 type bits of every other unit, 4 and 6 of oneself; 4 ways, stop, a shot at each."""
    task = load_task(name)
    a, e = task.n_allies, task.n_enemies
    assert task.layout.obs_dim == 13 * (a - 1 + e) + 10
    assert task.layout.state_dim == 10 * (a + e)
    assert task.layout.n_actions == 5 + e
    assert task.layout.widths == load_task("smax-3m").layout.widths, "all maps are one family"


def test_maps_have_the_units_that_their_names_say() -> None:
    task = load_task("smax-3s5z_vs_3s6z")
    assert isinstance(task, SmaxTask)
    assert task.ally_units == ("stalker",) * 3 + ("zealot",) * 5
    assert task.enemy_units == ("stalker",) * 3 + ("zealot",) * 6
    drawn = load_task("smax-smacv2_10_units")
    assert (drawn.n_allies, drawn.n_enemies, drawn.look().ally_units) == (10, 10, ())


def test_its_names_are_not_those_of_the_simulator() -> None:
    assert load_task("3m").layout != load_task("smax-3m").layout
    with pytest.raises(UserError, match="did you mean smax-"):
        load_task("smax-3n")
    assert {load_task(task).name for task in load_task_set("smax-marines").train} == {
        "smax-3m",
        "smax-5m_vs_6m",
    }


def test_a_battle_of_other_units_can_be_registered() -> None:
    mixed = register_task(smax_battle("smax-1M2m", ["marauder", "marine", "marine"], ["hydralisk"]))
    assert load_task("smax-1M2m") is mixed
    assert (mixed.n_allies, mixed.n_enemies) == (3, 1)


def units(*healths: float) -> torch.Tensor:
    """Marines in the middle of the map with these healths, as a state shows them; the dead are zeros."""
    marine = [1.0 if name == "marine" else 0.0 for name in UNIT_TYPES]
    return torch.tensor([x for h in healths for x in ([h, 0.5, 0.25, 0.1, *marine] if h else [0.0] * 10)])


@pytest.mark.parametrize(
    ("allies", "enemies", "outcome"),
    [
        ((0.2, 0, 0), (0, 0, 0), "won"),
        ((0, 0, 0), (0, 0.4, 0), "lost"),
        ((0, 0, 0), (0, 0, 0), "drawn"),
        ((0, 1, 0), (0, 0.4, 0), "broken off"),
    ],
)
def test_who_lives_at_the_end_has_won(allies: tuple, enemies: tuple, outcome: str) -> None:
    task = load_task("smax-3m")
    state = torch.stack([units(1, 1, 1, 1, 1, 1), units(*allies, *enemies)])[None]
    flags = torch.zeros(1, 2, dtype=torch.bool)
    episodes = Episodes(
        task,
        obs=torch.zeros(1, 2, 3, task.layout.obs_dim),
        state=state,
        actions=torch.zeros(1, 2, 3, dtype=torch.int64),
        avail_actions=torch.ones(1, 2, 3, task.layout.n_actions, dtype=torch.bool),
        reward=torch.zeros(1, 2),
        terminated=flags,
        truncated=flags,
        filled=~flags,
    )
    assert [name for name, rows in task.outcomes(episodes).items() if rows[0]] == [outcome]
    assert bool(task.success(episodes)) == (outcome == "won")


def test_places_are_shares_of_the_map_and_the_dead_are_nowhere() -> None:
    task = load_task("smax-3m")
    allies, enemies = task.sides(units(1, 0.5, 0, 1, 1, 1)[None])
    assert allies.position[0, 0].tolist() == [MAP_SIDE / 2, MAP_SIDE / 4]
    assert allies.alive[0].tolist() == [True, True, False]
    assert allies.health[0].tolist() == [1, 0.5, 0]
    assert enemies.cooldown[0].tolist() == pytest.approx([0.1] * 3)
    assert [int(n) for n in task.survivors(units(1, 0.5, 0, 1, 1, 1)[None])] == [2, 3]
