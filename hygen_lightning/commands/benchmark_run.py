"""How long a whole run would take, reckoned from its parts, each measured in a short `fit`."""

from __future__ import annotations

import contextlib
import io
import json as json_format
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.specs import UserError

WARM_UP_CALLS = 2
"""First calls of every part that do not count: they fill caches."""


@dataclass(frozen=True)
class Schedule:
    """How often a run does what: counts from its configuration."""

    pretrain_steps: int
    policy_steps: int
    rollout_every_n_steps: int
    evaluations: int
    final_evaluations: float
    """The final evaluation, in evaluations of its size during training."""

    @property
    def rollouts(self) -> int:
        return -(-self.policy_steps // self.rollout_every_n_steps) if self.rollout_every_n_steps else 0


@dataclass(frozen=True)
class Part:
    """seconds of one call, and how many calls the whole run makes."""

    seconds: float
    count: float

    @property
    def hours(self) -> float:
        return self.seconds * self.count / 3600


def run(
    configs: list[str] | None = None,
    dataset_dir: Path | None = None,
    steps: int = 8,
    record_episodes: int = 256,
    threads: int | None = None,
    json: bool = False,
) -> int:
    """Reckon the hours of a whole run: updates of both stages, rollouts, evaluations.

    A short `fit` with the same configuration measures every part. Its policy is untrained, half of
    each batch of stage two was played by it, and without --dataset_dir scripted players record.

    Args:
        configs: layers, each given as `--config FILE`, as to `fit` (if not given, the default job)
        dataset_dir: recordings to learn from (if not given, scripted battles)
        steps: measured optimiser steps of each stage; their median counts
        record_episodes: scripted battles per task, where no recordings are given
        threads: CPU threads (if not given, as many as torch takes)
        json: one JSON object on stdout, instead of a table
    """
    for name, value in {"steps": steps, "record_episodes": record_episodes}.items():
        if value < 1:
            raise UserError(f"--{name} is {value}; it must be at least 1")
    words = [piece for path in configs or [] for piece in ("--config", path)]
    if dataset_dir is not None:
        words += ["--data.dataset_dir", str(dataset_dir)]
    wanted = _resolved(words)
    schedule = schedule_of(wanted)
    measured = _measured(words, wanted, steps, record_episodes, threads)
    parts = parts_of(measured["seconds"], schedule, steps + WARM_UP_CALLS)
    found = estimate(parts) | {"schedule": asdict(schedule), "cores": os.cpu_count(), "threads": threads}
    found["peak_mb"] = round(measured["peak_bytes"] / 1e6)
    if json:
        print_json(found)
    else:
        _print(found)
    return 0


def _resolved(words: Sequence[str]) -> dict[str, Any]:
    """All options of `fit` with these words; UserError if it would refuse them."""
    import yaml

    from hygen_lightning.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["fit", *words, "--print_config"])
    if code != 0:
        raise UserError((err.getvalue().strip() or "fit refuses this configuration").splitlines()[-1])
    return dict(yaml.safe_load(out.getvalue()))


def schedule_of(options: dict[str, Any]) -> Schedule:
    """The counts of a run with these options of `fit`."""
    total = int(options["trainer"]["max_steps"])
    arguments, data, rollouts = options["model"]["init_args"], options["data"], options["rollouts"]
    pretrain = min(int(arguments.get("pretrain_steps", total)), total)
    plays = rollouts["episodes_per_step"] > 0
    return Schedule(
        pretrain_steps=pretrain,
        policy_steps=total - pretrain,
        rollout_every_n_steps=int(rollouts["every_n_steps"]) if plays else 0,
        evaluations=total // int(options["trainer"]["val_check_interval"]),
        final_evaluations=data["test_episodes"] / data["eval_episodes"],
    )


def _measured(
    words: Sequence[str], wanted: dict[str, Any], steps: int, record_episodes: int, threads: int | None
) -> dict[str, Any]:
    """Durations of the parts of a short `fit`, from a process of its own."""
    each = steps + WARM_UP_CALLS
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        profiler = {
            "class_path": "hygen_lightning.run.part_times.PartTimes",
            "init_args": {"path": str(times)},
        }
        options = {
            "--run.root": folder,
            "--run.record_episodes": str(record_episodes),
            "--trainer.max_steps": str(2 * each),
            "--trainer.val_check_interval": str(each),
            "--trainer.enable_progress_bar": "false",
            "--trainer.profiler": json_format.dumps(profiler),
            "--data.share_schedule": "fixed",
            "--data.share_fixed": "0.5",
            "--data.test_episodes": "1",
            "--rollouts.every_n_steps": str(min(wanted["rollouts"]["every_n_steps"], max(each // 3, 1))),
            "--files.curve": "false",
            "--files.battle_gif": "false",
        }
        if "pretrain_steps" in wanted["model"]["init_args"]:
            options["--model.init_args.pretrain_steps"] = str(each)
        battles = wanted["rollouts"]["every_n_steps"] * wanted["rollouts"]["episodes_per_step"]
        per_step = -(-battles // int(options["--rollouts.every_n_steps"]))
        options["--rollouts.episodes_per_step"] = str(per_step)
        configs = [*words] or ["--config", "conf/quickstart.yaml"]
        done = subprocess.run(
            [sys.executable, "-m", "hygen_lightning", "fit", *configs]
            + [piece for option in options.items() for piece in option],
            env={**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not times.exists():
            why = (done.stderr.strip() or "no message").splitlines()[-1]
            raise UserError(f"the measured fit ended with code {done.returncode}: {why}")
        return dict(json_format.loads(times.read_text()))


def parts_of(seconds: dict[str, list[float]], schedule: Schedule, steps_each: int) -> dict[str, Part]:
    """The parts that a run has. seconds: durations of a short fit of `steps_each` steps of each stage."""
    from hygen_lightning.run.part_times import calls

    updates = calls(seconds, "run_training_batch")
    draws = calls(seconds, "train_dataloader_next")[: len(updates)]
    steps = [a + b for a, b in zip(updates, draws)]
    plays = [s for s in calls(seconds, "OnlineRollouts.on_train_batch_end") if s > 1e-3]
    battles = calls(seconds, "BattleEvaluation.on_validation_batch_start")
    rounds = max(len(calls(seconds, "BattleEvaluation.on_validation_epoch_end")), 1)
    evaluation = sum(battles[-(len(battles) // rounds) :]) if battles else 0.0
    parts = {
        "pretraining update": Part(_usual(steps[:steps_each]), schedule.pretrain_steps),
        "policy update": Part(_usual(steps[steps_each:]), schedule.policy_steps),
        "rollout": Part(_usual(plays), schedule.rollouts),
        "evaluation": Part(evaluation, schedule.evaluations),
        "final evaluation": Part(evaluation, schedule.final_evaluations),
    }
    return {name: part for name, part in parts.items() if part.count}


def _usual(seconds: Sequence[float]) -> float:
    """The median without the first calls, where there are more."""
    counted = seconds[WARM_UP_CALLS:] or seconds
    return statistics.median(counted) if counted else 0.0


def estimate(parts: dict[str, Part]) -> dict[str, Any]:
    """Hours of the whole run and of each part, and each part's share (0..1)."""
    hours = sum(part.hours for part in parts.values())
    return {
        "hours": hours,
        "parts": {
            name: {**asdict(part), "hours": part.hours, "share": part.hours / hours if hours else 0.0}
            for name, part in parts.items()
        },
    }


def _print(found: dict[str, Any]) -> None:
    rows = [
        (
            name,
            f"{part['seconds']:.3g}",
            f"{part['count']:,.0f}",
            f"{part['hours']:.2f}",
            f"{part['share']:.0%}",
        )
        for name, part in found["parts"].items()
    ]
    title = f"The whole run: {found['hours']:.2f} hours, peak memory {found['peak_mb']} MB"
    print_table(title, ("part", "seconds each", "times", "hours", "share"), rows)
