"""collect: recordings of a policy or of teachers, in the format that everything else reads."""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Forked, run_command
from refusals import refused
from tiny_teachers import clones

from hygen_lightning.algorithms import BC
from hygen_lightning.cli import main
from hygen_lightning.data.buffers import load_offline
from hygen_lightning.data.hdf5 import find_parts, read_folder
from hygen_lightning.recordings import run_folder
from hygen_lightning.recordings.run_folder import PROVENANCE
from hygen_lightning.recordings.trail import trail_points
from hygen_lightning.tasks import load_task


def _clones(folder: Path, **other: Any) -> list[str]:
    """Options of collect for teachers that learn in seconds."""
    return ["--teacher", str(clones(folder, **other)), "--dataset_dir", str(folder / "data")]


def contents(folder: Path) -> dict[str, bytes]:
    """All recordings below a folder, and what is told of them."""
    files = [*find_parts(folder), *folder.rglob(PROVENANCE)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# One policy


def test_collected_battles_pass_inspection_and_are_as_many_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["collect", "3m", "--dataset_dir", str(tmp_path), "--episodes", "5", "--policy", "nearest_attack"]
    assert main([*argv, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["recordings"]
    episodes = read_folder(tmp_path / "3m/expert/collected", load_task("3m"))
    assert told["episodes"] == len(episodes) == 5
    assert told["mean_return"] == pytest.approx(float(episodes.reward.sum(1).mean()), abs=1e-5)
    assert told["published_win_rate"] == 0.991
    assert main(["inspect", str(tmp_path), "--json"]) == 0


def test_the_same_command_again_does_nothing_and_another_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["collect", "3m", "--policy", "kiting", "--dataset_dir", str(tmp_path), "--episodes", "2"]
    assert main(argv) == 0
    before = contents(tmp_path)
    assert "to make: 2 battles of 1 task" in capsys.readouterr().out
    assert main(argv) == 0
    assert "is there already" in capsys.readouterr().out
    assert "seed 1, not 2; give another --run name" in refused([*argv, "--seed", "2"], capsys)
    assert contents(tmp_path) == before


def test_several_tasks_and_the_training_tasks_of_a_set_are_recorded(tmp_path: Path) -> None:
    options = ["--policy", "random", "--quality", "random", "--episodes", "2", "--dataset_dir"]
    assert main(["collect", "3m", "4m", *options, str(tmp_path / "a")]) == 0
    assert main(["collect", "--task_set", "toy", *options, str(tmp_path / "b")]) == 0
    assert {path.parts[-4] for path in find_parts(tmp_path / "a")} == {"3m", "4m"}
    assert {path.parts[-4] for path in find_parts(tmp_path / "b")} == {"3m"}, "not its unseen tasks"


def test_the_same_seed_collects_the_same_battles_and_another_seed_others(tmp_path: Path) -> None:
    actions = []
    for run, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        argv = ["collect", "3m", "--dataset_dir", str(tmp_path / run), "--episodes", "3", "--seed", seed]
        assert main([*argv, "--policy", "kiting", "--epsilon", "0.5", "--max_opening_env_steps", "3"]) == 0
        actions.append(read_folder(tmp_path / run / "3m", load_task("3m")).actions.tolist())
    assert actions[0] == actions[1] != actions[2]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--epsilon", "2"], "--epsilon is 2.0; it is a share"),
        (["--episodes", "0"], "--episodes is 0; give 1 to"),
        (["--policy", "nobody"], "unknown policy 'nobody'"),
        (["--quality", "expert,medium"], "one --policy plays one quality; name one"),
        (["--teachers", "0"], "--teachers is 0"),
        (["--teacher_steps", "0"], "--teacher_steps is 0"),
        (["--run", "a/b"], "--run is 'a/b'; give the name of a folder"),
    ],
)
def test_impossible_wishes_are_refused(
    option: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["collect", "3m", "--policy", "kiting", "--dataset_dir", str(tmp_path), *option]
    assert told in refused(argv, capsys)
    assert not find_parts(tmp_path)


# Teachers


@pytest.mark.slow
@pytest.mark.whole_battles
def test_teachers_are_trained_once_and_their_checkpoints_play_all_qualities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "3m", *_clones(tmp_path), "--episodes", "41", "--teachers", "2"]
    assert main([*words, "--quality", "expert,medium-expert,medium-replay,random"]) == 0
    out = capsys.readouterr().out
    assert [out.count(f"training teacher {n}") for n in (1, 2, 3)] == [1, 1, 0]
    assert "164 battles of 1 tasks, 2 teachers to train" in out
    data, task = tmp_path / "data", load_task("3m")
    assert main(["inspect", str(data)]) == 0
    assert {path.parts[-3] for path in find_parts(data)} == {"expert", "medium", "medium-replay", "random"}
    assert [path.name for path in sorted((data / "3m/expert").iterdir())] == ["collected-1", "collected-2"]
    assert len(list((data / "teachers/3m").iterdir())) == 2
    told = {path.parts[-3]: json.loads(path.read_text()) for path in data.rglob(PROVENANCE)}
    assert told["expert"]["players"][0]["step"] > 0
    assert told["medium-replay"]["players"][0]["step"] == 0
    assert told["random"]["results"]["mean_return"] < told["expert"]["results"]["mean_return"]
    assert len(load_offline(data, task, "medium-expert")) == 82
    loaded = load_offline(data, task, "expert")
    assert len(loaded) == loaded.asked == 41
    assert loaded.statistics.source.count("teacher") == 2
    assert main([*words, "--quality", "medium"]) == 0
    assert "training" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_a_teacher_does_not_reach_is_one_line_and_the_rest_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _clones(tmp_path, within=0.0, least_expert=1.0)
    argv = ["collect", "4m", *words, "--teacher_steps", "2", "--quality", "expert,random", "--episodes", "4"]
    assert main(argv) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert "4m/expert: wanted at least 100%, the teacher wins" in said.err
    assert "train longer (--teacher_steps)" in said.err
    assert [path.parts[-3] for path in find_parts(tmp_path / "data")] == ["random"]


@pytest.mark.slow
def test_collecting_that_is_killed_three_times_gives_the_files_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run_folder.RunFolder, "_part_episodes", lambda self: 16)
    options = ["--quality", "expert,medium,medium-replay,random", "--episodes", "40"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    began = time.monotonic()
    code, _, err = run_command("collect", "3m", *_clones(tmp_path / "whole"), *options)
    took_s = time.monotonic() - began
    assert code == 0, err
    words = ["collect", "3m", *_clones(tmp_path / "killed"), *options]
    draw = random.Random(took_s)
    for _ in range(3):
        with Forked(*words) as process:
            time.sleep(took_s * draw.uniform(0.1, 0.5))
            process.kill()
    code, _, err = run_command(*words)
    assert code == 0, err
    whole, killed = tmp_path / "whole/data", tmp_path / "killed/data"
    assert contents(killed) == contents(whole)
    assert len(find_parts(whole)) == 4 * 3
    assert not [path for path in killed.rglob(".*") if path.name not in {".collect.lock", ".lock"}]


@pytest.mark.slow
def test_ctrl_c_while_a_teacher_learns_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = ["collect", "3m", *_clones(tmp_path, max_steps={"others": 100}), "--episodes", "8"]
    with Forked(*words) as process:
        for line in process.stdout:
            if line.startswith("step 25:"):
                process.send_signal(signal.SIGINT)
                break
        out = process.stdout.read()
        assert process.exit_code() == 130
    assert "the same command goes on" in out
    assert main([*words, "--teacher_steps", "100"]) == 0
    (run,) = (tmp_path / "data/teachers/3m").glob("*/*")
    assert trail_points(run, "3m")[-1].step == 100


def test_a_checkpoint_of_another_family_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = load_task("2s3z").layout.widths
    content = {
        "model_config": {"class_path": "hygen_lightning.algorithms.bc.BC", "init_args": {"width": 8}},
        "hyper_parameters": {"width": 8, "widths": asdict(widths)},
        "trained_on": {"2s3z": "2s3z"},
        "state_dict": BC(widths, width=8).state_dict(),
    }
    torch.save(content, tmp_path / "other.ckpt")
    argv = ["collect", "3m", "--policy", str(tmp_path / "other.ckpt"), "--dataset_dir", str(tmp_path / "d")]
    assert "plays 2s3z and tasks like these; 3m describes units by other features" in refused(argv, capsys)


@pytest.mark.whole_battles
def test_parts_hold_fewer_episodes_of_larger_tasks() -> None:
    def size(task: str) -> int:
        order = run_folder.Order(load_task(task), "expert", "", 1, "simulator", 1)
        return run_folder.RunFolder(Path(), order)._part_episodes()

    assert size("3m") == 512 > size("27m_vs_30m") >= 32
