"""What a quality of recordings means: which of a teacher's checkpoints plays it, and how often it wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from hygen_lightning.data.buffers import MIXED_QUALITY
from hygen_lightning.data.datamodule import NO_RECORDINGS, Quality
from hygen_lightning.specs import UserError
from hygen_lightning.tasks.custom import read_mapping

EXPERT, MEDIUM, REPLAY, RANDOM = "expert", "medium", "medium-replay", "random"
HALVES = (MEDIUM, EXPERT)
"""What medium-expert consists of: loading draws half of every batch from each."""
_CANDIDATES = 4
"""Checkpoints whose win rate is measured anew before one of them is chosen."""


class UnreachedError(UserError):
    """A teacher has no checkpoint of the quality that is wanted."""


@dataclass(frozen=True)
class Point:
    """A checkpoint on the way of a teacher. win_rate: 0..1, of smoothed play on one task."""

    path: Path
    step: int
    win_rate: float


@dataclass(frozen=True)
class Bounds:
    """What counts as reached. within: how far (0..1) a win rate may lie from the one aimed at.
    least_expert: least win rate of an expert where nothing is published."""

    within: float
    least_expert: float


def published_win_rates() -> dict[str, dict[str, float]]:
    """Task -> quality -> win rate (0..1) of the recordings that ODIS published."""
    return read_mapping(Path(__file__).with_name("published.yaml"))


def named_qualities(text: str) -> list[str]:
    """The qualities of "expert,medium-expert", each once, halves in the place of what they make up.

    UserError for one that is not known.
    """
    known = [quality for quality in get_args(Quality) if quality != NO_RECORDINGS]
    found: dict[str, None] = {}
    for quality in text.split(","):
        if quality.strip() not in known:
            raise UserError(f"unknown quality {quality.strip()!r}; choose of {', '.join(known)}")
        parts = HALVES if quality.strip() == MIXED_QUALITY else (quality.strip(),)
        found.update(dict.fromkeys(parts))
    return list(found)


def chosen(
    quality: str, task: str, points: Sequence[Point], measure: Callable[[Point], float], bounds: Bounds
) -> list[Point]:
    """The checkpoints of a teacher, in the order of their steps, that play a quality.

    expert: the best one. medium: the one nearest to the published win rate, else to half the
    expert's, from before the expert. medium-replay: all up to medium. measure: the exact win rate
    of a point, asked for few of them. UnreachedError where none comes near enough.
    """
    published = published_win_rates().get(task, {})
    expert = _best(points, 1.0, measure)
    if quality == EXPERT:
        least = published[EXPERT] - bounds.within if EXPERT in published else bounds.least_expert
        if expert.win_rate < least:
            raise UnreachedError(_line(task, quality, f"at least {least:.0%}", [expert]))
        return [expert]
    before = [point for point in points if point.step <= expert.step]
    aim = published.get(MEDIUM, expert.win_rate / 2)
    medium = _best(before, aim, measure)
    if abs(medium.win_rate - aim) > bounds.within:
        near = sorted([expert, medium], key=lambda point: point.step)
        raise UnreachedError(_line(task, quality, f"{aim:.0%}, give or take {bounds.within:.0%}", near))
    return [medium] if quality == MEDIUM else [point for point in points if point.step <= medium.step]


def _best(points: Sequence[Point], aim: float, measure: Callable[[Point], float]) -> Point:
    """The point whose win rate is nearest to `aim`: the nearest few are measured, then the nearest counts."""
    near = sorted(points, key=lambda point: abs(point.win_rate - aim))[:_CANDIDATES]
    exact = [Point(point.path, point.step, measure(point)) for point in near]
    return min(exact, key=lambda point: (abs(point.win_rate - aim), point.step))


def _line(task: str, quality: str, wanted: str, points: Sequence[Point]) -> str:
    reached = ", ".join(f"{point.win_rate:.1%} at step {point.step}" for point in points)
    return (
        f"{task}/{quality}: wanted {wanted}, the teacher wins {reached}; train longer (--teacher_steps), "
        "give another --seed or a checkpoint of yours (--policy)"
    )
