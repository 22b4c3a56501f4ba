"""inspect: what it counts, how it speaks, and its exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
import torch
from factories import make_episodes

from hygen_lightning.commands.inspect import grouped, inspect
from hygen_lightning.data.hdf5 import to_arrays, write_part, write_run
from hygen_lightning.data.summary import task_and_quality
from hygen_lightning.data.validation import BEHIND_THE_END, UNMARKED_TIMEOUT
from hygen_lightning.specs import Episodes, TaskSpec, UserError
from hygen_lightning.tasks import load_task, register_task, registry

TASK = load_task("3m")
pytestmark = pytest.mark.whole_battles


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """3m medium (two runs, one episode twice) and expert (one episode of medium among its own), cn-2."""
    folder = tmp_path / "dataset"
    medium = make_episodes(TASK, 10, wins=0.4)
    write_run(folder / "3m" / "medium" / "run_0", medium, part_episodes=6, about={"policy": "noise"})
    write_run(folder / "3m" / "medium" / "run_1", medium[:1])
    expert = Episodes.cat([medium[3:4], make_episodes(TASK, 3, seed=5, wins=1.0)])
    write_run(folder / "3m" / "expert" / "run_0", expert)
    cn2 = load_task("cn-2")
    write_run(folder / "cn-2" / "expert" / "run_0", make_episodes(cn2, 4, wins=0.75))
    return folder


def _report(
    capsys: pytest.CaptureFixture[str], path: Path, task: str | None = None
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = inspect(path, task, json=True)
    return code, json.loads(capsys.readouterr().out)


def test_a_data_set_is_described_by_task_and_quality(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = _report(capsys, dataset)
    assert (code, report["ok"], report["problems"]) == (0, True, [])
    assert {task: set(entry["qualities"]) for task, entry in report["tasks"].items()} == {
        "3m": {"medium", "expert"},
        "cn-2": {"expert"},
    }
    medium = report["tasks"]["3m"]["qualities"]["medium"]
    assert (medium["runs"], medium["parts"], medium["episodes"], medium["duplicates"]) == (2, 3, 11, 1)
    assert medium["win_rate"] == pytest.approx(5 / 11)
    assert (
        medium["also_in_other_qualities"]
        + report["tasks"]["3m"]["qualities"]["expert"]["also_in_other_qualities"]
        == 1
    )
    navigation = report["tasks"]["cn-2"]["qualities"]["expert"]
    assert navigation["win_rate"] == 0.75
    assert navigation["outcomes"]["goal reached"] == 3


def test_the_numbers_are_those_of_the_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = make_episodes(TASK, 6, lengths=torch.tensor([5, 61, 9, 30, 2, 17]))
    path = tmp_path / "3m" / "medium" / "run" / "part_0.h5"
    write_part(path, episodes, {"environment": "simulator"})
    _, report = _report(capsys, path)
    got = report["tasks"]["3m"]["qualities"]["medium"]
    assert got["length"] == {"mean": pytest.approx(124 / 6), "min": 2.0, "max": 61.0}
    assert got["steps"] == 124 - 6
    returns = episodes.reward.double().sum(dim=1)
    assert got["return"] == {
        "mean": pytest.approx(float(returns.mean())),
        "min": pytest.approx(float(returns.min())),
        "max": pytest.approx(float(returns.max())),
    }
    played = [episodes.actions[b, : int(episodes.length[b]) - 1] for b in range(6)]
    counts = torch.bincount(torch.cat([p.flatten() for p in played]), minlength=9)
    assert list(got["actions"].values()) == counts.tolist()
    assert list(got["actions"])[:2] + list(got["actions"])[-1:] == ["no_op", "stop", "enemy2"]
    assert list(got["features"]["obs"]) == TASK.layout.obs_feature_names()
    assert list(got["features"]["state"]) == TASK.layout.state_feature_names()
    seen = episodes.obs[episodes.filled][..., 0]
    first = got["features"]["obs"]["own.can_move_north"]
    assert first["min"] == pytest.approx(float(seen.min()))
    assert first["mean"] == pytest.approx(float(seen.double().mean()))
    assert first["max"] == pytest.approx(float(seen.max()))
    assert got["about"] == {"task": ["3m"], "environment": ["simulator"]}


@pytest.mark.parametrize("below", [".", "3m", "3m/medium", "3m/medium/run_0", "3m/medium/run_0/part_0.h5"])
def test_any_level_of_the_folder_may_be_given(
    below: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = _report(capsys, dataset / below)
    assert code == 0
    assert report["tasks"]["3m"]["qualities"]["medium"]["episodes"] >= 6


def test_a_relative_path_knows_its_task_too(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(dataset / "3m" / "medium" / "run_0")
    code, report = _report(capsys, Path("part_0.h5"))
    assert (code, list(report["tasks"])) == (0, ["3m"])


@pytest.mark.parametrize(
    ("path", "task", "expected"),
    [
        ("3m/medium/run_0/part_0.h5", None, ("3m", "medium")),
        ("3m/medium/part_0.h5", None, ("3m", "medium")),
        ("3m/part_0.h5", None, ("3m", "unsorted")),
        ("5m/old/3m/expert/run/part_0.h5", None, ("3m", "expert")),
        ("5m/old/3m/expert/run/part_0.h5", "5m", ("5m", "old")),
        ("download/run/part_0.h5", "3m", ("3m", "unsorted")),
    ],
)
def test_the_path_names_task_and_quality(path: str, task: str | None, expected: tuple[str, str]) -> None:
    assert task_and_quality(Path(path), task) == expected


def test_every_problem_is_listed_and_the_rest_still_described(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = dataset / "3m" / "medium" / "run_2"
    arrays = to_arrays(make_episodes(TASK, 3))
    arrays["obs"][1, 0, 0, 0] = np.nan
    arrays["reward"][2, 60] = 1.0
    arrays["actions_onehot"][0, 0, 0] = 0.0
    run.mkdir()
    with h5py.File(run / "part_0.h5", "w") as file:
        for key, array in arrays.items():
            file[key] = array
    (run / "part_1.h5").write_bytes((dataset / "3m/expert/run_0/part_0.h5").read_bytes()[:-50])
    other = load_task("5m")
    write_part(run / "part_2.h5", make_episodes(other, 2))
    code, report = _report(capsys, dataset / "3m")
    assert (code, report["ok"]) == (2, False)
    wanted = [
        "part_0.h5: obs, episode 1: NaN",
        "part_0.h5: actions_onehot, episode 0: does not agree",
        "part_1.h5: truncated",
        "this is data of 5m",
    ]
    assert len(report["problems"]) == len(wanted)
    (accepted,) = report["accepted"].items()
    assert accepted == (BEHIND_THE_END, 1)
    for text in wanted:
        assert any(text in problem for problem in report["problems"]), text
    assert report["tasks"]["3m"]["qualities"]["medium"]["episodes"] == 11


def test_a_file_whose_folders_name_no_task_needs_to_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_part(tmp_path / "part_0.h5", make_episodes(TASK, 2))
    code, report = _report(capsys, tmp_path)
    assert (code, report["tasks"]) == (2, {})
    assert "its arrays fit 3m; give --task NAME" in report["problems"][0]
    code, report = _report(capsys, tmp_path, "3m")
    assert (code, list(report["tasks"])) == (0, ["3m"])
    code, report = _report(capsys, tmp_path, "5m")
    assert code == 2
    assert "this is data of 3m" in report["problems"][0]


def test_what_cannot_be_inspected_is_one_line_or_one_json_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, task, message in (
        (tmp_path / "nowhere", None, "no such file or folder"),
        (tmp_path, None, "holds no .h5 files"),
        (tmp_path, "3mm", "unknown task '3mm'; did you mean 3m"),
    ):
        with pytest.raises(UserError, match=message.replace(".", r"\.")):
            inspect(path, task)
        code, report = _report(capsys, path, task)
        assert (code, report["ok"], report["tasks"]) == (2, False, {})
        assert message in report["problems"][0]


def test_people_get_tables(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(dataset) == 0
    text = capsys.readouterr().out
    for piece in (
        "3m/medium",
        "45.5%",
        "enemy*.health",
        "goal reached",
        "policy: noise",
        "checks: all passed",
    ):
        assert piece in text, piece
    assert "enemy1.health" not in text
    inspect(dataset, features="all")
    assert "enemy1.health" in capsys.readouterr().out
    inspect(dataset, features="none")
    assert "health" not in capsys.readouterr().out


@dataclass(frozen=True)
class Untold(TaskSpec):
    """A task whose recordings do not tell success."""

    enemy_name: ClassVar[str] = "crate"


def test_recordings_that_do_not_tell_success_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {})
    task = register_task(Untold("boxes", 50, load_task("cn-2").layout))
    write_run(tmp_path / "boxes" / "medium" / "run", make_episodes(task, 3))
    assert inspect(tmp_path, features="all") == 0
    text = capsys.readouterr().out
    for piece in ("boxes/medium", "not told", "timed out", "crate1.row"):
        assert piece in text, piece


def test_a_task_file_of_the_user_explains_its_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "6m_vs_8m.yaml"
    path.write_text("allies: {marine: 6}\nenemies: {marine: 8}\n")
    task = load_task(path)
    write_run(tmp_path / "data" / "6m_vs_8m" / "expert" / "run", make_episodes(task, 3, wins=1.0))
    code, report = _report(capsys, tmp_path / "data", str(path))
    assert (code, list(report["tasks"])) == (0, ["6m_vs_8m"])
    expert = report["tasks"]["6m_vs_8m"]["qualities"]["expert"]
    assert expert["win_rate"] == 1.0
    assert list(expert["features"]["obs"]) == task.layout.obs_feature_names()
    assert list(expert["actions"])[-1] == "enemy7"
    code, report = _report(capsys, tmp_path / "data")
    assert code == 2
    assert "give --task NAME, or a task file" in report["problems"][0]


def test_what_is_put_right_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = to_arrays(make_episodes(TASK, 3))
    arrays["terminated"][2] = 0
    path = tmp_path / "3m" / "medium" / "part_0.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    assert inspect(path, features="none") == 0
    assert f"accepted: 1 episodes: {UNMARKED_TIMEOUT}" in " ".join(capsys.readouterr().out.split())


def test_problems_are_printed_for_people_too(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = dataset / "cn-2" / "expert" / "run_0" / "part_0.h5"
    part.write_bytes(b"no recording")
    assert inspect(dataset) == 2
    text = capsys.readouterr().out
    assert f"problem: {part}: not an HDF5 file" in text
    assert "checks: 1 problem\n" in text
    (dataset / "loose.h5").write_bytes(b"no recording")
    assert inspect(dataset / "loose.h5") == 2
    assert "Recordings" not in capsys.readouterr().out  # no table of nothing


def test_features_of_a_kind_are_grouped() -> None:
    features = {
        "enemy0.health": {"min": 0.0, "mean": 0.2, "max": 0.5},
        "enemy1.health": {"min": -1.0, "mean": 0.4, "max": 0.3},
        "own.health": {"min": 0.1, "mean": 0.1, "max": 0.1},
        "ally0.last_action3": {"min": 0.0, "mean": 0.0, "max": 0.0},
        "ally1.last_action4": {"min": 0.0, "mean": 1.0, "max": 1.0},
        "own.can_move_north": {"min": 1.0, "mean": 1.0, "max": 1.0},
    }
    assert grouped(features) == {
        "enemy*.health": {"min": -1.0, "mean": pytest.approx(0.3), "max": 0.5},
        "own.health": {"min": 0.1, "mean": 0.1, "max": 0.1},
        "ally*.last_action*": {"min": 0.0, "mean": 0.5, "max": 1.0},
        "own.can_move_north": {"min": 1.0, "mean": 1.0, "max": 1.0},
    }


def test_the_real_recordings_are_sound(recordings_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _report(capsys, recordings_dir)
    assert (code, report["problems"]) == (0, [])
    medium = report["tasks"]["3m"]["qualities"]["medium"]
    assert (medium["episodes"], medium["duplicates"], medium["outcomes"]["broken off"]) == (1500, 0, 0)
    assert medium["win_rate"] == pytest.approx(0.5387, abs=1e-4)
