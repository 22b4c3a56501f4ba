"""One contract over all storages of episodes: recordings in memory or in files, the replay buffer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from factories import make_episodes, step_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from hygen_lightning.data.buffers import OfflineEpisodes, ReplayBuffer, load_offline, pack, unpack
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.specs import EPISODE_TENSORS, Episodes, TaskSpec
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
N = 30
Store = OfflineEpisodes | ReplayBuffer


def _recorded(folder: Path, task: TaskSpec, episodes: Episodes) -> Path:
    for quality in ("medium", "expert"):
        write_run(folder / task.name / quality / "run", episodes, part_episodes=13)
    return folder


def _in_memory(folder: Path, episodes: Episodes) -> Store:
    return load_offline(_recorded(folder, TASK, episodes), TASK, "medium")


def _in_files(folder: Path, episodes: Episodes) -> Store:
    return load_offline(_recorded(folder, TASK, episodes), TASK, "medium", max_in_memory_gb=0.0)


def _mixed(folder: Path, episodes: Episodes) -> Store:
    return load_offline(_recorded(folder, TASK, episodes), TASK, "medium-expert")


def _replayed(folder: Path, episodes: Episodes) -> Store:
    buffer = ReplayBuffer(TASK, capacity_episodes=len(episodes))
    buffer.add(make_episodes(TASK, 7, seed=99))
    buffer.add(episodes)
    return buffer


STORES: dict[str, Callable[[Path, Episodes], Store]] = {
    "in memory": _in_memory,
    "in files": _in_files,
    "medium-expert": _mixed,
    "replay": _replayed,
}


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Episodes], Store]:
    return lambda episodes: STORES[request.param](tmp_path / str(id(episodes)), episodes)


def _same(left: Episodes, right: Episodes) -> bool:
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in EPISODE_TENSORS)


def _places(sample: Episodes, episodes: Episodes) -> list[int]:
    """Where each sampled episode stands in `episodes`, found by its first state."""
    matches = (sample.state[:, None, 0] == episodes.state[None, :, 0]).all(-1)
    assert (matches.sum(dim=1) == 1).all()
    return matches.int().argmax(dim=1).tolist()


def test_samples_are_stored_episodes_unchanged_and_trimmed(make_store) -> None:
    episodes = make_episodes(TASK, N)
    store = make_store(episodes)
    generator = torch.Generator().manual_seed(1)
    for n in (1, 2, 5, 12):
        sample = store.sample(n, generator)
        assert len(sample) == n
        assert sample.n_steps == sample.length.max()
        original = episodes[torch.tensor(_places(sample, episodes))].trimmed()
        assert _same(sample, original)
        assert all(getattr(sample, name).dtype == getattr(original, name).dtype for name in EPISODE_TENSORS)


def test_an_interrupted_stream_goes_on_with_the_same_episodes(make_store) -> None:
    episodes = make_episodes(TASK, N)
    store, resumed = make_store(episodes), make_store(episodes[:])
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        store.sample(7, generator)
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    resumed.load_state_dict(store.state_dict())
    for _ in range(8):
        assert _same(store.sample(7, generator), resumed.sample(7, copy))


def test_the_state_can_be_saved_and_read_without_pickled_code(make_store, tmp_path: Path) -> None:
    store = make_store(make_episodes(TASK, N))
    store.sample(3, torch.Generator())
    torch.save(store.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state.keys() == store.state_dict().keys()


def test_an_earlier_state_is_not_changed_by_later_draws(tmp_path: Path) -> None:
    store = _in_memory(tmp_path, make_episodes(TASK, N))
    store.sample(3, torch.Generator())
    state = store.state_dict()
    before = state["left"][0].clone()
    store.sample(20, torch.Generator())
    assert torch.equal(state["left"][0], before)


def test_no_episodes_cannot_be_asked_for(make_store) -> None:
    with pytest.raises(ValueError, match="0 episodes asked for"):
        make_store(make_episodes(TASK, 3)).sample(0, torch.Generator())


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(["3m", "2s3z", "10m_vs_12m", "MMM2", "cn-3"]),
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=8),
)
def test_packing_loses_nothing_and_takes_what_it_says(name: str, rows: list[int]) -> None:
    task = load_task(name)
    episodes = make_episodes(task, 5)
    packed = pack(episodes)
    assert _same(unpack(name, [packed[row] for row in rows]), episodes[torch.tensor(rows)].trimmed())
    held = sum(x.nbytes for episode in packed for x in episode.values())
    assert held == int(episodes.length.sum()) * step_bytes(task)
