"""benchmark scaling: slopes, the table, the picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hygen_lightning.benchmark import scaling as benchmark_scaling
from hygen_lightning.benchmark.scaling import MAPS, growth
from hygen_lightning.cli import main
from hygen_lightning.tasks import load_task


def test_growth_is_the_exponent_between_the_first_and_the_last_row() -> None:
    rows = [{"batch": 2, "a_s": 1.0, "b_mb": 3.0}, {"batch": 4, "a_s": 9.0, "b_mb": 9.0}]
    rows.append({"batch": 8, "a_s": 16.0, "b_mb": 12.0})
    assert growth("batch", rows) == {"a_s": pytest.approx(2.0), "b_mb": pytest.approx(1.0)}
    assert growth("batch", rows[:1]) == {}


def test_the_maps_have_three_to_twenty_seven_agents() -> None:
    agents = [load_task(name).n_allies for name in MAPS]
    assert agents == sorted(set(agents))
    assert (agents[0], agents[-1]) == (3, 27)


def test_every_size_is_measured_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENV_BATCH", "BASE_BATCH", "BASE_TIMESTEPS"):
        monkeypatch.setattr(benchmark_scaling, name, 4)
    few = ["--maps", '["4m","3m"]', "--batches", "[1,2]", "--timesteps", "[3]", "--repeats", "1"]
    plot = tmp_path / "growth.png"
    words = ["benchmark", "scaling", *few, "--seconds", "0.05", "--memory", "false", "--plot", str(plot)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["agents"] for row in found["agents"]["rows"]] == [3, 4]
    assert [row["batch"] for row in found["batch"]["rows"]] == [1, 2]
    quantities = {"pretrain_s", "policy_s", "env_step_s"}
    assert set(found["agents"]["growth"]) == quantities
    assert found["timesteps"]["growth"] == {}, "one row has no slope"
    assert all(row[name] > 0 for row in found["agents"]["rows"] for name in quantities)
    assert plot.read_bytes()[1:4] == b"PNG"


def test_impossible_counts_are_refused() -> None:
    for wrong in (["--repeats", "0"], ["--batches", "[0]"], ["--timesteps", "[1]"], ["--threads", "0"]):
        assert main(["benchmark", "scaling", *wrong]) == 2
    assert main(["benchmark", "scaling", "--maps", '["3n"]']) == 2
