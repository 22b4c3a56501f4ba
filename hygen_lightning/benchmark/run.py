"""How long a whole run would take, reckoned from its parts, each measured in a short `fit`."""

from __future__ import annotations

import contextlib
import io
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hygen_lightning.benchmark.measured_fit import measured_fit
from hygen_lightning.benchmark.timing import check_above_zero
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
    final_rounds: int
    """The final evaluation, in rounds of one batch of battles of every task."""

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
    each batch of stage two was played by it, and without --dataset_dir scripted policies record. The
    battles that choose a skill before stage two (`refine_skill_battles`) are left out.

    Args:
        configs: the files that `fit` takes with --config, like [conf/a.yaml,conf/b.yaml] (if not given,
            the default job)
        dataset_dir: recordings to learn from (if not given, scripted battles)
        steps: measured optimiser steps of each stage; their median counts
        record_episodes: scripted battles per task, where no recordings are given
        threads: CPU threads (if not given, as many as torch takes)
        json: one JSON object on stdout, instead of a table
    """
    check_above_zero(steps=steps, record_episodes=record_episodes, threads=threads)
    words = [piece for path in configs or [] for piece in ("--config", path)]
    if dataset_dir is not None:
        if not dataset_dir.is_dir():
            raise UserError(f"--dataset_dir {dataset_dir} is no folder; give one with recordings")
        words += ["--data.dataset_dir", str(dataset_dir)]
    found = reckon(words, resolved(words), steps, record_episodes, threads)
    (print_json if json else _print)(found)
    return 0


def reckon(
    words: Sequence[str],
    wanted: dict[str, Any],
    steps: int,
    record_episodes: int | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """`estimate` of the run of `fit` with these words, its counts, and the memory that it takes.

    wanted: what `resolved` gives for the words. record_episodes: None for as many as the run wants.
    UserError with fit's own line where it refuses to start.
    """
    schedule = schedule_of(wanted)
    each = max(steps + WARM_UP_CALLS, steps_per_chunk(wanted))
    measured = _measured(words, wanted, each, record_episodes, threads)
    parts = parts_of(measured["seconds"], schedule, each if schedule.pretrain_steps else 0)
    found = estimate(parts) | {"schedule": asdict(schedule), "cores": os.cpu_count(), "threads": threads}
    return {**found, "measured_peak_mb": round(measured["peak_bytes"] / 1e6)}


def resolved(words: Sequence[str]) -> dict[str, Any]:
    """All options of `fit` with these words; UserError if it would refuse them."""
    import yaml

    from hygen_lightning.cli import main
    from hygen_lightning.trainer_options import check_run_options

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["fit", *words, "--print_config"])
    if code != 0:
        raise UserError((err.getvalue().strip() or "fit refuses this configuration").splitlines()[-1])
    options = dict(yaml.safe_load(out.getvalue()))
    check_run_options(options, words)
    return options


def schedule_of(options: dict[str, Any]) -> Schedule:
    """The counts of a run with these options of `fit`."""
    total = int(options["trainer"]["max_steps"])
    arguments, data, rollouts = options["model"]["init_args"], options["data"], options["rollouts"]
    pretrain = min(int(arguments.get("pretrain_steps", 0)), total)
    plays = rollouts["episodes_per_step"] > 0
    return Schedule(
        pretrain_steps=pretrain,
        policy_steps=total - pretrain,
        rollout_every_n_steps=steps_per_chunk(options) or (int(rollouts["every_n_steps"]) if plays else 0),
        evaluations=math.ceil(total / int(options["trainer"]["val_check_interval"])),
        final_rounds=math.ceil(data["test_episodes"] / data["eval_batch"]),
    )


def steps_per_chunk(options: dict[str, Any]) -> int:
    """Optimiser steps that learn from one chunk of battles; 0 for what learns from episodes."""
    arguments = options["model"]["init_args"]
    prefix = "refine_" if arguments.get("refine_battles", 0) else ""
    return int(arguments.get(f"{prefix}epochs", 0)) * int(arguments.get(f"{prefix}minibatches", 0))


def _measured(
    words: Sequence[str], wanted: dict[str, Any], each: int, record_episodes: int | None, threads: int | None
) -> dict[str, Any]:
    """Durations of the parts of a short `fit`, `each` optimiser steps of every stage."""
    rollouts, data = wanted["rollouts"], wanted["data"]
    battles = rollouts["every_n_steps"] * rollouts["episodes_per_step"]
    every = max(n for n in range(1, max(each // 3, 1) + 1) if battles % n == 0)
    options = {
        "--run.record_episodes": str(record_episodes or wanted["run"]["record_episodes"]),
        "--run.teachers": "scripted",
        "--trainer.max_steps": str(2 * each),
        "--trainer.val_check_interval": str(each),
        "--data.share_schedule": "fixed",
        "--data.share_fixed": "0.5",
        "--data.test_episodes": str(min(data["eval_batch"], data["test_episodes"])),
        "--rollouts.every_n_steps": str(every),
        "--rollouts.episodes_per_step": str(battles // every),
    }
    if wanted["model"]["init_args"].get("refine_skill_battles", 0) > 0:
        options["--model.init_args.refine_skill_battles"] = "0"  # played once, and left out
    if wanted["model"]["init_args"].get("pretrain_steps", 0) > 0:
        options["--model.init_args.pretrain_steps"] = str(each)
    return measured_fit(words, options, threads)


def parts_of(seconds: dict[str, list[float]], schedule: Schedule, steps_each: int) -> dict[str, Part]:
    """The parts that a run has. seconds: durations of a short fit, of which `steps_each` are stage one."""
    from hygen_lightning.benchmark.fit_times import STEP, calls

    updates = calls(seconds, STEP)
    draws = calls(seconds, "next_batch")
    steps = [a + b for a, b in zip(updates, draws)]
    plays = [s for s in calls(seconds, "OnlineRollouts.on_train_batch_end") if s > 1e-3]
    battles = calls(seconds, "BattleEvaluation.on_validation_batch_start")
    rounds = max(len(calls(seconds, "BattleEvaluation.on_validation_epoch_end")), 1)
    evaluation = sum(battles[-(len(battles) // rounds) :]) if battles else 0.0
    final = calls(seconds, "BattleEvaluation.on_test_batch_start")
    parts = {
        "pretraining update": Part(_usual(steps[:steps_each]), schedule.pretrain_steps),
        "policy update": Part(_usual(steps[steps_each:]), schedule.policy_steps),
        "rollout": Part(_usual(plays), schedule.rollouts),
        "evaluation": Part(evaluation, schedule.evaluations),
        "final evaluation": Part(sum(final), schedule.final_rounds),
    }
    return {name: part for name, part in parts.items() if part.count and part.seconds}


def _usual(seconds: Sequence[float]) -> float:
    """The median without the first calls, where there are more."""
    counted = seconds[WARM_UP_CALLS:] or seconds
    return statistics.median(counted) if counted else 0.0


def estimate(parts: dict[str, Part]) -> dict[str, Any]:
    """Hours of the whole run and of each part, and each part's share (0..1)."""
    hours = sum(part.hours for part in parts.values())
    told = {
        name: {**asdict(part), "hours": part.hours, "share": part.hours / hours if hours else 0.0}
        for name, part in parts.items()
    }
    return {"hours": hours, "parts": told}


def _print(found: dict[str, Any]) -> None:
    rows = [
        (name, f"{p['seconds']:.3g}", f"{p['count']:,.0f}", f"{p['hours']:.2f}", f"{p['share']:.0%}")
        for name, p in found["parts"].items()
    ]
    memory = f"peak memory of the measured steps: {found['measured_peak_mb']} MB"
    title = f"The whole run: {found['hours']:.2f} hours ({memory})"
    print_table(title, ("part", "seconds each", "times", "hours", "share"), rows)
