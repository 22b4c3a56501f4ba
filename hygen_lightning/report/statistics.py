"""Intervals of two kinds, never mixed, and aggregates over runs.

Over episodes: one run's win rate on one task is a share of battles; Wilson's interval says how
far chance in those battles may have moved it (Wilson 1927). Over seeds: several runs that differ
in their seed; Student's interval for one task, stratified bootstrap for aggregates over tasks
(Agarwal et al. 2021, arXiv 2108.13264). All intervals are at 95 %.

The numbers are those of the package rliable, which the tests compare with; it is no dependency, because its
bootstrap draws from numpy's global generator whatever seed it is given, and cannot be imported beside
pandas 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit  # scipy.stats takes four times as long to import

Scores = NDArray[np.float64]
"""Scores of one group of runs, [runs, tasks]."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; the interval is None where one run leaves it unknown."""

    value: float
    ci95: tuple[float, float] | None


def wilson_interval(wins: int, episodes: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, e.g. 50 wins of 100 -> (0.404, 0.596).

    ValueError where there is no episode or more wins than episodes.
    """
    if episodes < 1 or not 0 <= wins <= episodes:
        raise ValueError(f"{wins} wins of {episodes} episodes is no share")
    share, z2 = wins / episodes, float(ndtri(0.975)) ** 2 / episodes
    middle, half_width = share + z2 / 2, math.sqrt(z2 * share * (1 - share) + z2**2 / 4)
    low = (middle - half_width) / (1 + z2) if wins else 0.0
    high = (middle + half_width) / (1 + z2) if wins < episodes else 1.0
    return low, high


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of win rates (0..1) of runs with different seeds; Student's interval, cut to 0..1."""
    if not values:
        raise ValueError("no values to average")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, None)
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half_width = float(stdtrit(len(values) - 1, 0.975)) * standard_error
    return Estimate(mean, (max(mean - half_width, 0.0), min(mean + half_width, 1.0)))


def interquartile_mean(scores: Scores, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean of the middle half of all scores [runs, tasks], interval by stratified bootstrap."""
    return _bootstrapped(_middle_mean, [scores], resamples, seed)


def optimality_gap(scores: Scores, resamples: int = 2000, seed: int = 0) -> Estimate:
    """How far scores [runs, tasks] stay below 1 on average, interval by stratified bootstrap."""
    return _bootstrapped(_gap, [scores], resamples, seed)


def probability_of_improvement(
    scores: Scores, baseline: Scores, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Chance that a run of `scores` beats one of `baseline` on a task, averaged over tasks.

    scores [runs, tasks], baseline [other runs, the same tasks]; a tie counts one half. The same
    number as rliable's (Mann and Whitney's U over its maximum), computed from all pairs.
    """
    if scores.shape[1] != baseline.shape[1]:
        raise ValueError(f"{scores.shape[1]} tasks against {baseline.shape[1]}")
    return _bootstrapped(_share_of_pairs, [scores, baseline], resamples, seed)


def performance_profile(scores: Scores, thresholds: Sequence[float]) -> list[float]:
    """Share of runs and tasks (scores [runs, tasks]) with a score above each threshold."""
    return [float((scores > threshold).mean()) for threshold in thresholds]


# Statistics of scores [..., runs, tasks] -> [...], many resamples at once


def _middle_mean(scores: Scores) -> Scores:
    """Without the lowest and the highest quarter, rounded down (scipy's trim_mean)."""
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def _gap(scores: Scores) -> Scores:
    return 1 - np.minimum(scores, 1).mean(axis=(-2, -1))


def _share_of_pairs(scores: Scores, baseline: Scores) -> Scores:
    """Share of (run, other run, task) in which the first is better; ties count one half."""
    ours, theirs = scores[..., :, None, :], baseline[..., None, :, :]
    return ((ours > theirs) + 0.5 * (ours == theirs)).mean(axis=(-3, -2, -1))


def _bootstrapped(
    statistic: Callable[..., Scores], groups: Sequence[Scores], resamples: int, seed: int
) -> Estimate:
    """A statistic with its percentile interval; runs are redrawn for each task by itself.

    One run per group says nothing of the variation between runs: then there is no interval.
    """
    value = float(statistic(*groups))
    if any(len(group) < 2 for group in groups):
        return Estimate(value, None)
    generator = np.random.default_rng(seed)
    draws = statistic(*(_resampled(group, resamples, generator) for group in groups))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, (float(low), float(high)))


def _resampled(scores: Scores, resamples: int, generator: np.random.Generator) -> Scores:
    """Scores [runs, tasks] with the runs of each task drawn anew [resamples, runs, tasks]."""
    rows = generator.integers(len(scores), size=(resamples, *scores.shape))
    return np.take_along_axis(scores[None], rows, axis=1)
