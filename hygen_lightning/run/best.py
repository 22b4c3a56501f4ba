"""Which evaluation was best, and whose weights are kept for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Best:
    """The highest score so far with its standard error, and the step whose weights are kept (-1: none)."""

    score: float = -math.inf
    error: float = 0.0
    step: int = -1

    def after(self, score: float, error: float, step: int, tolerance: float) -> Best | None:
        """What takes its place if these later weights are kept too; None where they are not.

        Later ones are compared with the highest score, so that many small steps down do not add up.
        """
        if score > self.score:
            return Best(score, error, step)
        if tolerance > 0 and self.score - score <= tolerance * math.hypot(error, self.error):
            return replace(self, step=step)
        return None
