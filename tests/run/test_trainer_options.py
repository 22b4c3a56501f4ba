"""Options of the Trainer and of the data's place: they change nothing, or what they say, or get one line."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refused
from tiny_runs import MAX_STEPS, assert_same_run, callback, table, the_run, tiny_fit, weights

from hygen_lightning.cli import main
from hygen_lightning.data import datamodule


def test_recordings_left_in_their_files_give_the_same_run(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    load = datamodule.load_offline

    def spy(*args: Any) -> Any:
        asked.append(args[3])
        return load(*args)

    monkeypatch.setattr(datamodule, "load_offline", spy)
    assert main(tiny_fit(tmp_path, "--data.max_in_memory_gb=0")) == 0
    assert asked == [0.0]
    assert_same_run(the_run(tmp_path), tiny_run)


def first_losses(run: Path) -> list[float]:
    return [float(row["train/mean/loss"]) for row in table(run / "metrics.csv") if "train/mean/loss" in row][
        :3
    ]


def test_bf16_mixed_precision_starts_like_full_precision(tiny_run: Path, tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, "--trainer.precision=bf16-mixed")) == 0
    rounded, full = first_losses(the_run(tmp_path)), first_losses(tiny_run)
    assert rounded != full
    assert rounded == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--trainer.precision=bf16-true"], "give 32-true, 16-mixed or bf16-mixed"),
        (["--trainer.precision=64-true"], "give 32-true, 16-mixed or bf16-mixed"),
        (["--trainer.limit_train_batches=5"], "give a smaller --trainer.max_steps"),
        (["--trainer.limit_train_batches=0.5"], "give a smaller --trainer.max_steps"),
        (["--trainer.overfit_batches=1"], "give a smaller --trainer.max_steps"),
        (["--trainer.max_steps=-1"], "Give --trainer.max_steps (optimiser steps) or max_time"),
        (["--trainer.devices=2", "--trainer.strategy=ddp_spawn"], "give ddp"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_does_not_go_with_drawn_batches_is_refused(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(tiny_fit(tmp_path, *words), capsys)


def test_steps_are_optimiser_steps_however_many_batches_they_take(tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, "--trainer.accumulate_grad_batches=2")) == 0
    run = the_run(tmp_path)
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == MAX_STEPS
    losses = [row["step"] for row in table(run / "metrics.csv") if "train/3m/td_loss" in row]
    assert losses == ["5", "6", "7", "8", "9"]


@pytest.mark.slow
def test_a_stopped_run_of_several_batches_per_step_goes_on_exactly(tmp_path: Path) -> None:
    both = ("--trainer.accumulate_grad_batches=2", "--checkpoint.every_n_steps=1")
    assert main(tiny_fit(tmp_path / "whole", *both)) == 0
    assert main(tiny_fit(tmp_path / "parts", *both, *callback("StopAt", step=7))) == 130
    assert main(tiny_fit(tmp_path / "parts", *both, "--resume=auto")) == 0
    assert_same_run(the_run(tmp_path / "parts"), the_run(tmp_path / "whole"))


def test_a_run_may_be_as_long_as_its_time(tmp_path: Path) -> None:
    times = ("--trainer.max_steps=-1", "--trainer.max_time=00:00:00:01", "--model.pretrain_steps=0")
    assert main(tiny_fit(tmp_path, *times)) == 0
    results = json.loads((the_run(tmp_path) / "results.json").read_text())
    assert results["finished"]
    assert results["optimiser_steps"] > 0
    assert any("rollout/3m/epsilon" in row for row in table(the_run(tmp_path) / "metrics.csv"))


def test_metrics_are_written_beside_a_users_own_logger(tiny_run: Path, tmp_path: Path) -> None:
    theirs = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger"]
    assert main(tiny_fit(tmp_path, *theirs, f"--trainer.logger.init_args.save_dir={tmp_path}")) == 0
    assert table(the_run(tmp_path) / "metrics.csv") == table(tiny_run / "metrics.csv")
    assert list(tmp_path.glob("lightning_logs/*/metrics.csv"))


def own_checkpoints(**options: Any) -> list[str]:
    words = ["--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"]
    return words + [f"--trainer.callbacks.init_args.{name}={value}" for name, value in options.items()]


def test_checkpoints_of_a_user_leave_those_of_the_run_alone(tiny_run: Path, tmp_path: Path) -> None:
    words = own_checkpoints(save_last="true", filename="best", every_n_train_steps=2)
    often = "--checkpoint.every_n_steps=3"
    assert main(tiny_fit(tmp_path, *words, often, *callback("StopAt", step=7))) == 130
    assert main(tiny_fit(tmp_path, *words, "--resume=auto")) == 0
    run = the_run(tmp_path)
    assert_same_run(run, tiny_run)
    best = [torch.load(r / "checkpoints/best.ckpt", weights_only=True) for r in (run, tiny_run)]
    assert best[0].keys() == best[1].keys()
    assert weights(run)
    assert {path.name for path in (run / "lightning/checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}


def test_the_folder_of_a_runs_checkpoints_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hygen_lightning.trainer_cli.new_run_dir", lambda *_: nullcontext(tmp_path / "run"))
    words = own_checkpoints(dirpath=tmp_path / "run" / "checkpoints")
    assert "a ModelCheckpoint writes to" in refused(tiny_fit(tmp_path, *words), capsys)
