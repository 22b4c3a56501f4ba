"""Sweep files run here as on Weights & Biases, and sweep a metric that is logged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hygen_lightning.cli import main
from hygen_lightning.commands.sweep import command_line, sweep, trials
from hygen_lightning.specs import UserError

SWEEPS = sorted((Path(__file__).parent.parent / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_trial_of_a_sweep_file_is_a_command_that_parses(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, settings = trials(path, count=None, seed=1)[0]
    words = command_line(settings, content)
    assert words[1:4] == ["-m", "hygen_lightning", "fit"]
    assert main([*words[3:], "--print_config"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_file_asks_for_a_logged_metric_and_keeps_false_values(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["metric"]["name"] == "val/mean/seen_score"
    assert "${args}" in content["command"]
    assert "${args_no_boolean_flags}" not in content["command"]


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("method: grid\nparameters:\n  a: {values: [1, 2]}\n  b: {values: [x, y, z]}\n")
    settings = [s for _, s in trials(path, None, 1)]
    assert len({tuple(s.values()) for s in settings}) == len(settings) == 6


def test_random_draws_stay_in_range_and_follow_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "random.yaml"
    path.write_text(
        "method: random\nrun_cap: 50\nparameters:\n"
        "  r: {distribution: log_uniform_values, min: 0.001, max: 0.1}\n  n: {min: 2, max: 4}\n"
    )
    draws = [s for _, s in trials(path, None, 3)]
    assert draws == [s for _, s in trials(path, None, 3)]
    assert len(draws) == 50
    assert all(0.001 <= s["r"] <= 0.1 and s["n"] in (2, 3, 4) for s in draws)


def test_values_reach_the_command_line_as_its_parser_takes_them() -> None:
    content = {"program": "p", "command": ["${env}", "python", "${program}", "${args}"]}
    words = command_line({"a": False, "b": None, "c": "text", "d": 0.5}, content)
    assert words[1:] == ["p", "--a=false", "--b=null", "--c=text", "--d=0.5"]


def test_printing_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(str(SWEEPS[0]), count=2, print_only=True, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["commands"]) == 2
    assert told["exit_codes"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: bayes\nparameters: {a: {values: [1]}}\n", "needs W&B's server"),
        ("method: random\nparameters: {a: {values: [1]}}\n", "give --count N or run_cap"),
        ("method: grid\nparameters: {a: {min: 0, max: 1}}\n", "a grid needs `values`"),
        ("hello", "is not a sweep file"),
    ],
)
def test_what_cannot_run_here_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        sweep(str(path))
