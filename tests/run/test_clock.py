"""What a run had spent is counted over all its starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hygen_lightning.report.runs import read_clock
from hygen_lightning.run.clock import RunClock
from hygen_lightning.run.run import spent


def test_a_resumed_run_counts_on_from_the_step_it_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("hygen_lightning.run.clock.time.monotonic", lambda: now)
    first = RunClock(tmp_path, 0)
    now = 130.0
    first.note(10, 5, 50)
    now = 190.0
    first.note(20, 9, 90)
    now = 1000.0
    second = RunClock(tmp_path, 10)
    now = 1006.0
    second.note(20, 8, 80)
    assert [tuple(row.values()) for row in read_clock(tmp_path)] == [(10, 30, 5, 50), (20, 36, 8, 80)]
    assert spent(tmp_path) == {"battles": 8, "env_steps": 80, "minutes": 0.6}


def test_a_run_without_a_clock_has_spent_what_nobody_knows(tmp_path: Path) -> None:
    assert spent(tmp_path) == {}
