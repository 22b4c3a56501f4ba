"""Throughput of several processes with one core each, against one process with one core."""

from __future__ import annotations

import os
from typing import Any

from hygen_lightning.benchmark.measured_fit import measured_fit
from hygen_lightning.benchmark.timing import check_above_zero
from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.tasks import load_task

Seconds = dict[str, float]
"""Seconds per optimiser step by stage, and of CPU time by "<stage>_cpu"."""


def ddp(
    map: str = "3m",
    batch: int = 32,
    ranks: int = 2,
    steps: int = 10,
    warmup_steps: int = 2,
    width: int = 64,
    n_heads: int = 8,
    repeats: int = 1,
    json: bool = False,
) -> int:
    """Train one task with `fit` on one process and on several, and compare episodes per second.

    Every process has one core and one thread, and takes `batch` episodes an update, so perfect
    scaling is a ratio of `ranks`. Both stages are timed, rollouts included, set-up is not. The
    ratio by CPU time leaves out what a process waits for: other programs on its core, and the
    slowest process. On idle cores the ratio comes close to it.

    Args:
        map: the task
        batch: episodes per update and process (a global batch is ranks x this)
        ranks: processes of the second run; the machine needs as many free cores
        steps: timed optimiser steps of each stage
        warmup_steps: optimiser steps of each stage before its timed ones
        width: embedding width
        n_heads: attention heads
        repeats: runs of each kind, in turn; the fastest counts
        json: one JSON object on stdout, instead of a table
    """
    load_task(map)
    check_above_zero(batch=batch, ranks=ranks, steps=steps, warmup_steps=warmup_steps, repeats=repeats)
    options = {
        "--data.train_tasks": f"[{map}]",
        "--data.eval_tasks": f"[{map}]",
        "--data.batch_size": str(batch),
        "--model.init_args.width": str(width),
        "--model.init_args.n_heads": str(n_heads),
        "--model.init_args.pretrain_steps": str(warmup_steps + steps),
        "--trainer.max_steps": str(2 * (warmup_steps + steps)),
    }
    seconds: dict[int, list[Seconds]] = {1: [], ranks: []}
    for _ in range(repeats):
        for processes, measured in seconds.items():
            measured.append(_seconds_per_update(processes, options, warmup_steps))
    found: dict[str, Any] = {"map": map, "batch_per_rank": batch, "ranks": ranks, "cores": os.cpu_count()}
    found |= {stage: compared(seconds, stage, batch, ranks) for stage in ("pretrain", "policy")}
    (print_json if json else _print)(found)
    return 0


def _seconds_per_update(processes: int, options: dict[str, str], warmup_steps: int) -> Seconds:
    """Measured in a `fit` of its own."""
    fixed = {
        "--run.record_episodes": "256",
        "--run.teachers": "scripted",
        "--trainer.accelerator": "cpu",
        "--trainer.devices": str(processes),
        "--trainer.strategy": "ddp" if processes > 1 else "auto",
        "--trainer.limit_val_batches": "0",
        "--data.test_episodes": str(processes),
    }
    ends = measured_fit((), {**options, **fixed}, threads=1, own_core=True)["ends"]
    half, found = len(ends) // 2, {}
    stages = {"pretrain": ends[warmup_steps - 1 : half], "policy": ends[half + warmup_steps - 1 :]}
    for stage, moments in stages.items():
        found[stage], found[f"{stage}_cpu"] = (mean_gap(times) for times in zip(*moments))
    return found


def mean_gap(moments: tuple[float, ...]) -> float:
    """Mean difference between neighbours of growing numbers."""
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def compared(seconds: dict[int, list[Seconds]], stage: str, batch: int, ranks: int) -> dict[str, float]:
    """Seconds per update, episodes per second and their ratio; of several runs the fastest counts."""
    one, many = (min(run[stage] for run in seconds[processes]) for processes in (1, ranks))
    one_cpu, many_cpu = (min(run[f"{stage}_cpu"] for run in seconds[processes]) for processes in (1, ranks))
    return {
        "one_rank_s": one,
        "all_ranks_s": many,
        "one_rank_episodes_per_s": batch / one,
        "all_ranks_episodes_per_s": ranks * batch / many,
        "ratio": ranks * one / many,
        "ratio_by_cpu_time": ranks * one_cpu / many_cpu,
    }


def _print(found: dict[str, Any]) -> None:
    names = ("one_rank_episodes_per_s", "all_ranks_episodes_per_s", "ratio", "ratio_by_cpu_time")
    rows = [[stage, *(f"{found[stage][name]:.2f}" for name in names)] for stage in ("pretrain", "policy")]
    title = f"{found['map']}, batch {found['batch_per_rank']} per process: episodes learned from"
    heads = ("", "1 process, per s", f"{found['ranks']} processes, per s", "ratio", "by CPU time")
    print_table(title, heads, rows)
