"""Options of the Trainer and of memory that must not change what a run learns, or only by rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import assert_same_run, table, the_run, tiny_fit

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
