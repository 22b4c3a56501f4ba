"""`fidelity --policies`: made-up agents beside a made-up table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from refusals import refused

from hygen_lightning.cli import main
from hygen_lightning.commands.players import measure
from hygen_lightning.rollouts.pymarl import input_dim, load_pymarl_agent
from hygen_lightning.tasks import load_task

pytestmark = pytest.mark.whole_battles

HIDDEN = 4


def agent(folder: Path, algorithm: str, task_name: str, action: int) -> Path:
    """A state dict that always wants one action, saved where `fidelity` looks for it."""
    task = load_task(task_name)
    layout = task.layout
    width = input_dim(layout.obs_dim, layout.n_actions, task.n_allies, "obs+last_action+agent_id")
    shapes = {
        "fc1.weight": (HIDDEN, width),
        "fc1.bias": (HIDDEN,),
        "rnn.weight_ih": (3 * HIDDEN, HIDDEN),
        "rnn.weight_hh": (3 * HIDDEN, HIDDEN),
        "rnn.bias_ih": (3 * HIDDEN,),
        "rnn.bias_hh": (3 * HIDDEN,),
        "fc2.weight": (layout.n_actions, HIDDEN),
        "fc2.bias": (layout.n_actions,),
    }
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    state["fc2.bias"][action] = 1.0
    file = folder / algorithm / task_name / "rnn_net_params.pkl"
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    return file


def table(folder: Path, *rows: str) -> str:
    """A reference table."""
    file = folder / "there.csv"
    file.write_text("\n".join(["policy,map,win_percent", *rows]))
    return str(file)


def test_what_policies_win_stands_beside_what_they_won_in_starcraft(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    stands = agent(weights, "vdn", "3m", 1)
    agent(weights, "qmix", "5m_vs_6m", 4)
    argv = ["--battles", "3", "--seed", "3", "--reference", table(tmp_path, "vdn,3m,40", "qmix,8m,90")]
    assert main(["fidelity", "--policies", str(weights), *argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["policy"], row["map"]) for row in told["policies"]] == [("qmix", "5m_vs_6m"), ("vdn", "3m")]
    played, task = told["policies"][1], load_task("3m")
    alone = measure(task, load_pymarl_agent(stands, task), 3, "simulator", 3).to_json()
    assert {key: played[key] for key in ("win_rate", "ci95", "return", "length")} == {
        key: alone[key] for key in ("win_rate", "ci95", "return", "length")
    }
    assert [row["reference"] for row in told["policies"]] == [None, 0.4]
    difference = played["win_rate"] - 0.4
    assert told["compared"] == 1
    assert told["mean_absolute_difference"] == pytest.approx(abs(difference))
    assert told["largest_difference"] == {"policy": "vdn", "map": "3m", "difference": difference}
    assert main(["fidelity", "--policies", str(weights / "vdn"), *argv]) == 0
    text = capsys.readouterr().out
    assert f"mean absolute difference of 1: {100 * abs(difference):.1f} points; largest: vdn 3m" in text
    assert "3 battles each, seed 3" in " ".join(text.split())


def test_without_a_reference_nothing_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent(tmp_path, "vdn", "3m", 1)
    assert main(["fidelity", "--policies", str(tmp_path), "--battles", "2"]) == 0
    text = capsys.readouterr().out
    assert "vdn" in text
    assert "difference" not in text


def test_bad_options_folders_and_tables_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    file = agent(weights, "vdn", "3m", 1)
    played = ["fidelity", "--policies", str(weights)]
    for argv, complaint in (
        (["fidelity", "--battles", "4"], "--battles and --reference are about --policies"),
        (["fidelity", "--reference", "a.csv"], "--battles and --reference are about --policies"),
        ([*played, "--battles", "0"], "--battles is 0"),
        ([*played, "--ceiling", "true"], "--ceiling is about recordings"),
        ([*played, "--episodes", "3"], "--episodes is about recordings"),
        ([*played, "--device", "cuda"], "--device is about recordings"),
        ([*played, "--reference", str(tmp_path / "none.csv")], "no such file"),
        ([*played, "--reference", table(tmp_path, "vdn,8m,9")], "no row is of one of these policies"),
        (["fidelity", "--policies", str(tmp_path / "nowhere")], "no such folder"),
    ):
        assert complaint in refused(argv, capsys)
    file.write_bytes(b"no weights")
    assert "another kind of file or damaged" in refused(played, capsys)
