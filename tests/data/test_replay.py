"""The replay buffer: it keeps the newest, wraps around, and survives on disk bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories import make_episodes, step_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from hygen_lightning.data.buffers import ReplayBuffer
from hygen_lightning.specs import EPISODE_TENSORS, Episodes, UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def _numbered(first: int, n: int, seed: int = 0) -> Episodes:
    """Episodes whose first reward is their number, 1 + first and on."""
    episodes = make_episodes(TASK, n, seed=seed)
    episodes.reward[:, 0] = torch.arange(first + 1, first + n + 1).float()
    return episodes


def _numbers(episodes: Episodes) -> list[int]:
    return sorted(int(x) - 1 for x in episodes.reward[:, 0])


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(1, 9), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_it_holds_exactly_the_newest_episodes(capacity: int, sizes: list[int]) -> None:
    buffer, total = ReplayBuffer(TASK, capacity), 0
    for size in sizes:
        buffer.add(_numbered(total, size))
        total += size
        kept = min(total, capacity)
        assert len(buffer) == kept
        newest = buffer.sample(kept, torch.Generator().manual_seed(0))
        assert _numbers(newest) == list(range(total - kept, total))
    assert buffer.added_episodes == total


def test_a_shorter_episode_leaves_nothing_of_the_longer_one_before_it() -> None:
    buffer = ReplayBuffer(TASK, 1)
    buffer.add(make_episodes(TASK, 1, lengths=torch.tensor([61])))
    short = make_episodes(TASK, 1, seed=1, lengths=torch.tensor([4]))
    buffer.add(short.trimmed())
    stored = buffer.sample(1, torch.Generator())
    assert torch.equal(stored.obs, short.trimmed().obs)
    assert stored.filled.sum() == 4


def test_samples_are_different_episodes_and_change_with_the_generator() -> None:
    buffer = ReplayBuffer(TASK, 50)
    buffer.add(_numbered(0, 40))
    draws = [_numbers(buffer.sample(20, torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)]
    assert all(len(set(draw)) == 20 for draw in draws)
    assert draws[0] == draws[1] != draws[2]


def test_more_than_it_holds_cannot_be_drawn() -> None:
    buffer = ReplayBuffer(TASK, 5)
    buffer.add(_numbered(0, 3))
    with pytest.raises(ValueError, match="4 episodes asked for, the replay buffer of 3m holds 3"):
        buffer.sample(4, torch.Generator())


def test_memory_grows_with_the_steps_that_are_kept_and_padding_takes_none() -> None:
    buffer, lengths = ReplayBuffer(TASK, 4), torch.tensor([5, 61, 2, 30])
    sizes = []
    for number in range(8):
        buffer.add(make_episodes(TASK, 1, lengths=lengths[number % 4 : number % 4 + 1]))
        sizes.append(sum(x.nbytes for x in buffer.state_dict()["steps"].values()))
    assert [size / step_bytes(TASK) for size in sizes] == [5, 66, 68, 98, 98, 98, 98, 98]


def _reloaded(buffer: ReplayBuffer, path: Path) -> ReplayBuffer:
    torch.save(buffer.state_dict(), path)
    loaded = ReplayBuffer(TASK, buffer.capacity_episodes)
    loaded.load_state_dict(torch.load(path, weights_only=True))
    return loaded


@pytest.mark.parametrize("n_before", [0, 11])
def test_a_saved_buffer_is_the_same_buffer(n_before: int, tmp_path: Path) -> None:
    buffer = ReplayBuffer(TASK, 8)
    if n_before:
        buffer.add(_numbered(0, n_before))
    loaded = _reloaded(buffer, tmp_path / "buffer.pt")
    for one in (buffer, loaded):
        one.add(_numbered(11, 6))
    for name in EPISODE_TENSORS:
        assert torch.equal(buffer.state_dict()["steps"][name], loaded.state_dict()["steps"][name])
    draws = [_numbers(one.sample(5, torch.Generator().manual_seed(3))) for one in (buffer, loaded)]
    assert draws[0] == draws[1]


def test_the_state_of_another_buffer_is_refused() -> None:
    buffer = ReplayBuffer(TASK, 8)
    buffer.add(_numbered(0, 3))
    with pytest.raises(UserError, match="has capacity_episodes 8, this run 9"):
        ReplayBuffer(TASK, 9).load_state_dict(buffer.state_dict())
    with pytest.raises(UserError, match="has task 3m, this run 5m"):
        ReplayBuffer(load_task("5m"), 8).load_state_dict(buffer.state_dict())


def test_episodes_of_another_task_or_too_long_are_not_taken() -> None:
    with pytest.raises(ValueError, match="episodes of 5m for the replay buffer of 3m"):
        ReplayBuffer(TASK).add(make_episodes("5m", 1))
    long = make_episodes(TASK, 1).map(lambda x: torch.cat([x, x], dim=1))
    with pytest.raises(ValueError, match="122 steps, but 3m stores at most 61"):
        ReplayBuffer(TASK).add(long)
    with pytest.raises(UserError, match="capacity is 0"):
        ReplayBuffer(TASK, 0)
