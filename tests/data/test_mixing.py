"""Offline shares and the exact split of a batch, by hand and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hygen_lightning.data.mixing import DynamicShare, FixedShare, LinearShare, split
from hygen_lightning.specs import UserError

SHARES = st.floats(0.0, 1.0)


def test_the_linear_share_falls_to_its_end_and_the_fixed_one_stays() -> None:
    share = LinearShare()
    assert [share.at(step) for step in (0, 2500, 5000, 35_000)] == [1.0, pytest.approx(0.55), 0.1, 0.1]
    assert {FixedShare().at(step) for step in (0, 10**6)} == {0.5}


def test_the_dynamic_share_follows_the_last_50_battles() -> None:
    share = DynamicShare(begin=1.0, end=0.1, data_win_rate=0.5)
    share.record([True] * 49)
    assert share.at(100) == 1.0  # not 50 battles yet
    share.record([False])
    share.record([False] * 24)
    assert share.win_rate == 0.5
    assert share.at(100) == pytest.approx(0.1)
    share.record([False] * 10)
    assert share.win_rate == 0.3
    assert share.at(100) == pytest.approx(1.0 - 0.9 * 0.36)
    share.record([True] * 50)
    assert share.at(100) == 0.1  # better than the data: not below the end


def test_the_dynamic_share_goes_on_from_its_state() -> None:
    share, resumed = (DynamicShare(data_win_rate=0.6, window=5) for _ in range(2))
    share.record([True, True, False, True])
    resumed.load_state_dict(share.state_dict())
    for one in (share, resumed):
        one.record([False])
    assert share.at(0) == resumed.at(0) == pytest.approx(0.1)
    assert share.state_dict() == resumed.state_dict() == {"recent": [True, True, False, True, False]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearShare(begin=1.2), "begin is 1.2"),
        (lambda: LinearShare(end=-0.1), "end is -0.1"),
        (lambda: LinearShare(steps=0), "steps is 0"),
        (lambda: FixedShare(float("nan")), "share is nan"),
        (lambda: DynamicShare(begin=0.1, end=0.5, data_win_rate=0.5), "can only fall"),
        (lambda: DynamicShare(data_win_rate=None), "win rate is not told"),
        (lambda: DynamicShare(data_win_rate=0.0), "win rate is 0, "),
        (lambda: DynamicShare(data_win_rate=54.0), "win rate is 54, "),
        (lambda: DynamicShare(data_win_rate=0.5, window=0), "window is 0"),
        (lambda: split(32, 1.5, 100), "share is 1.5"),
        (lambda: split(0, 0.5, 100), "batch size is 0"),
    ],
)
def test_impossible_shares_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("batch_size", "share", "n_offline"),
    [(32, 0.1, 3), (32, 0.3, 9), (32, 0.5, 16), (32, 0.55, 17), (10, 0.7, 7), (100, 0.29, 29), (32, 1.0, 32)],
)
def test_a_batch_holds_int_of_share_times_size_recorded_episodes(
    batch_size: int, share: float, n_offline: int
) -> None:
    assert split(batch_size, share, replay_size=200) == (n_offline, batch_size - n_offline)


@given(batch_size=st.integers(1, 512), share=SHARES, replay_size=st.integers(1, 1000))
def test_counts_sum_to_the_batch_and_never_exceed_the_buffer(
    batch_size: int, share: float, replay_size: int
) -> None:
    n_offline, n_online = split(batch_size, share, replay_size)
    assert n_offline + n_online == batch_size
    assert 0 <= n_online <= replay_size
    assert abs(n_offline - batch_size * share) < 1 + 1e-6 or n_online == 0


@given(batch_size=st.integers(1, 512), share=SHARES)
def test_a_bigger_share_never_means_fewer_recorded_episodes(batch_size: int, share: float) -> None:
    counts = [split(batch_size, s, replay_size=512)[0] for s in (0.0, share / 2, share, 1.0)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, batch_size)


def test_a_buffer_that_is_too_small_gives_a_recorded_batch() -> None:
    assert split(32, 0.5, replay_size=15) == (32, 0)
    assert split(32, 0.5, replay_size=16) == (16, 16)
    assert split(32, 0.1, replay_size=0) == (32, 0)


def test_without_recordings_the_batch_is_played() -> None:
    assert split(32, 0.0, replay_size=40, has_offline=False) == (0, 32)
    assert split(32, 0.5, replay_size=6, has_offline=False) == (0, 6)


@pytest.mark.parametrize(("share", "has_offline"), [(0.0, True), (0.0, False), (0.5, False)])
def test_an_empty_buffer_with_nothing_recorded_to_draw_is_refused(share: float, has_offline: bool) -> None:
    with pytest.raises(UserError, match="replay buffer is empty"):
        split(32, share, replay_size=0, has_offline=has_offline)
