"""benchmark run: what it reckons from measured parts, and that it measures every part of a real `fit`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities import rank_zero_only

from hygen_lightning.benchmark.fit_times import FitTimes, calls
from hygen_lightning.benchmark.measured_fit import measured_fit
from hygen_lightning.benchmark.run import Part, Schedule, estimate, parts_of, reckon, schedule_of
from hygen_lightning.cli import main
from hygen_lightning.specs import UserError

pytestmark = pytest.mark.whole_battles

OPTIONS: dict[str, Any] = {
    "trainer": {"max_steps": 20, "val_check_interval": 6},
    "model": {"init_args": {"pretrain_steps": 5}},
    "data": {"test_episodes": 320, "eval_batch": 64},
    "rollouts": {"episodes_per_step": 2, "every_n_steps": 4},
}


def test_counts_follow_from_the_options() -> None:
    schedule = schedule_of(OPTIONS)
    assert schedule == Schedule(5, 15, 4, 4, 5), "evaluations at steps 6, 12, 18 and after the last one"
    assert schedule.rollouts == 4, "at steps 0, 4, 8 and 12 of stage two"
    offline = {**OPTIONS, "rollouts": {"episodes_per_step": 0, "every_n_steps": 4}}
    assert schedule_of(offline).rollouts == 0
    cloning = {**OPTIONS, "model": {"init_args": {}}}
    assert schedule_of(cloning).pretrain_steps == 0, "an algorithm without stages"
    chunks = {**OPTIONS, "model": {"init_args": {"epochs": 3, "minibatches": 2}}}
    assert schedule_of(chunks).rollouts == 4, "one for every six steps"
    refines = {"refine_battles": 8, "refine_epochs": 3, "refine_minibatches": 1}
    refining = {**OPTIONS, "model": {"init_args": OPTIONS["model"]["init_args"] | refines}}
    assert schedule_of(refining).rollouts == -(-schedule_of(OPTIONS).policy_steps // 3)


@pytest.mark.parametrize(("stage_one", "short"), [(400, "5"), (0, None)])
def test_the_short_fit_has_stage_one_where_the_run_has(
    stage_one: int, short: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without recordings a stage one would have nothing to learn from."""
    asked: list[dict[str, str]] = []

    def measured(words: Sequence[str], options: dict[str, str], threads: int | None) -> dict[str, Any]:
        asked.append(options)
        return {"seconds": {}, "peak_bytes": 0}

    monkeypatch.setattr("hygen_lightning.benchmark.run.measured_fit", measured)
    wanted = {
        **OPTIONS,
        "model": {"init_args": {"pretrain_steps": stage_one}},
        "run": {"record_episodes": 4},
    }
    reckon([], wanted, steps=3)
    assert [options.get("--model.init_args.pretrain_steps") for options in asked] == [short]


def test_a_short_fit_that_refines_is_one_chunk_of_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine steps of stage one, of a second each, then nine of two; the first two of each do not count."""
    steps = [9.0, 9.0] + [1.0] * 7 + [9.0, 9.0] + [2.0] * 7
    seconds = {"run_training_batch": steps, "next_batch": [0.0] * 18}
    monkeypatch.setattr(
        "hygen_lightning.benchmark.run.measured_fit", lambda *_: {"seconds": seconds, "peak_bytes": 0}
    )
    refines = {"pretrain_steps": 5, "refine_battles": 8, "refine_epochs": 3, "refine_minibatches": 3}
    found = reckon([], {**OPTIONS, "model": {"init_args": refines}, "run": {"record_episodes": 4}}, steps=3)
    told = {name: part["seconds"] for name, part in found["parts"].items()}
    assert told == {"pretraining update": 1.0, "policy update": 2.0}


def test_parts_are_medians_after_two_calls_of_warm_up() -> None:
    seconds = {
        "run_training_batch": [9.0, 9.0, 1.0, 3.0, 2.0, 9.0, 9.0, 4.0, 4.0, 4.0],
        "next_batch": [0.5] * 10,
        "[Callback]OnlineRollouts.on_train_batch_end": [0.0, 8.0, 0.0, 7.0, 6.0, 0.0],
        "[Callback]BattleEvaluation.on_validation_batch_start": [5.0, 5.0, 1.0, 2.0],
        "[Callback]BattleEvaluation.on_validation_epoch_end": [0.0, 0.0],
        "[Callback]BattleEvaluation.on_test_batch_start": [5.0, 7.0, 1.0],
    }
    parts = parts_of(seconds, Schedule(5, 15, 4, 3, 5), 5)
    assert {name: (part.seconds, part.count) for name, part in parts.items()} == {
        "pretraining update": (2.5, 5),
        "policy update": (4.5, 15),
        "rollout": (6.0, 4),
        "evaluation": (3.0, 3),
        "final evaluation": (13.0, 5),
    }


def test_hours_are_seconds_times_counts() -> None:
    found = estimate({"a": Part(36.0, 100), "b": Part(3.6, 3000)})
    assert found["hours"] == pytest.approx(4.0)
    assert found["parts"]["b"]["share"] == pytest.approx(0.75)


def test_durations_are_written_and_found_by_the_end_of_their_names(tmp_path: Path) -> None:
    profiler = FitTimes(str(tmp_path / "times.json"))
    for action in ("x.step", "y.step", "x.step", "y.step", "run_training_batch"):
        with profiler.profile(action):
            pass
    profiler.describe()
    written = json.loads((tmp_path / "times.json").read_text())
    assert written["peak_bytes"] > 1e7
    assert len(written["ends"]) == 1, "one optimiser step ended"
    steps = calls(written["seconds"], ".step")
    assert steps == [
        pytest.approx(a + b) for a, b in zip(*(written["seconds"][f"{name}.step"] for name in "xy"))
    ]
    assert calls(written["seconds"], "none") == []


def test_of_several_processes_one_writes_the_durations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    FitTimes(str(tmp_path / "times.json")).describe()
    assert not (tmp_path / "times.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["HyGen", "BC"])
def test_every_part_of_a_short_fit_is_measured(
    algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    stages = ", pretrain_steps: 400" if algorithm == "HyGen" else ""
    config.write_text(
        "data: {train_tasks: [3m], eval_tasks: [3m, 4m], batch_size: 2, eval_episodes: 2}\n"
        f"model: {{class_path: {algorithm}, init_args: {{width: 8, n_heads: 1{stages}}}}}\n"
        "rollouts: {every_n_steps: 2}\n",
        encoding="utf-8",
    )
    layer = tmp_path / "layer.yaml"
    layer.write_text("data: {extra_tasks: [5m], test_episodes: 2}\ntrainer: {max_steps: 1000}\n")
    words = ["benchmark", "run", f"--configs=[{config},{layer}]", "--threads", "1"]
    assert main([*words, "--steps", "3", "--record_episodes", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    always = {"policy update", "evaluation", "final evaluation"}
    assert set(found["parts"]) == always | (
        {"pretraining update", "rollout"} if algorithm == "HyGen" else set()
    )
    assert all(part["seconds"] > 0 for part in found["parts"].values())
    counted = found["schedule"]["pretrain_steps"] + found["schedule"]["policy_steps"]
    assert counted == 1000, "both layers count"
    assert found["hours"] == pytest.approx(sum(part["hours"] for part in found["parts"].values()))


def test_what_fit_refuses_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "run", "--configs", "[missing.yaml]"]) == 2
    assert main(["benchmark", "run", "--steps", "0"]) == 2
    assert main(["benchmark", "run", "--threads", "0"]) == 2
    assert main(["benchmark", "run", "--dataset_dir", "missing"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_a_fit_that_fails_is_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 2, "", "many words\nno recordings there\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(UserError, match="ended with code 2: no recordings there"):
        measured_fit((), {}, threads=1)
