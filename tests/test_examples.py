"""The examples, run from outside the package: what they show is what works."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_python_example_trains_and_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train = runpy.run_path(str(EXAMPLES / "train.py"))["train"]
    trainer = train(steps=5, episodes=40)
    assert trainer.global_step == 5
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/3m/win_rate", "val/4m/win_rate", "val/mean/unseen_win_rate"} <= metrics.keys()
