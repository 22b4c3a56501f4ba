"""Sweep files run here as on Weights & Biases, and sweep a metric that is logged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hygen_lightning.cli import main
from hygen_lightning.commands.sweep import cells_of, command_line, read_sweep, sweep, trials
from hygen_lightning.specs import UserError

SWEEPS = sorted((Path(__file__).parent.parent / "sweeps").glob("*.yaml"))
FIT = "command: [python, -m, hygen_lightning, fit, '${args}']\n"


def settings_of(path: Path, count: int | None = None, seed: int = 1) -> list[dict[str, Any]]:
    return trials(read_sweep(path), count, seed)


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_trial_of_a_sweep_file_is_a_command_that_parses(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command_line(settings_of(path)[0], read_sweep(path))
    assert words[1:4] == ["-m", "hygen_lightning", "fit"]
    assert main([*words[3:], "--print_config"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_file_asks_for_a_logged_metric_and_keeps_false_values(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["metric"]["name"] == "val/mean/seen_score"
    assert "${args}" in content["command"]
    assert "${args_no_boolean_flags}" not in content["command"]


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    text = (
        "method: grid\nparameters:\n  a: {values: [1, 2]}\n  b: {values: [x, y, z]}\n  c: {min: 1, max: 2}\n"
    )
    settings = settings_of(written(tmp_path, text))
    assert len({tuple(s.values()) for s in settings}) == len(settings) == 12


def test_random_draws_stay_in_range_and_follow_the_seed(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "method: random\nrun_cap: 50\nparameters:\n"
        "  r: {distribution: log_uniform_values, min: 1e-3, max: 0.1}\n  n: {min: 2, max: 4}\n",
    )
    draws = settings_of(path, seed=3)
    assert draws == settings_of(path, seed=3)
    assert len(draws) == 50
    assert all(0.001 <= s["r"] <= 0.1 and s["n"] in (2, 3, 4) for s in draws)


@pytest.mark.parametrize(
    ("parameter", "low", "middle", "high"),
    [
        ("{min: 1.0, max: 3.0}", 1, 2, 3),
        ("{distribution: int_uniform, min: 1, max: 3}", 1, 2, 3),
        ("{distribution: q_uniform, min: 0, max: 8, q: 2}", 0, 4, 8),
        ("{distribution: log_uniform, min: -2, max: 2}", 0.135, 1, 7.39),
        ("{distribution: log_uniform_values, min: 1e-4, max: 1}", 1e-4, 1e-2, 1),
        ("{distribution: inv_log_uniform_values, min: 1e-4, max: 1}", 1e-4, 1e-2, 1),
        ("{distribution: normal, mu: 5, sigma: 0.5}", 2, 5, 8),
        ("{distribution: q_normal, mu: 5, sigma: 0.5, q: 0.5}", 2, 5, 8),
        ("{distribution: log_normal, mu: 0, sigma: 0.5}", 0.05, 1, 20),
    ],
)
def test_a_distribution_has_its_range_and_its_median(
    parameter: str, low: float, middle: float, high: float, tmp_path: Path
) -> None:
    path = written(tmp_path, f"method: random\nparameters: {{x: {parameter}}}\n")
    values = sorted(s["x"] for s in settings_of(path, count=999))
    assert low * 0.99 <= values[0] <= values[-1] <= high * 1.01
    assert values[499] == pytest.approx(middle, rel=0.35)


def test_probabilities_weigh_values(tmp_path: Path) -> None:
    text = "method: random\nparameters: {x: {values: [a, b, c], probabilities: [0.9, 0.1, 0]}}\n"
    values = [s["x"] for s in settings_of(written(tmp_path, text), count=500)]
    assert 420 < values.count("a") < 480
    assert "c" not in values


def test_nested_parameters_and_numbers_that_yaml_reads_as_text(tmp_path: Path) -> None:
    text = (
        "method: grid\nparameters: {model: {parameters: {lr: {values: [1e-4, 5e-4]}, width: {value: 8}}}}\n"
    )
    assert settings_of(written(tmp_path, text)) == [
        {"model.lr": 1e-4, "model.width": 8},
        {"model.lr": 5e-4, "model.width": 8},
    ]


def test_a_grid_of_steps_reaches_its_end(tmp_path: Path) -> None:
    text = "method: grid\nparameters: {a: {distribution: q_uniform, min: 0, max: 0.3, q: 0.1}}\n"
    assert [s["a"] for s in settings_of(written(tmp_path, text))] == [0, 0.1, 0.2, 0.3]


def test_a_date_is_a_text(tmp_path: Path) -> None:
    (settings,) = settings_of(written(tmp_path, "method: grid\nparameters: {a: {value: 2024-01-01}}\n"))
    assert command_line(settings, {"command": ["x", "${args}"]}) == ["x", "--a=2024-01-01"]


def test_values_reach_the_command_line_as_its_parser_takes_them() -> None:
    content = {"program": "p", "command": ["${env}", "python", "${program}", "${args}"]}
    words = command_line({"a": False, "b": None, "c": "Grüße C:\\data", "d": 0.5}, content)
    assert words[1:] == ["p", "--a=false", "--b=null", "--c=Grüße C:\\data", "--d=0.5"]


def test_a_file_without_a_command_runs_its_program_as_on_weights_and_biases() -> None:
    assert command_line({"a": 1}, {"program": "train.py"}) == [sys.executable, "train.py", "--a=1"]


def test_flags_without_values_and_hyphens() -> None:
    settings = {"a": True, "b": False, "c": 2}
    assert command_line(settings, {"command": ["x", "${args_no_boolean_flags}"]}) == ["x", "--c=2", "--a"]
    assert command_line(settings, {"command": ["x", "${args_no_hyphens}"]})[1:] == [
        "a=true",
        "b=false",
        "c=2",
    ]


def test_printing_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(str(SWEEPS[0]), count=2, print_only=True, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["commands"]) == 2


def test_a_trial_is_a_cell_of_a_study_named_by_its_settings() -> None:
    path = next(path for path in SWEEPS if path.stem == "hygen")
    cells = cells_of(read_sweep(path), path, None, 1)
    assert len(cells) == 18
    assert (cells[1].name, cells[1].seed) == ("lr=0.0002-share_end=0.1", 2)
    assert cells[1].words == ("--config=conf/quickstart.yaml", "--model.lr=0.0002", "--data.share_end=0.1")


def test_drawn_trials_are_numbered_for_two_may_be_equal(tmp_path: Path) -> None:
    text = "method: random\nprogram: hygen_lightning\nparameters: {x: {values: [[1, 2]]}}\n"
    path = written(tmp_path, text + "command: [python, -m, '${program}', fit, '${args}']\n")
    assert [cell.name for cell in cells_of(read_sweep(path), path, 2, 1)] == ["001-x=12", "002-x=12"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: bayes\nparameters: {a: {values: [1]}}\n", "needs W&B's server"),
        ("method: Grid\nparameters: {a: {values: [1]}}\n", "is written in small letters"),
        ("method: random\nparameters: {a: {values: [1]}}\n", "give --count N or run_cap"),
        ("method: grid\nparameters: {a: {min: 0.0, max: 1.0}}\n", "a grid needs `values`"),
        ("hello", "is not a sweep file: it has no method"),
        ("algorithms: {BC: }\n", "is not a sweep file: it has no method"),
        ("method: grid\n", "is not a sweep file: it has no parameters"),
        ("method: grid\nparameters: {a: 3}\n", "bad.yaml, a: 3; give value, values, or min and max"),
        ("method: grid\nparameters:\n", "parameters is None; give names"),
        ("method:\t[\n", "line 1: not YAML"),
        (
            "method: random\nrun_cap: 1\nparameters: {a: {distribution: beta}}\n",
            "distribution 'beta' is not known",
        ),
        ("method: random\nrun_cap: 1\nparameters: {a: {distribution: uniform}}\n", "has no min"),
        (
            "method: random\nrun_cap: 1\nparameters: {a: {values: [1, 2], probabilities: [1]}}\n",
            "as many probabilities as values",
        ),
        (
            "method: grid\nprogram: p\nparameters: {a: {value: 1}}\ncommand: ['${venv}']\n",
            r"\$\{venv\} is not known here",
        ),
        ("method: grid\nparameters: {a: {value: 1}}\n", "names no program"),
        ("method: grid\nprogram: p\nparameters: {a: {values: []}}\n", "give a list of values"),
        ("method: grid\nprogram: p\nparameters: {a: {values: 3}}\n", "give a list of values"),
        ("method: grid\nprogram: p\nparameters: {a: {value: 3}}\n", "others with wandb sweep"),
        (
            "method: grid\nrun_cap: many\nparameters: {a: {value: 3}}\n",
            "run_cap is 'many'; give a whole number, 1 or more",
        ),
        (
            "method: grid\ncommand: null\nparameters: {a: {value: 3}}\n",
            "command is None; give a list of words",
        ),
        (
            "method: grid\ncommand: fit\nparameters: {a: {value: 3}}\n",
            "command is 'fit'; give a list of words",
        ),
        ("method: grid\ncommand: [fit]\nparameters: {a: {value: 3}}\n", r"no \$\{args\}: parameters would"),
        (
            f"method: grid\n{FIT}parameters: {{run.root: {{value: a}}}}\n",
            "parameter run.root is the sweep's own",
        ),
        (
            f"method: grid\n{FIT}parameters: {{a: {{min: 5, max: 3}}}}\n",
            "a: no value between its min and its",
        ),
        (
            f"method: grid\n{FIT}parameters: {{a: {{distribution: q_uniform, min: 1, max: 0.5}}}}\n",
            "no value betw",
        ),
        *(
            (
                f"method: {method}\nrun_cap: 1\n{FIT}parameters: {{a: {figures}}}\n",
                "a: {.*} (has no min|cannot be used)",
            )
            for method, figures in (
                ("random", "{values: [1, 2], probabilities: [a, b]}"),
                ("random", "{values: [1, 2], probabilities: [0, 0]}"),
                ("random", "{values: [1, 2], probabilities: 1}"),
                ("random", "{distribution: q_uniform, min: 0, max: 1, q: 0}"),
                ("grid", "{distribution: q_uniform, min: 0, max: 1, q: 0}"),
                ("grid", "{distribution: q_uniform, max: 1}"),
                ("grid", "{distribution: q_uniform, min: a, max: 1}"),
                ("random", "{distribution: log_uniform, min: 1000, max: 2000}"),
            )
        ),
        (f"method: grid\n{FIT}parameters: {{seed_everything: {{value: x}}}}\n", "seed_everything is 'x'"),
        (f"method: grid\n{FIT}parameters: {{seed_everything: {{value: -1}}}}\n", "seed_everything is -1"),
    ],
)
def test_what_cannot_run_here_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        sweep(str(path))
    assert str(refused.value).startswith(str(path))


def test_a_count_of_no_runs_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--count is 0; give 1 or more"):
        sweep(str(SWEEPS[0]), count=0, print_only=True)
