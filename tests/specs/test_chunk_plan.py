"""How many battles of a chunk each task plays."""

from __future__ import annotations

import pytest

from hygen_lightning.specs import ChunkPlan


def given(battles: int, *defeats: float) -> list[int]:
    """Battles of tasks with these shares of defeats."""
    plan = ChunkPlan(battles, 0, 1, 1, by_defeats=True)
    return list(plan.battles({str(i): share for i, share in enumerate(defeats)}).values())


def test_a_quarter_for_everybody_and_the_rest_by_defeats() -> None:
    # 8 parts of 16 battles for each of 3 tasks: 2 parts at least, 18 are free: 18 x (1, 3, 2) / 6 = 3, 9, 6
    assert given(128, 0.1, 0.3, 0.2) == [5 * 16, 11 * 16, 8 * 16]


def test_parts_that_do_not_divide_go_to_the_greatest_rest() -> None:
    # 12 free parts: 12 x (1, 4) / 5 = 2.4, 9.6
    assert given(8, 0.1, 0.4) == [4, 12]


def test_battles_that_no_part_holds_go_to_everybody() -> None:
    # 7 of 23, and parts of 2; equal defeats but for rounding
    assert given(23, 0.3, 0.3, 0.31) == [23, 23, 23]
    assert given(23, 0.0, 1.0) == [4 + 7, 28 + 7]


@pytest.mark.parametrize("battles", [1, 4, 9, 23, 128, 130])
@pytest.mark.parametrize("defeats", [(0.0, 0.0, 1.0), (0.3, 0.3, 0.31), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_the_battles_are_as_many_as_in_an_even_split(battles: int, defeats: tuple[float, ...]) -> None:
    assert sum(given(battles, *defeats)) == 3 * battles
    least = ChunkPlan(battles, 0, 1, 1, by_defeats=True).least_battles
    assert min(given(battles, *defeats)) >= least >= battles / 4


@pytest.mark.parametrize("defeats", [(0.0, 0.0), (0.4, 0.4)])
def test_tasks_that_lose_alike_get_as_many(defeats: tuple[float, ...]) -> None:
    assert given(16, *defeats) == [16, 16]


def test_one_task_gets_all() -> None:
    assert given(130, 0.4) == [130]


def test_defeats_count_if_asked_only() -> None:
    plan = ChunkPlan(16, 0, 1, 1)
    assert plan.battles({"a": 0.0, "b": 1.0}) == {"a": 16, "b": 16}
    assert plan.least_battles == 16
