"""What the pictures of a run are told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hygen_lightning.run.pictures import draw_curves


def test_learning_curves_are_told_where_stage_two_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(
        "hygen_lightning.run.pictures.draw_learning_curves", lambda *words: told.append(words)
    )
    (tmp_path / "metrics.csv").write_text("step,train/3m/loss\n1,1\n")
    model: Any = SimpleNamespace(offline_phase_steps=7)
    data: Any = SimpleNamespace(seen={"5m", "3m"})
    draw_curves(model, data, tmp_path)
    assert told == [(tmp_path / "metrics.csv", tmp_path / "learning_curves.png", ["3m", "5m"], 7)]
