"""How many episodes of a batch are recorded and how many played (HyGen, hybrid replay)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hygen_lightning.specs import UserError

_ROUNDING = 1e-9
"""100 * 0.29 is 28.999999999999996 in floats; it counts as 29."""


@dataclass(frozen=True)
class LinearShare:
    """From `begin` to `end` (0..1) over `steps` optimiser steps, then `end`."""

    begin: float = 1.0
    end: float = 0.1
    steps: int = 5000

    def __post_init__(self) -> None:
        _require_share("begin", self.begin)
        _require_share("end", self.end)
        if self.steps < 1:
            raise UserError(f"offline share: steps is {self.steps}; give at least 1 optimiser step")

    @property
    def lowest(self) -> float:
        return min(self.begin, self.end)

    def at(self, step: int) -> float:
        """The share after `step` optimiser steps of the second stage."""
        if step >= self.steps:
            return self.end
        return self.begin + (self.end - self.begin) * step / self.steps


@dataclass(frozen=True)
class FixedShare:
    """The same share (0..1) at every step."""

    share: float = 0.5

    def __post_init__(self) -> None:
        _require_share("share", self.share)

    @property
    def lowest(self) -> float:
        return self.share

    def at(self, step: int) -> float:
        """The share, whatever the step."""
        return self.share


@dataclass
class DynamicShare:
    """max(end, begin + (end - begin) (w / w_off)^2): it falls as the policy wins more.

    w: win rate (0..1) of the last `window` evaluation episodes, 0 before there are as many. w_off:
    `data_win_rate`, the win rate (0..1) of the recordings.
    """

    begin: float = 1.0
    end: float = 0.1
    data_win_rate: float | None = None
    window: int = 50
    recent: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        _require_share("begin", self.begin)
        _require_share("end", self.end)
        if self.end > self.begin:
            raise UserError(
                f"dynamic offline share: end {self.end} is above begin {self.begin}; it can only fall"
            )
        if not self.data_win_rate or not 0.0 < self.data_win_rate <= 1.0:
            raise UserError(
                f"dynamic offline share: the recordings' win rate is {_told(self.data_win_rate)}, and the "
                "share is scaled by it; use the linear or the fixed share for this task"
            )
        if self.window < 1:
            raise UserError(f"dynamic offline share: window is {self.window}; give at least 1 episode")

    def record(self, success: Sequence[bool]) -> None:
        """Tell how evaluation battles ended, oldest first."""
        self.recent = [*self.recent, *map(bool, success)][-self.window :]

    @property
    def lowest(self) -> float:
        return self.end

    @property
    def win_rate(self) -> float:
        """w (0..1)."""
        return sum(self.recent) / self.window if len(self.recent) == self.window else 0.0

    def at(self, step: int) -> float:
        """The share at the present win rate, whatever the step."""
        assert self.data_win_rate is not None
        return max(self.end, self.begin + (self.end - self.begin) * (self.win_rate / self.data_win_rate) ** 2)

    def state_dict(self) -> dict[str, list[bool]]:
        """Results of the last evaluation episodes."""
        return {"recent": list(self.recent)}

    def load_state_dict(self, state: dict[str, list[bool]]) -> None:
        self.recent = list(state["recent"])[-self.window :]


Share = LinearShare | FixedShare | DynamicShare


def make_share(
    schedule: Literal["linear", "fixed", "dynamic"],
    begin: float,
    end: float,
    steps: int,
    fixed: float,
    win_rate: float | None,
) -> Share:
    """The schedule of this name; win_rate (0..1): of the recordings, which the dynamic one is scaled by."""
    if schedule == "fixed":
        return FixedShare(fixed)
    return LinearShare(begin, end, steps) if schedule == "linear" else DynamicShare(begin, end, win_rate)


def most_played(batch_size: int, share: Share) -> int:
    """Played episodes of a batch at the lowest offline share of a schedule."""
    return batch_size - int(batch_size * share.lowest + _ROUNDING)


def check_replay_size(replay_episodes: int, batch_size: int, share: Share) -> None:
    """UserError where the played part of a batch never fits into a replay buffer of replay_episodes."""
    played = most_played(batch_size, share)
    if replay_episodes < played:
        raise UserError(
            f"--data.replay_episodes is {replay_episodes}, but at offline share {share.lowest:g} a "
            f"batch of {batch_size} holds {played} played episodes, which could never be drawn; "
            f"give at least {played}"
        )


def split(batch_size: int, share: float, replay_size: int, has_offline: bool = True) -> tuple[int, int]:
    """(recorded, played) episodes of a batch of batch_size at this offline share (0..1).

    int(batch_size * share) are recorded, the others played. While the replay buffer holds fewer than
    these, all are recorded. Without recordings all are played: batch_size, or as many as the replay
    buffer holds. UserError where it is empty and the share is 0 or nothing is recorded.
    """
    _require_share("share", share)
    if batch_size < 1:
        raise UserError(f"batch size is {batch_size}; give at least 1 episode")
    if replay_size == 0 and (share == 0 or not has_offline):
        why = f"the offline share is {share:g}" if has_offline else "there are no recordings"
        raise UserError(
            f"{why} and the replay buffer is empty: nothing to learn from; "
            "play episodes online before each update, or give a share above 0 and recordings"
        )
    if not has_offline:
        return 0, min(batch_size, replay_size)
    n_offline = int(batch_size * share + _ROUNDING)
    if replay_size < batch_size - n_offline:
        return batch_size, 0
    return n_offline, batch_size - n_offline


def _require_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise UserError(f"offline share: {name} is {value}; give a number between 0 and 1")


def _told(win_rate: float | None) -> str:
    return "not told" if win_rate is None else f"{win_rate:g}"
