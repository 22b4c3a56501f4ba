"""Intervals and aggregates against values worked out by hand, and against rliable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import metrics
from scipy.stats import binomtest

from hygen_lightning.report.statistics import (
    interquartile_mean,
    mean_over_seeds,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    wilson_interval,
)


def test_wilson_of_half_of_a_hundred_worked_by_hand() -> None:
    # centre 0.5; half width 1.96 sqrt(.25/100 + 3.8415/40000) / (1 + 3.8415/100) = 0.0961609
    low, high = wilson_interval(50, 100)
    assert low == pytest.approx(0.4038315, abs=1e-6)
    assert high == pytest.approx(0.5961685, abs=1e-6)


@given(st.integers(1, 500), st.data())
def test_wilson_contains_the_share_and_mirrors(episodes: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, episodes))
    low, high = wilson_interval(wins, episodes)
    assert 0 <= low <= wins / episodes <= high <= 1
    mirrored = wilson_interval(episodes - wins, episodes)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    scipys = binomtest(wins, episodes).proportion_ci(confidence_level=0.95, method="wilson")
    assert (low, high) == pytest.approx((scipys.low, scipys.high), abs=1e-12)


@pytest.mark.parametrize(("wins", "episodes"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_share(wins: int, episodes: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(wins, episodes)


def test_mean_over_three_seeds_by_hand() -> None:
    # mean .8, standard deviation .1, t(.975, 2) = 4.302653, half width 4.302653 * .1 / sqrt(3)
    estimate = mean_over_seeds([0.7, 0.8, 0.9])
    half_width = 4.302653 * 0.1 / math.sqrt(3)
    assert estimate.value == pytest.approx(0.8)
    assert estimate.ci95 == pytest.approx((0.8 - half_width, 1.0), abs=1e-6)


def test_one_seed_has_no_interval() -> None:
    assert mean_over_seeds([0.5]).ci95 is None
    assert interquartile_mean(np.array([[0.2, 0.4]])).ci95 is None


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    scores = np.array([[0.0, 0.2, 0.4, 0.6], [0.1, 0.3, 0.5, 1.0]])
    # sorted 0 .1 | .2 .3 .4 .5 | .6 1
    assert interquartile_mean(scores, resamples=10).value == pytest.approx(0.35)


def test_optimality_gap_is_the_mean_shortfall_from_one() -> None:
    scores = np.array([[0.5, 1.0], [0.25, 0.75]])
    assert optimality_gap(scores, resamples=10).value == pytest.approx(1 - 2.5 / 4)


def test_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    ours, theirs = np.array([[0.9], [0.5]]), np.array([[0.5], [0.6], [0.1]])
    # .9 beats all three; .5 ties one, loses one, beats one: (3 + 1.5) / 6
    assert probability_of_improvement(ours, theirs, resamples=10).value == pytest.approx(0.75)


def test_probability_of_improvement_equals_rliable() -> None:
    generator = np.random.default_rng(3)
    ours, theirs = generator.random((5, 4)).round(1), generator.random((7, 4)).round(1)
    expected = metrics.probability_of_improvement(ours, theirs)
    assert probability_of_improvement(ours, theirs, resamples=10).value == pytest.approx(expected)


def test_intervals_equal_those_of_rliable() -> None:
    """Worked out with rliable 1.2's get_interval_estimates, 20 000 resamples (beside pandas 2)."""
    first = np.array([[0.9, 0.5, 0.2], [1, 0.6, 0.1], [0.7, 0.7, 0.4], [0.8, 0.3, 0.3]])
    second = np.array([[0.6, 0.5, 0.1], [0.9, 0.2, 0.2], [0.5, 0.4, 0.3], [0.8, 0.6, 0]])
    found = [
        *(
            measure(scores, 20_000)
            for scores in (first, second)
            for measure in (interquartile_mean, optimality_gap)
        ),
        probability_of_improvement(first, second, 20_000),
    ]
    values = [0.53333333, 0.45833333, 0.41666667, 0.575, 0.71875]
    lows = [0.43333333, 0.39166667, 0.31666667, 0.5, 0.5]
    highs = [0.63333333, 0.53333333, 0.51666667, 0.65833333, 0.90625]
    assert [estimate.value for estimate in found] == pytest.approx(values)
    assert [estimate.ci95[0] for estimate in found if estimate.ci95] == pytest.approx(lows, abs=0.02)
    assert [estimate.ci95[1] for estimate in found if estimate.ci95] == pytest.approx(highs, abs=0.02)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_iqm_equals_rliable_for_any_number_of_scores(runs: int) -> None:
    scores = np.random.default_rng(runs).random((runs, 3))
    assert interquartile_mean(scores).value == pytest.approx(metrics.aggregate_iqm(scores))


def test_bootstrap_interval_matches_the_exact_distribution_of_two_runs() -> None:
    # Two runs, one task, scores 0 and 1: a resample's mean shortfall is 0, .5 or 1 with
    # probability 1/4, 1/2, 1/4, so the 2.5 % and 97.5 % quantiles are 0 and 1.
    assert optimality_gap(np.array([[0.0], [1.0]])).ci95 == (0.0, 1.0)


def test_bootstrap_is_stratified_so_differences_between_tasks_add_nothing() -> None:
    scores = np.tile([0.0, 0.5, 1.0], (4, 1))
    estimate = optimality_gap(scores, resamples=50)
    assert estimate.ci95 == pytest.approx((estimate.value, estimate.value))


def test_bootstrap_repeats_with_its_seed_and_leaves_the_global_generator_alone() -> None:
    scores = np.random.default_rng(0).random((5, 3))
    np.random.seed(7)
    before = np.random.random()
    np.random.seed(7)
    first = interquartile_mean(scores, resamples=200, seed=1)
    assert np.random.random() == before
    assert interquartile_mean(scores, resamples=200, seed=1) == first
    assert interquartile_mean(scores, resamples=200, seed=2).ci95 != first.ci95


def test_performance_profile_counts_scores_above_each_threshold() -> None:
    assert performance_profile(np.array([[0.2, 0.6], [0.8, 1.0]]), [0.0, 0.6, 1.0]) == [1.0, 0.5, 0.0]


def test_different_task_counts_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 tasks against 3"):
        probability_of_improvement(np.zeros((2, 2)), np.zeros((2, 3)))
