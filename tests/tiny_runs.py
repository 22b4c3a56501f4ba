"""Runs of a dozen steps on tiny networks, through the command line, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hygen_lightning.cli import main
from hygen_lightning.data.tables import read_rows

PRETRAIN_STEPS, VAL_EVERY, MAX_STEPS = 5, 4, 10
"""Optimiser steps of stage one, between validations, and of the whole tiny run."""


def tiny_fit(tmp_path: Path, *extra: str) -> list[str]:
    """`fit` of 3m with both stages and rollouts in seconds; `extra` options win."""
    options = {
        "--config": "conf/base.yaml",
        "--run.root": str(tmp_path / "runs"),
        "--run.name": "tiny",
        "--run.record_episodes": "16",
        "--run.teachers": "scripted",
        "--data.train_tasks": "[3m]",
        "--data.eval_tasks": "[3m]",
        "--data.quality": "medium",
        "--data.batch_size": "2",
        "--data.eval_episodes": "2",
        "--data.test_episodes": "2",
        "--data.replay_episodes": "8",
        "--data.share_schedule": "fixed",
        "--model.init_args.width": "8",
        "--model.init_args.n_heads": "1",
        "--model.init_args.lr_schedule": "constant",
        "--model.init_args.ema_decay": "0.9",
        "--model.init_args.pretrain_steps": str(PRETRAIN_STEPS),
        "--model.init_args.target_update_interval": "2",
        "--evaluation.noise": "0",
        "--rollouts.episodes_per_step": "1",
        "--rollouts.every_n_steps": "2",
        "--trainer.max_steps": str(MAX_STEPS),
        "--trainer.val_check_interval": str(VAL_EVERY),
        "--trainer.log_every_n_steps": "1",
        "--trainer.enable_progress_bar": "false",
        "--trainer.accelerator": "cpu",
        "--files.curve": "false",
        "--files.battle_gif": "false",
        "--files.skills": "false",
    }
    return ["fit", *(piece for option in options.items() for piece in option), *extra]


def resolved(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """All options of a command line, as --print_config shows them."""
    capsys.readouterr()
    assert main([*argv, "--print_config"]) == 0
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


def the_run(tmp_path: Path) -> Path:
    """The one run folder that `tiny_fit` left."""
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    return folder


def callback(name: str, **init_args: Any) -> list[str]:
    """Arguments that add a callback of tests/run/interruptions.py."""
    words = [f"--trainer.callbacks+=run.interruptions.{name}"]
    return words + [f"--trainer.callbacks.init_args.{key}={value}" for key, value in init_args.items()]


def table(path: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv or evaluations.csv without empty cells and times; repeated ones count once."""
    key = ("step",) if path.stem == "metrics" else ("stage", "step", "task", "seed")
    rows = read_rows(path, *key)
    for row in rows:
        row.pop("progress/minutes", None)
    return sorted(rows, key=lambda row: int(row["step"]))


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Parameters in a run's last checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def assert_same_run(run: Path, other: Path) -> None:
    """Every number that the two runs logged, and every final weight, is the same."""
    for name in ("metrics.csv", "evaluations.csv"):
        assert table(run / name) == table(other / name), name
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
