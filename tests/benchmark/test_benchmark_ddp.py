"""The benchmark of several processes runs the real `fit`, and computes ratios as it says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hygen_lightning.benchmark.ddp import compared, mean_gap
from hygen_lightning.benchmark.fit_times import FitTimes
from hygen_lightning.cli import main

TINY = ("--batch=2", "--steps=2", "--warmup_steps=1", "--width=8", "--n_heads=1")


@pytest.mark.slow
def test_the_throughput_of_two_processes_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "ddp", *TINY, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["map"], found["ranks"], found["batch_per_rank"]) == ("3m", 2, 2)
    for stage in ("pretrain", "policy"):
        times = found[stage]
        assert times["one_rank_episodes_per_s"] == pytest.approx(2 / times["one_rank_s"])
        assert times["ratio"] == pytest.approx(2 * times["one_rank_s"] / times["all_ranks_s"])


def test_the_fastest_run_of_each_kind_counts() -> None:
    walls, cpus = {1: (0.5, 0.4), 2: (0.9, 0.5)}, {1: (0.4, 0.4), 2: (0.45, 0.42)}
    seconds = {
        ranks: [{"policy": wall, "policy_cpu": cpu} for wall, cpu in zip(walls[ranks], cpus[ranks])]
        for ranks in walls
    }
    found = compared(seconds, "policy", batch=32, ranks=2)
    assert found["ratio"] == pytest.approx(1.6)
    assert found["ratio_by_cpu_time"] == pytest.approx(0.8 / 0.42)
    assert found["all_ranks_episodes_per_s"] == pytest.approx(128.0)


def test_seconds_per_update_are_the_mean_gap_between_ends() -> None:
    assert mean_gap((10.0, 11.0, 14.0)) == 2.0


def test_a_run_that_fails_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "ddp", "--map", "3n"]) == 2
    assert main(["benchmark", "ddp", "--ranks", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_each_process_keeps_to_a_core_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: asked.append(cores), raising=False)
    for rank in (None, 0, 1, 2):
        FitTimes(str(tmp_path / "x.json"), own_core=True).setup("fit", rank)
    FitTimes(str(tmp_path / "x.json")).setup("fit", 0)
    assert asked == [{4}, {4}, {5}, {4}]
