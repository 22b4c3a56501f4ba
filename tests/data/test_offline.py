"""Recordings of one task and quality: epochs, shards, win rates, and what is said when they miss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories import make_episodes, step_bytes

from hygen_lightning.data.buffers import EpisodesInMemory, EpisodesOnDisk, load_offline
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.specs import EPISODE_TENSORS, Episodes, UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def _record(folder: Path, quality: str, n: int, wins: float = 0.5, seed: int = 0) -> Episodes:
    episodes = make_episodes(TASK, n, seed=seed, wins=wins)
    write_run(folder / TASK.name / quality / "run_0", episodes, part_episodes=10)
    return episodes


def _marks(episodes: Episodes) -> list[float]:
    """A number that tells episodes apart."""
    return episodes.obs[:, 0, 0, 0].tolist()


def test_an_epoch_draws_every_episode_once_across_batches(tmp_path: Path) -> None:
    marks = set(_marks(_record(tmp_path, "medium", 25)))
    source = load_offline(tmp_path, TASK, "medium")
    generator = torch.Generator().manual_seed(0)
    drawn = [mark for _ in range(10) for mark in _marks(source.sample(5, generator))]
    assert set(drawn[:25]) == set(drawn[25:]) == marks
    assert drawn[:25] != drawn[25:]


def test_a_batch_holds_different_episodes_even_across_epochs(tmp_path: Path) -> None:
    _record(tmp_path, "medium", 10)
    source = load_offline(tmp_path, TASK, "medium")
    generator = torch.Generator().manual_seed(0)
    assert all(len(set(_marks(source.sample(7, generator)))) == 7 for _ in range(30))


def test_a_batch_may_span_epochs_and_exceed_the_data_set(tmp_path: Path) -> None:
    marks = _marks(_record(tmp_path, "medium", 6))
    source = load_offline(tmp_path, TASK, "medium")
    drawn = _marks(source.sample(18, torch.Generator().manual_seed(0)))
    assert sorted(drawn) == sorted(marks * 3)


def test_medium_expert_is_half_and_half_whatever_the_sizes(tmp_path: Path) -> None:
    medium = set(_marks(_record(tmp_path, "medium", 30, wins=0.5, seed=1)))
    expert = set(_marks(_record(tmp_path, "expert", 10, wins=0.9, seed=2)))
    source = load_offline(tmp_path, TASK, "medium-expert")
    assert len(source) == 40
    assert source.statistics.win_rate == pytest.approx(0.7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        marks = set(_marks(source.sample(8, generator)))
        assert (len(medium & marks), len(expert & marks)) == (4, 4)
    odd = [_marks(source.sample(3, generator)) for _ in range(4)]
    assert [len(medium & set(marks)) for marks in odd] == [2, 1, 2, 1]


def test_recordings_called_medium_expert_are_taken_as_they_are(tmp_path: Path) -> None:
    marks = _marks(_record(tmp_path, "medium-expert", 5))
    assert sorted(_marks(load_offline(tmp_path, TASK, "medium-expert").all())) == sorted(marks)


def test_shards_are_disjoint_cover_all_and_know_the_whole(tmp_path: Path) -> None:
    marks = _marks(_record(tmp_path, "medium", 11, wins=4 / 11))
    whole = load_offline(tmp_path, TASK, "medium")
    shards = [whole.shard(rank, 3) for rank in range(3)]
    assert [len(shard) for shard in shards] == [4, 4, 3]
    own = [_marks(shard.all()) for shard in shards]
    assert sorted(mark for shard_marks in own for mark in shard_marks) == sorted(marks)
    generator = torch.Generator().manual_seed(0)
    for shard, shard_marks in zip(shards, own):
        assert set(_marks(shard.sample(20, generator))) == set(shard_marks)
        assert (shard.statistics.win_rate, shard.statistics.mean_return) == (
            whole.statistics.win_rate,
            whole.statistics.mean_return,
        )


def test_too_few_episodes_for_all_processes_are_refused(tmp_path: Path) -> None:
    _record(tmp_path, "medium", 3)
    with pytest.raises(UserError, match="3m/medium: 3 episodes cannot be shared by 4 processes"):
        load_offline(tmp_path, TASK, "medium").shard(0, 4)


def test_recordings_too_big_for_memory_stay_in_their_files_and_give_the_same_batches(
    tmp_path: Path,
) -> None:
    _record(tmp_path, "medium", 25)
    n_steps = int(load_offline(tmp_path, TASK, "medium").all().length.sum())
    size_gb = n_steps * step_bytes(TASK) / 1e9
    held = load_offline(tmp_path, TASK, "medium", max_in_memory_gb=size_gb)
    left = load_offline(tmp_path, TASK, "medium", max_in_memory_gb=size_gb * 0.99)
    assert isinstance(held, EpisodesInMemory)
    assert isinstance(left, EpisodesOnDisk)
    assert (held.statistics.win_rate, held.statistics.mean_return) == (
        left.statistics.win_rate,
        left.statistics.mean_return,
    )
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    for n in (4, 1, 30, 8):
        a, b = held.sample(n, generators[0]), left.sample(n, generators[1])
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in EPISODE_TENSORS)


def test_files_left_on_disk_are_checked_as_well(tmp_path: Path) -> None:
    _record(tmp_path, "medium", 25)
    part = tmp_path / "3m" / "medium" / "run_0" / "part_2.h5"
    part.write_bytes(part.read_bytes()[:-100])
    for max_in_memory_gb in (0.0, 1.0):
        with pytest.raises(UserError, match=r"part_2\.h5: truncated or damaged"):
            load_offline(tmp_path, TASK, "medium", max_in_memory_gb)


def test_a_missing_data_set_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recordings; give another dataset_dir"):
        load_offline(tmp_path, TASK, "medium")
    _record(tmp_path, "medium", 2)
    with pytest.raises(UserError, match=r"no recordings at .*3m/expert; .* holds 3m/medium; choose"):
        load_offline(tmp_path, TASK, "expert")
    with pytest.raises(UserError, match=r"no recordings at .*3m/expert; .* holds 3m/medium; choose"):
        load_offline(tmp_path, TASK, "medium-expert")
    with pytest.raises(UserError, match=r"no recordings at .*5m/medium; .* holds 3m/medium"):
        load_offline(tmp_path, load_task("5m"), "medium")
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_offline(tmp_path / "nowhere", TASK, "medium")


def test_a_state_of_another_data_set_is_refused(tmp_path: Path) -> None:
    _record(tmp_path / "a", "medium", 5)
    _record(tmp_path / "b", "medium", 6)
    state = load_offline(tmp_path / "a", TASK, "medium").state_dict()
    with pytest.raises(UserError, match=r"written with .*5.* recorded episodes, here are .*6"):
        load_offline(tmp_path / "b", TASK, "medium").load_state_dict(state)


def test_a_state_of_another_shard_is_refused(tmp_path: Path) -> None:
    _record(tmp_path, "medium", 9)
    whole = load_offline(tmp_path, TASK, "medium")
    shard = whole.shard(0, 2)
    shard.sample(2, torch.Generator())
    whole.shard(0, 2).load_state_dict(shard.state_dict())
    with pytest.raises(UserError, match="by another number of processes"):
        whole.shard(1, 2).load_state_dict(shard.state_dict())


def test_returns_count_the_rewards_of_played_steps(tmp_path: Path) -> None:
    episodes = _record(tmp_path, "medium", 8)
    source = load_offline(tmp_path, TASK, "medium")
    returns = [
        sum(float(r) for r in episodes.reward[b, : int(episodes.length[b]) - 1]) for b in range(len(episodes))
    ]
    assert source.statistics.mean_return == pytest.approx(sum(returns) / 8)
    assert source.statistics.best_return == pytest.approx(max(returns))


@pytest.mark.parametrize(
    ("task", "quality", "episodes", "win_rate", "mean_return"),
    [
        ("3m", "medium", 1500, 0.53867, 13.960),
        ("cn-2", "expert", 2000, 1.0, 1.0),
        ("cn-2", "medium-expert", 4000, 0.71925, 0.71925),
        ("cn-4", "medium", 2000, 0.034, 0.034),
    ],
)
def test_the_real_recordings_have_their_known_results(
    recordings_dir: Path, task: str, quality: str, episodes: int, win_rate: float, mean_return: float
) -> None:
    source = load_offline(recordings_dir, load_task(task), quality)
    assert len(source) == episodes
    assert source.statistics.win_rate == pytest.approx(win_rate, abs=1e-5)
    assert source.statistics.mean_return == pytest.approx(mean_return, abs=1e-3)
