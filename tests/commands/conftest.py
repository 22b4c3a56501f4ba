"""Finished runs to report on."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_runs import finished_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        finished_run(
            tmp_path / "runs", "hygen", seed, {"3m": 10, "4m": 6 + seed}, model={"lr": 0.001}, noisy=True
        )
    finished_run(tmp_path / "runs", "bc", 1, {"3m": 8, "4m": 3}, model={"lr": 0.01})
    return tmp_path / "runs"
