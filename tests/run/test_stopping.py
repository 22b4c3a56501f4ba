"""Runs that are asked to stop, and runs that are not asked."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
import torch
from processes import Forked
from tiny_runs import assert_same_run, callback, the_run, tiny_fit

from hygen_lightning.cli import main
from hygen_lightning.run.run import is_finished


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_exactly(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny_fit(tmp_path, *callback("SignalAt", step=6))) == 143
    out = capsys.readouterr().out
    assert f"saved step 7 in {the_run(tmp_path) / 'checkpoints' / 'last.ckpt'}" in out
    assert main(tiny_fit(tmp_path, "--resume", "auto")) == 0
    assert_same_run(the_run(tmp_path), tiny_run)


def test_a_request_in_the_last_step_saves_the_finished_training(tiny_run: Path, tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, *callback("SignalAt", step=9))) == 143
    assert not (the_run(tmp_path) / "results.json").exists()
    assert main(tiny_fit(tmp_path, "--resume", "auto")) == 0
    assert is_finished(the_run(tmp_path))
    assert_same_run(the_run(tmp_path), tiny_run)


def test_a_run_that_is_stopped_in_its_last_battles_plays_them_when_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_fit(tmp_path, "--data.test_episodes=4", "--data.eval_batch=2")
    assert main([*words, *callback("SignalInTheLastBattles")]) == 143
    assert "before the last battles were played; the same command with --resume auto plays them" in (
        capsys.readouterr().out
    )
    assert not is_finished(the_run(tmp_path))
    assert main([*words, "--resume", "auto"]) == 0
    assert is_finished(the_run(tmp_path))


@pytest.mark.parametrize("damaged", ["results.json", "config.yaml"])
def test_damaged_files_of_a_stopped_run_keep_it_from_nothing(damaged: str, tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, *callback("SignalAt", step=9))) == 143
    (the_run(tmp_path) / damaged).write_text("{")
    assert main(tiny_fit(tmp_path, "--resume", "auto")) == 0
    assert is_finished(the_run(tmp_path))


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_ctrl_c_and_the_warning_of_slurm_before_its_time_limit_stop_a_run_too(
    number: signal.Signals, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert main(tiny_fit(tmp_path, *callback("SignalAt", step=1, number=int(number)))) == exit_code
    assert (the_run(tmp_path) / "checkpoints" / "last.ckpt").exists()


def test_the_signals_are_given_back_after_a_run(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(tiny_fit(tmp_path, "--trainer.max_steps=1")) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    tiny_run: Path, tmp_path: Path
) -> None:
    moments = random.Random(4)
    words = tiny_fit(tmp_path, "--checkpoint.every_n_steps=1", "--resume", "auto")
    kills = 0
    for _ in range(20):
        kills += killed_after(words, tmp_path, moments.uniform(0.0, 0.6))
        torch.load(the_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert kills >= 12  # the machine may have been quicker than the killer
    assert main(words) == 0
    assert_same_run(the_run(tmp_path), tiny_run)


def killed_after(words: list[str], tmp_path: Path, seconds: float) -> bool:
    """Kill a run this long after it trains and has a checkpoint; False if it ended before."""
    with Forked(*words) as process:
        for line in process.stdout:
            if line.startswith("step "):
                break
        while not process.ended and not list(tmp_path.rglob("last.ckpt")):
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        return process.exit_code() == -signal.SIGKILL
