"""A recorded run: parts that depend on their number only, and what is told of them."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hygen_lightning.data import files
from hygen_lightning.data.hdf5 import read_folder, read_header
from hygen_lightning.policy import Policy, PolicyOutput
from hygen_lightning.recordings import run_folder
from hygen_lightning.recordings.run_folder import PROVENANCE, Order, Player, RunFolder, file_digest
from hygen_lightning.rollouts.scripted import RandomPolicy, scripted_policy
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
ORDER = Order(TASK, "expert", "pull_back", episodes=10, env="simulator", seed=3, epsilon=0.2)


def player(name: str = "pull_back") -> Player:
    return Player(name, {"file": ""}, lambda seed: scripted_policy(name))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder.RunFolder, "_part_episodes", lambda self: 4)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of three parts that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder.RunFolder, "_part_episodes", lambda self: 4)
        run = RunFolder(tmp_path_factory.mktemp("whole") / "run", ORDER)
        run.record([player()])
    return run


def test_a_run_tells_what_it_holds(whole: RunFolder) -> None:
    episodes = read_folder(whole.folder, TASK)
    facts = whole.facts()
    assert whole.complete
    assert facts["results"]["episodes"] == len(episodes) == 10
    assert facts["results"]["win_rate"] == float(TASK.success(episodes).double().mean())
    assert facts["results"]["mean_return"] == pytest.approx(float(episodes.reward.sum(1).mean()), abs=1e-5)
    assert facts["results"]["mean_length_env_steps"] == float(episodes.length.double().mean()) - 1
    assert (
        facts["asked"]["environment_version"]
        == read_header(whole.folder / "part_0.h5").about["environment_version"]
    )
    assert facts["sha256"].keys() == {"part_0.h5", "part_1.h5", "part_2.h5"}
    assert facts["sha256"]["part_1.h5"].startswith(file_digest(whole.folder / "part_1.h5"))


def test_parts_are_different_battles(whole: RunFolder) -> None:
    actions = read_folder(whole.folder, TASK).actions.flatten(1)
    assert len(actions.unique(dim=0)) == len(actions)


def test_a_run_that_was_stopped_in_a_part_becomes_the_uninterrupted_one(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run", ORDER)

    def stop(episodes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.record([player()], told=stop)
    assert not run.complete
    assert {path.name for path in run.folder.iterdir()} == {"part_0.h5", PROVENANCE}
    (run.folder / ".part_1.h5.77.tmp").write_bytes(b"half")
    run.check()
    run.record([player()])
    assert contents(run.folder) == contents(whole.folder)


def test_a_full_disk_is_one_line_and_leaves_whole_parts(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run", ORDER)
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "part_2" in path.name:
            write(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"part_2\.h5: No space left on device"):
        run.record([player()])
    assert {path.name for path in run.folder.iterdir()} == {"part_0.h5", "part_1.h5", PROVENANCE}
    monkeypatch.undo()
    monkeypatch.setattr(run_folder.RunFolder, "_part_episodes", lambda self: 4)
    run.record([player()])
    assert contents(run.folder) == contents(whole.folder)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seed": 4}, "holds another recording: seed 3, not 4; give another --run name"),
        ({"episodes": 11}, "episodes 10, not 11"),
        ({"policy": "kiting"}, "policy pull_back, not kiting"),
        ({"epsilon": None}, "epsilon 0.2, not None"),
        ({"task": load_task("4m")}, "was recorded on 3m; give another --run or --dataset_dir"),
        ({"task": replace(TASK, enemy_attack_move_to=None)}, "task_digest"),
    ],
)
def test_a_folder_with_another_recording_is_refused(
    whole: RunFolder, other: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        RunFolder(whole.folder, replace(ORDER, **other)).check()


def test_recordings_of_others_and_damaged_provenance_are_refused(whole: RunFolder, tmp_path: Path) -> None:
    foreign = RunFolder(tmp_path / "run", ORDER)
    foreign.folder.mkdir()
    foreign.check()
    (foreign.folder / "part_0.h5").write_bytes((whole.folder / "part_0.h5").read_bytes())
    with pytest.raises(UserError, match=r"holds recordings without provenance\.json"):
        foreign.check()
    (foreign.folder / PROVENANCE).write_text("{")
    with pytest.raises(UserError, match=r"provenance\.json is damaged"):
        foreign.check()


def test_a_damaged_part_is_named(whole: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", ORDER)
    run.folder.mkdir()
    (run.folder / "part_1.h5").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"part_1\.h5: not an HDF5 file.*the same command records it again"):
        run.record([player()])
    assert not run.complete


def test_players_share_the_battles_in_turn(tmp_path: Path) -> None:
    class Stops:
        """Never moves, never shoots."""

        def initial_hidden(self, *_: Any) -> None:
            return None

        def act(self, task: Any, observation: Any, *_: Any) -> PolicyOutput:
            stop = observation.avail_actions[..., 1].long()
            return PolicyOutput(stop, None)

    def load(seed: int) -> Policy:
        return Stops()

    run = RunFolder(tmp_path / "run", replace(ORDER, epsilon=0.0))
    run.record(
        [Player("stops", {}, load), Player("pull_back", {}, lambda seed: scripted_policy("pull_back"))]
    )
    episodes = read_folder(run.folder, TASK)
    moved = (episodes.actions > 1).flatten(1).any(dim=1)
    assert moved.tolist() == [False] * 5 + [True] * 5
    assert json.loads((run.folder / PROVENANCE).read_text())["players"] == [
        {"name": "stops"},
        {"name": "pull_back"},
    ]


def test_an_episode_that_opens_at_random_is_shorter_and_noise_follows_the_seed(tmp_path: Path) -> None:
    def recorded(name: str, **other: Any) -> torch.Tensor:
        run = RunFolder(tmp_path / name, replace(ORDER, episodes=4, **other))
        run.record([Player("random", {}, RandomPolicy)])
        return read_folder(run.folder, TASK).obs

    plain = recorded("a/run")
    assert torch.equal(recorded("b/run"), plain)
    assert not torch.equal(recorded("c/run", max_opening_env_steps=6)[:, 0], plain[:, 0])
    assert not torch.equal(recorded("d/run", seed=5)[:, 1], plain[:, 1])
