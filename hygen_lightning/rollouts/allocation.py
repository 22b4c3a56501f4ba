"""Who gets the battles of a chunk, where several tasks are learned at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_SHARE = 0.25
"""Each task gets at least this share of an equal part: a task that is won stays so only if it is played."""
STEPS = 8
"""Parts that an equal part is cut into; a task gets a whole number of them, so that few sizes occur."""


def allocate(battles: int, lost: Mapping[str, float], least: int = 1) -> dict[str, int]:
    """Battles of each task, `battles` times the tasks in all, in proportion to `lost`.

    lost: share (0..1) of its last battles that each task has lost. least: battles that a task needs (one in
    each minibatch). All tasks get as many where none has lost any, and where `battles` is too few to cut.
    """
    part = battles // STEPS
    floor = max(round(STEPS * LEAST_SHARE), 1)
    total = sum(lost.values())
    if total == 0 or part == 0 or floor * part < least:
        return dict.fromkeys(lost, battles)
    free = (STEPS - floor) * len(lost)
    wished = {task: free * share / total for task, share in lost.items()}
    parts = {task: int(wish) for task, wish in wished.items()}
    by_rest = sorted(lost, key=lambda task: parts[task] - wished[task])
    for task in by_rest[: free - sum(parts.values())]:
        parts[task] += 1
    rest = (battles - STEPS * part) * len(lost)
    given = {task: (floor + extra) * part for task, extra in parts.items()}
    given[max(given, key=lambda task: given[task])] += rest
    return given
