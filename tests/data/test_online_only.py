"""A run without recordings, through the command line: its batches are played from the first step on."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused
from tiny_runs import table, the_run, tiny_fit

from hygen_lightning.cli import main


def test_a_run_without_recordings_learns_from_its_own_battles(tmp_path: Path) -> None:
    online = ("--data.quality=none", "--model.init_args.pretrain_steps=0", "--trainer.max_steps=4")
    assert main(tiny_fit(tmp_path, *online, "--run.record_episodes=1")) == 0
    rows = table(the_run(tmp_path) / "metrics.csv")
    shares = [float(row["train/3m/offline_share"]) for row in rows if "train/3m/offline_share" in row]
    assert shares == [0.0] * 4


def test_a_stage_that_needs_recordings_is_refused_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = tiny_fit(tmp_path, "--data.quality=none")
    assert "nothing to learn from, for the first 5 optimiser steps" in refused(argv, capsys)
