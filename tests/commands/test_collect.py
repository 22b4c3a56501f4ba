"""collect: recordings of a policy, in the format that everything else reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hygen_lightning.cli import main
from hygen_lightning.data.hdf5 import read_folder
from hygen_lightning.tasks import load_task


def test_collected_battles_pass_inspection_and_are_as_many_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["collect", "3m", "--dataset_dir", str(tmp_path), "--episodes", "5", "--policy", "nearest_attack"]
    assert main([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    episodes = read_folder(tmp_path / "3m/expert/collected", load_task("3m"))
    assert told["episodes"] == len(episodes) == 5
    assert told["mean_return"] == pytest.approx(float(episodes.reward.sum(1).mean()), abs=1e-5)
    assert main(["inspect", str(tmp_path), "--json"]) == 0


def test_collecting_twice_under_one_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["collect", "3m", "--dataset_dir", str(tmp_path), "--episodes", "2"]
    assert main(argv) == 0
    assert main(argv) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_same_seed_collects_the_same_battles_and_another_seed_others(tmp_path: Path) -> None:
    actions = []
    for run, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        argv = ["collect", "3m", "--dataset_dir", str(tmp_path / run), "--episodes", "3", "--seed", seed]
        assert main([*argv, "--epsilon", "0.5", "--max_opening_env_steps", "3"]) == 0
        actions.append(read_folder(tmp_path / run / "3m", load_task("3m")).actions.tolist())
    assert actions[0] == actions[1] != actions[2]


@pytest.mark.parametrize("option", [["--epsilon", "2"], ["--episodes", "0"], ["--policy", "nobody"]])
def test_impossible_wishes_are_refused(option: list[str], tmp_path: Path) -> None:
    assert main(["collect", "3m", "--dataset_dir", str(tmp_path), *option]) == 2
