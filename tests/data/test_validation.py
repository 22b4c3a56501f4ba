"""Bad recordings: each is refused with one line that names file, array, episode and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from factories import make_episodes
from hypothesis import given, settings
from hypothesis import strategies as st

from hygen_lightning.data.hdf5 import read_part, to_arrays, write_part
from hygen_lightning.data.validation import (
    BEHIND_THE_END,
    REQUIRED_KEYS,
    UNMARKED_TIMEOUT,
    check_values,
    expected_shapes,
    tasks_that_fit,
)
from hygen_lightning.specs import EPISODE_TENSORS, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.maps import map_names

TASK = load_task("3m")
LENGTHS = torch.tensor([9, 61, 20, 5, 33])
Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    return to_arrays(make_episodes(TASK, 5, lengths=LENGTHS))


def _write(path: Path, arrays: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def _set(key: str, index: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    return lambda arrays: arrays[key].__setitem__(index, value)


def _forbid_the_chosen(arrays: Arrays) -> None:
    arrays["avail_actions"][2, 3, 1, arrays["actions"][2, 3, 1, 0]] = 0


def _end_nowhere(arrays: Arrays) -> None:
    arrays["terminated"][4] = 0


def _end_late(arrays: Arrays) -> None:
    arrays["terminated"][3] = 0
    arrays["terminated"][3, 4] = 1


def _store_one_step_only(arrays: Arrays) -> None:
    arrays["filled"][3, 1:] = 0


def _shift_one_hot(arrays: Arrays) -> None:
    arrays["actions_onehot"][1, 2, 0] = np.roll(arrays["actions_onehot"][1, 2, 0], 1)


BAD_VALUES: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "NaN in an observation": (_set("obs", (1, 4, 2, 7), np.nan), "obs, episode 1: NaN or infinity at step 4"),
    "infinity in a state": (_set("state", (0, 3, 7), np.inf), "state, episode 0: NaN or infinity at step 3"),
    "NaN in a reward": (_set("reward", (2, 0, 0), np.nan), "reward, episode 2: NaN or infinity at step 0"),
    "an unavailable action": (
        _forbid_the_chosen,
        "actions, episode 2: an action that was not available at step 3",
    ),
    "an unknown action": (
        _set("actions", (2, 3, 1, 0), 9),
        "actions, episode 2: an action other than 0..8 at step 3",
    ),
    "a negative action": (
        _set("actions", (0, 1, 1, 0), -1),
        "actions, episode 0: an action other than 0..8 at step 1",
    ),
    "no end": (_end_nowhere, "terminated, episode 4: does not end exactly once"),
    "two ends": (_set("terminated", (4, 3, 0), 1), "terminated, episode 4: does not end exactly once"),
    "an end too late": (_end_late, "terminated, episode 3: ends elsewhere"),
    "a hole": (_set("filled", (4, 5, 0), 0), "filled, episode 4: steps are missing in between at step 5"),
    "a single step": (_store_one_step_only, "filled, episode 3: less than one action"),
    "another one-hot": (_shift_one_hot, "actions_onehot, episode 1: does not agree with actions at step 2"),
}


@pytest.mark.parametrize("fault", BAD_VALUES)
def test_a_bad_value_is_found_where_it_is(fault: str, arrays: Arrays, tmp_path: Path) -> None:
    spoil, message = BAD_VALUES[fault]
    assert check_values(arrays, TASK, "part_0.h5").problems == []
    spoil(arrays)
    found = [str(problem) for problem in check_values(arrays, TASK, "part_0.h5").problems]
    assert any(line.startswith(f"part_0.h5: {message}") for line in found), found
    assert all("\n" not in line for line in found)
    if fault != "another one-hot":  # which loading ignores, because it derives it
        path = _write(tmp_path / "part_0.h5", arrays)
        with pytest.raises(UserError, match=r"part_0\.h5: \w+, episode \d: .*; record the run again"):
            read_part(path, TASK)


def _poison_what_nobody_reads(arrays: Arrays) -> None:
    """The time behind the end, and the reward of the final step; LENGTHS [9, 61, 20, 5, 33]."""
    for row, length in enumerate(LENGTHS.tolist()):
        for key in ("obs", "state", "reward"):
            arrays[key][row, length:] = np.nan
        arrays["reward"][row, length - 1] = 5.0


def test_nan_and_rewards_behind_the_end_are_ignored_and_said(tmp_path: Path) -> None:
    episodes = make_episodes(TASK, 5, lengths=LENGTHS)
    arrays = to_arrays(episodes)
    _poison_what_nobody_reads(arrays)
    arrays["terminated"][0, 30] = 1
    found = check_values(arrays, TASK, "part_0.h5")
    assert found.problems == []
    assert found.accepted == {BEHIND_THE_END: 5}
    read = read_part(_write(tmp_path / "part_0.h5", arrays), TASK)
    assert all(torch.equal(getattr(read, name), getattr(episodes, name)) for name in EPISODE_TENSORS)


def test_time_outs_that_no_step_marks_as_the_end_are_truncated(arrays: Arrays, tmp_path: Path) -> None:
    arrays["terminated"][1] = 0  # the episode of 61 stored steps, as PyMARL writes it
    found = check_values(arrays, TASK, "part_0.h5")
    assert found.problems == []
    assert found.accepted == {UNMARKED_TIMEOUT: 1}
    read = read_part(_write(tmp_path / "part_0.h5", arrays), TASK)
    assert read.terminated[1].nonzero().flatten().tolist() == [59]
    assert read.truncated[1].nonzero().flatten().tolist() == [59]
    assert not check_values(to_arrays(read), TASK, "again.h5").accepted


def test_episodes_are_counted_and_numbered_within_the_file(arrays: Arrays) -> None:
    arrays["obs"][2:4, 0] = np.nan
    (problem,) = check_values(arrays, TASK, "x.h5", first_episode=1000).problems
    assert problem.episode == 1002
    assert "(2 episodes have this)" in str(problem)


@pytest.mark.parametrize("key", REQUIRED_KEYS)
def test_a_missing_array_is_named(key: str, arrays: Arrays, tmp_path: Path) -> None:
    del arrays[key]
    with pytest.raises(UserError, match=rf"part_0\.h5: no '{key}' \(the file holds .*actions_onehot"):
        read_part(_write(tmp_path / "part_0.h5", arrays), TASK)


BAD_ARRAYS: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "of no known map": (lambda a: {**a, "obs": a["obs"][..., :7]}, "no known task has these shapes"),
    "of different lengths": (
        lambda a: {**a, "reward": a["reward"][:3]},
        "differ in their numbers of episodes: .*obs 5.*reward 3",
    ),
    "of text": (
        lambda a: {**a, "reward": np.full(a["reward"].shape, b"x")},
        r"reward: holds \|S1 instead of numbers",
    ),
    "of no episodes": (lambda a: {key: array[:0] for key, array in a.items()}, "holds no episodes"),
}


@pytest.mark.parametrize("fault", BAD_ARRAYS)
def test_arrays_that_cannot_be_episodes_are_refused(fault: str, arrays: Arrays, tmp_path: Path) -> None:
    spoil, message = BAD_ARRAYS[fault]
    with pytest.raises(UserError, match=message):
        read_part(_write(tmp_path / "part_0.h5", spoil(arrays)), TASK)


def test_data_of_another_map_is_recognised(tmp_path: Path) -> None:
    other = load_task("5m_vs_6m")
    path = _write(tmp_path / "part_0.h5", to_arrays(make_episodes(other, 2)))
    with pytest.raises(
        UserError, match=r"obs: shape .* where 3m has \(episodes, 61, 3, 30\); .* of 5m_vs_6m"
    ):
        read_part(path, TASK)


def test_a_map_of_the_same_shapes_is_told_by_the_note_of_the_recorder(tmp_path: Path) -> None:
    write_part(tmp_path / "part_0.h5", make_episodes(TASK, 2), {"task": "3m_on_ice"})
    with pytest.raises(UserError, match=r"part_0\.h5: was recorded on 3m_on_ice; give the data of 3m"):
        read_part(tmp_path / "part_0.h5", TASK)


def test_the_shapes_of_every_task_are_recognised_as_its_own() -> None:
    for name in [*map_names(), "cn-3"]:
        shapes = {key: (7, *shape) for key, shape in expected_shapes(load_task(name)).items()}
        assert name in tasks_that_fit(shapes)


def test_foreign_hdf5_and_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_group("layer").create_dataset("kernel", data=np.zeros(3))
    with pytest.raises(UserError, match=r"weights\.h5: no 'obs'.*\(the file holds nothing\)"):
        read_part(tmp_path / "weights.h5", TASK)
    (tmp_path / "text.h5").write_text("not HDF5 at all")
    with pytest.raises(UserError, match=r"text\.h5: not an HDF5 file"):
        read_part(tmp_path / "text.h5", TASK)
    with pytest.raises(UserError, match=r"nothing\.h5: no such file"):
        read_part(tmp_path / "nothing.h5", TASK)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.0, 0.999), flips=st.lists(st.integers(0, 2**31), max_size=8))
def test_a_truncated_or_damaged_file_gives_one_line_or_its_episodes(
    tmp_path_factory: pytest.TempPathFactory, share: float, flips: list[int]
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "part_0.h5"
    _write(path, to_arrays(make_episodes(TASK, 1)))
    content = bytearray(path.read_bytes())
    for flip in flips:
        content[flip % min(len(content), 6000)] ^= 0x5A
    path.write_bytes(content if flips else content[: int(len(content) * share)])
    message = _complaint(path)
    if message is None:
        assert flips
    else:
        assert message.startswith(f"{path}: ")
        assert "\n" not in message


def _complaint(path: Path) -> str | None:
    """What loading says against a file of one episode."""
    try:
        assert len(read_part(path, TASK)) == 1
    except UserError as error:
        return str(error)
    return None
