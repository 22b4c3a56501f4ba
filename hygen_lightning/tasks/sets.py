"""Task sets of HyGen (arXiv 2408.13567) and ODIS: which tasks train, which are unseen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskSet:
    """Training tasks, and the unseen ones that are evaluated beside them."""

    train: tuple[str, ...]
    unseen: tuple[str, ...]


TASK_SETS: dict[str, TaskSet] = {
    "marine-easy": TaskSet(("3m", "5m", "10m"), ("4m", "6m", "7m", "8m", "9m", "11m", "12m")),
    "marine-hard": TaskSet(
        ("3m", "5m_vs_6m", "9m_vs_10m"),
        ("4m", "5m", "10m", "12m", "7m_vs_8m", "8m_vs_9m", "10m_vs_11m", "10m_vs_12m", "13m_vs_15m"),
    ),
    "stalker-zealot": TaskSet(
        ("2s3z", "2s4z", "3s5z"),
        ("1s3z", "1s4z", "1s5z", "2s5z", "3s3z", "3s4z", "4s3z", "4s4z", "4s5z", "4s6z"),
    ),
    "toy": TaskSet(("3m",), ("4m", "5m")),
    "cooperative-navigation": TaskSet(("cn-2", "cn-4"), ("cn-3", "cn-5")),
}

DATA_WIN_RATES: dict[str, tuple[float, float]] = {
    "3m": (0.991, 0.540),
    "5m": (0.994, 0.741),
    "10m": (0.992, 0.541),
    "5m_vs_6m": (0.719, 0.275),
    "9m_vs_10m": (0.942, 0.415),
    "2s3z": (0.960, 0.447),
    "2s4z": (0.951, 0.497),
    "3s5z": (0.952, 0.311),
}
"""Win rate of the teacher behind the published data sets: (expert, medium)."""


def data_win_rate(task: str, quality: str) -> float | None:
    """Published win rate (0..1) of a data set; None where none is published."""
    if task not in DATA_WIN_RATES:
        return None
    expert, medium = DATA_WIN_RATES[task]
    return {"expert": expert, "medium": medium, "medium-expert": (expert + medium) / 2}.get(quality)
