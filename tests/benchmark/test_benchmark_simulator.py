"""The command `benchmark simulator`: what it reports, not how fast it is."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from hygen_lightning.benchmark import simulator as benchmark_simulator
from hygen_lightning.benchmark import timing
from hygen_lightning.benchmark.simulator import simulator
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

pytestmark = pytest.mark.whole_battles


def test_a_speed_per_map_is_reported_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulator(map=["3m", "2s3z"], batch=8, seconds=0.05, compiled=False, json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["maps"]) == {"3m", "2s3z"}
    assert all(row["env_steps_per_s"] > 0 and row["batch"] == 8 for row in report["maps"].values())


def test_every_step_of_a_living_battle_within_the_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(seconds)))
    # Every reading of the clock is a second later than the one before. After those of warm-up two
    # times 8 steps of 4 battles, none over yet, take a second each.
    speed = benchmark_simulator.measure(load_task("25m"), 4, 1.5, compiled=False, device="cpu")
    assert speed == 4 * 8


@pytest.mark.parametrize(
    ("units", "battles"),
    [(6, 10656), (11, 5808), (21, 2256), (126, 48), (300, 32)],  # 64 000 / 6, / 11; 1 000 000 / 21 ^ 2; 32
)
def test_a_batch_is_bounded_by_units_and_by_pairs(units: int, battles: int) -> None:
    assert benchmark_simulator._usual_batch(units) == battles


def test_smax_stands_beside_it_with_the_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho \'{"env_steps_per_s": 50.0, "batch": 4}\'\n', encoding="utf-8")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    arguments = {"map": ["3m"], "batch": 4, "seconds": 0.05, "compiled": False}
    assert simulator(**arguments, against="smax", smax_python=fake, json=True) == 0  # type: ignore[arg-type]
    row = json.loads(capsys.readouterr().out)["maps"]["3m"]
    assert row["smax_env_steps_per_s"] == 50
    assert row["ratio"] == pytest.approx(row["env_steps_per_s"] / 50)


def test_an_interpreter_without_smax_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--smax_python"):
        simulator(
            map=["3m"], batch=2, seconds=0.01, compiled=False, against="smax", smax_python=tmp_path / "none"
        )


def test_growth_with_units_is_a_table_and_a_picture_beyond_the_largest_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_simulator, "GROWING_MAPS", ["3m", "27m_vs_30m"])
    monkeypatch.setattr(benchmark_simulator, "STEPS_PER_READING", 1)
    plot = tmp_path / "growth.png"
    assert simulator(growth=True, batch=1, seconds=0.01, compiled=False, plot=plot, json=True) == 0
    found = json.loads(capsys.readouterr().out)["maps"]
    units = {"3m": 6, "27m_vs_30m": 57, "40m_vs_44m": 84, "60m_vs_66m": 126}
    assert {name: row["units"] for name, row in found.items()} == units
    assert plot.read_bytes()[1:4] == b"PNG"


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UserError, match="--seconds"):
        simulator(seconds=0)
    with pytest.raises(UserError, match="--batch"):
        simulator(batch=0)
    with pytest.raises(UserError, match="--growth"):
        simulator(growth=True, against="smax")


def test_a_machine_without_a_compiler_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="--compiled true"):
        simulator(map="3m", batch=2, seconds=0.01)
