"""The HDF5 format: real files read unchanged, written ones equal bit for bit, in natural order."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from factories import make_episodes
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_command

from hygen_lightning.data import files, hdf5
from hygen_lightning.data.hdf5 import (
    DTYPES,
    find_parts,
    read_blocks,
    read_folder,
    read_header,
    read_part,
    read_rows,
    to_arrays,
    to_episodes,
    write_part,
    write_run,
)
from hygen_lightning.specs import EPISODE_TENSORS, Episodes, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.maps import map_names


def assert_equal(left: Episodes, right: Episodes) -> None:
    assert left.task == right.task
    for name in EPISODE_TENSORS:
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b), name


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


def test_every_real_recording_passes_the_checks_and_survives_reading_and_writing_bit_for_bit(
    recordings_dir: Path, tmp_path: Path
) -> None:
    for path in find_parts(recordings_dir):
        task = load_task(path.relative_to(recordings_dir).parts[0])
        found, blocks = zip(*read_blocks(path, task, with_onehot=True))
        assert not any(one.problems or one.accepted for one in found)
        episodes, original = Episodes.cat(blocks), _arrays(path)
        arrays = to_arrays(episodes)
        assert all(np.array_equal(original[key], arrays[key]) for key in original), path
        write_part(tmp_path / "part_0.h5", episodes[:64])  # to pack all of them takes long
        original, written = {k: x[:64] for k, x in original.items()}, _arrays(tmp_path / "part_0.h5")
        assert original.keys() == written.keys()
        for key in original:
            assert original[key].dtype == written[key].dtype, (path, key)
            assert np.array_equal(original[key], written[key]), (path, key)


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from([*map_names(), "cn-2", "cn-5"]),
    n=st.integers(1, 4),
    seed=st.integers(0, 2**20),
)
def test_episodes_of_any_task_survive_the_arrays_of_the_format(name: str, n: int, seed: int) -> None:
    task = load_task(name)
    episodes = make_episodes(task, n, seed=seed)
    arrays = to_arrays(episodes)
    assert {key: array.dtype for key, array in arrays.items()} == {k: np.dtype(v) for k, v in DTYPES.items()}
    assert_equal(to_episodes(arrays, task), episodes)


def test_runs_and_parts_are_joined_in_natural_order(tmp_path: Path) -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 24)
    folder = tmp_path / "3m" / "medium"
    late = write_run(folder / "run_10", episodes[12:], part_episodes=1)
    early = write_run(folder / "run_9", episodes[:12], part_episodes=1)
    assert [path.name for path in early] == [f"part_{k}.h5" for k in range(12)]
    assert find_parts(folder) == [*early, *late]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked").symlink_to(folder)
    (folder / "round").symlink_to(elsewhere)
    assert len(find_parts(elsewhere)) == len([*early, *late]), "through a link, and not round for ever"
    assert_equal(read_folder(folder, task), episodes)


def test_unfinished_recordings_in_hidden_places_are_left_out(tmp_path: Path) -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 2)
    parts = write_run(tmp_path / "medium" / "run", episodes)
    write_run(tmp_path / ".medium.123" / "run", episodes)
    write_part(tmp_path / "medium" / "run" / ".part_1.h5", episodes)
    assert find_parts(tmp_path) == parts


def test_short_episodes_are_padded_to_the_episode_limit(tmp_path: Path) -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 3, lengths=torch.tensor([5, 9, 2]))
    write_part(tmp_path / "part_0.h5", episodes.trimmed())
    assert _arrays(tmp_path / "part_0.h5")["obs"].shape == (3, 61, 3, 30)
    assert_equal(read_part(tmp_path / "part_0.h5", task), episodes)


def test_files_without_the_redundant_one_hot_or_the_trailing_axis_are_read_too(tmp_path: Path) -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 4)
    arrays = to_arrays(episodes)
    del arrays["actions_onehot"]
    with h5py.File(tmp_path / "part_0.h5", "w") as file:
        for key, array in arrays.items():
            file[key] = array[..., 0] if array.shape[-1] == 1 else array
    assert_equal(read_part(tmp_path / "part_0.h5", task), episodes)


def test_what_stands_in_the_padding_is_never_seen() -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 2, lengths=torch.tensor([4, 7]))
    arrays = to_arrays(episodes)
    arrays["actions"][:, 10:] = 77
    assert torch.equal(to_episodes(arrays, task).actions, episodes.actions)


def test_rows_can_be_read_by_themselves(tmp_path: Path) -> None:
    task = load_task("5m_vs_6m")
    episodes = make_episodes(task, 9)
    write_part(tmp_path / "part_0.h5", episodes)
    rows = np.array([1, 4, 8])
    assert_equal(read_rows(tmp_path / "part_0.h5", task, rows), episodes[torch.from_numpy(rows)])


def test_big_files_are_read_in_blocks_that_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 11)
    write_part(tmp_path / "part_0.h5", episodes)
    monkeypatch.setattr(hdf5, "BLOCK_EPISODES", 4)
    assert_equal(read_part(tmp_path / "part_0.h5", task), episodes)
    with h5py.File(tmp_path / "part_0.h5", "r+") as file:
        file["reward"][9, 0, 0] = np.nan
    with pytest.raises(UserError, match="reward, episode 9: NaN"):
        read_part(tmp_path / "part_0.h5", task)


def test_a_file_says_how_it_was_recorded(tmp_path: Path) -> None:
    task = load_task("3m")
    write_part(tmp_path / "part_0.h5", make_episodes(task, 1), {"environment": "simulator", "seed": 7})
    expected = {"task": "3m", "environment": "simulator", "seed": 7}
    assert read_header(tmp_path / "part_0.h5").about == expected


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    task = load_task("3m")
    write_run(tmp_path / "run", make_episodes(task, 2))
    with pytest.raises(UserError, match="already holds recordings"):
        write_run(tmp_path / "run", make_episodes(task, 2))


def test_writing_refuses_what_loading_would_refuse(tmp_path: Path) -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 2)
    episodes.obs[1, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=r"obs, episode 1: NaN or infinity at step 0"):
        write_part(tmp_path / "part_0.h5", episodes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("owner", "function"), [(files.os, "fsync"), (Path, "write_bytes")])
def test_a_full_disk_is_one_line_and_leaves_the_old_file_and_nothing_else(
    owner: object, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task("3m")
    path = tmp_path / "part_0.h5"
    write_part(path, make_episodes(task, 2))
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(owner, function, full_disk)
    with pytest.raises(UserError, match=r"part_0\.h5: No space left on device, 0\.\d MB not written"):
        write_part(path, make_episodes(task, 5))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["part_0.h5"]


@pytest.mark.slow
def test_a_disk_that_is_really_full_ends_collect_with_one_line(tmp_path: Path) -> None:
    """HDF5 itself crashes the process there; its files are made in memory."""
    words = ("collect", "3m", "--policy", "kiting", "--episodes", "8")
    words = (*words, "--dataset_dir", str(tmp_path / "data"))
    code, _, err = run_command(*words, largest_file_bytes=8192)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "part_0.h5: File too large, 0." in err
    assert not list(tmp_path.rglob("*part_0*"))


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.h5 files"):
        read_folder(tmp_path, load_task("3m"))
