"""Battles go where they are lost."""

from __future__ import annotations

import pytest

from hygen_lightning.rollouts.allocation import allocate


def test_a_quarter_for_everybody_and_the_rest_where_battles_are_lost() -> None:
    # 8 parts of 16 battles for each of 3 tasks: 2 parts at least, 18 are free: 18 x (1, 3, 2) / 6 = 3, 9, 6
    given = allocate(128, {"3m": 0.1, "5m_vs_6m": 0.3, "9m_vs_10m": 0.2})
    assert given == {"3m": 5 * 16, "5m_vs_6m": 11 * 16, "9m_vs_10m": 8 * 16}


def test_parts_that_do_not_divide_go_to_the_greatest_rest() -> None:
    # 12 free parts: 12 x (1, 4) / 5 = 2.4, 9.6
    assert allocate(8, {"3m": 0.1, "5m": 0.4}) == {"3m": 4, "5m": 12}


def test_battles_that_no_part_holds_go_to_the_task_that_has_most() -> None:
    assert allocate(9, {"3m": 0.0, "5m": 0.5}) == {"3m": 2, "5m": 16}


@pytest.mark.parametrize("battles", [1, 4, 9, 128, 130])
@pytest.mark.parametrize("lost", [(0.0, 0.0, 1.0), (0.3, 0.3, 0.31), (1.0, 1.0, 1.0)])
def test_the_battles_are_as_many_as_without(battles: int, lost: tuple[float, ...]) -> None:
    given = allocate(battles, dict(zip("abc", lost)))
    assert sum(given.values()) == 3 * battles
    assert min(given.values()) >= min(battles, battles // 8 * 2)


@pytest.mark.parametrize(("battles", "least"), [(7, 1), (8, 4)])
def test_too_few_battles_to_cut_are_not_cut(battles: int, least: int) -> None:
    assert allocate(battles, {"a": 0.1, "b": 0.9}, least) == {"a": battles, "b": battles}


def test_where_nothing_is_lost_all_get_as_many() -> None:
    assert allocate(16, {"a": 0.0, "b": 0.0}) == {"a": 16, "b": 16}


def test_one_task_gets_all() -> None:
    assert allocate(130, {"a": 0.4}) == {"a": 130}
