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
        """The new best if the weights of this later step are kept too; None if not.

        score and error: as of the best one. tolerance: in standard errors of the difference. Later ones are
        compared with the highest score, so that many small steps down do not add up.
        """
        if score > self.score:
            return Best(score, error, step)
        if tolerance > 0 and self.score - score <= tolerance * math.hypot(error, self.error):
            return replace(self, step=step)
        return None
