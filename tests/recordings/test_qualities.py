"""Which checkpoints of a teacher play a quality."""

from __future__ import annotations

from pathlib import Path

import pytest

from hygen_lightning.recordings.qualities import (
    Bounds,
    Point,
    UnreachedError,
    chosen,
    named_qualities,
    published_win_rates,
)
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

BOUNDS = Bounds(within=0.1, least_expert=0.5)


def way(*rates: float) -> list[Point]:
    """Points at steps 0, 10, 20, ..."""
    return [Point(Path(f"step{10 * n}.ckpt"), 10 * n, rate) for n, rate in enumerate(rates)]


def steps(quality: str, task: str, *rates: float, bounds: Bounds = BOUNDS) -> list[int]:
    """Steps of the chosen points, where the rates are exact."""
    return [point.step for point in chosen(quality, task, way(*rates), lambda p: p.win_rate, bounds)]


def test_the_expert_wins_most_and_medium_half_as_often_where_nothing_is_published() -> None:
    rates = (0.0, 0.2, 0.38, 0.7, 0.8, 0.75)
    assert steps("expert", "8m", *rates) == [40]
    assert steps("medium", "8m", *rates) == [20], "nearest to 0.4"
    assert steps("medium-replay", "8m", *rates) == [0, 10, 20]


def test_medium_is_the_published_one_where_there_is_one() -> None:
    assert published_win_rates()["5m_vs_6m"]["medium"] == 0.275
    assert steps("medium", "5m_vs_6m", 0.0, 0.25, 0.4, 0.9) == [10]
    assert steps("medium", "3m", 0.0, 0.25, 0.5, 0.95) == [20]


def test_a_checkpoint_after_the_expert_is_not_medium() -> None:
    assert steps("medium", "8m", 0.0, 0.35, 0.8, 0.4) == [10]


def test_the_nearest_are_measured_again_and_the_exact_rates_count() -> None:
    exact = {0: 0.0, 10: 0.2, 20: 0.45, 30: 0.9, 40: 0.7}
    asked: list[int] = []

    def measure(point: Point) -> float:
        asked.append(point.step)
        return exact[point.step]

    points = way(0.1, 0.4, 0.5, 0.8, 0.9)
    assert [p.step for p in chosen("expert", "8m", points, measure, BOUNDS)] == [30]
    assert len(asked) == 4
    assert [p.win_rate for p in chosen("medium", "8m", points, measure, BOUNDS)] == [0.45]


@pytest.mark.parametrize(
    ("quality", "task", "rates", "told"),
    [
        ("expert", "5m_vs_6m", (0.0, 0.6), "5m_vs_6m/expert: wanted at least 62%, the teacher wins 60.0% at"),
        ("expert", "8m", (0.0, 0.4), "wanted at least 50%"),
        ("medium", "3m", (0.0, 0.4, 0.95), "wanted 54%, give or take 10%, the teacher wins 40.0% at step 10"),
        ("medium-replay", "3m", (0.0, 0.95), "train longer .--teacher_steps., give another --seed or"),
    ],
)
def test_what_is_not_reached_is_one_line_that_says_what_was(
    quality: str, task: str, rates: tuple[float, ...], told: str
) -> None:
    with pytest.raises(UnreachedError, match=told):
        steps(quality, task, *rates)


def test_the_bounds_count() -> None:
    assert steps("expert", "8m", 0.0, 0.4, bounds=Bounds(0.1, 0.3)) == [10]
    assert steps("medium", "3m", 0.0, 0.4, 0.95, bounds=Bounds(0.2, 0.5)) == [10]


def test_halves_stand_for_medium_expert_and_others_are_refused() -> None:
    assert named_qualities("expert, medium-expert,random") == ["expert", "medium", "random"]
    with pytest.raises(UserError, match="unknown quality 'none'; choose of expert, medium, medium-expert"):
        named_qualities("none")


def test_everything_published_is_of_a_known_task_and_a_share() -> None:
    for task, rates in published_win_rates().items():
        assert load_task(task).name == task
        assert rates.keys() == {"expert", "medium"}
        assert 0 < rates["medium"] < rates["expert"] < 1
