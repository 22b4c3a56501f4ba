"""The command `fidelity`, on battles that the simulator itself recorded, and on the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import NEEDS_A_GPU

from hygen_lightning.calibration.fidelity import fidelity_report
from hygen_lightning.commands.fidelity import fidelity
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs import make_env
from hygen_lightning.envs.simulator.step import Dynamics
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.specs import Episodes, UserError
from hygen_lightning.tasks import load_task

pytestmark = pytest.mark.whole_battles


def simulated(num_envs: int) -> Episodes:
    """Battles of 3m in which every ally attacks the nearest enemy."""
    task = load_task("3m")
    battles, seeds = make_env("simulator", task, num_envs), torch.arange(num_envs)
    return play(battles, scripted_policy("nearest_attack"), seeds).episodes


def recorded_in(folder: Path, num_envs: int) -> None:
    """A data set of `simulated` battles."""
    write_run(folder / "3m" / "medium" / "run", simulated(num_envs))


def test_battles_of_the_simulator_itself_are_reproduced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_in(tmp_path, 6)
    assert fidelity(recordings=tmp_path, particles=16, json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["episodes"] == 6
    assert report["observation_max_error"] <= 1e-5
    assert report["availability_mismatches"] == 0
    assert report["reward_max_error"] <= 1e-5
    assert report["ally_position_error"]["p99"] < 0.2
    assert report["enemy_health_exact_share"] > 0.8
    assert set(report["free_running"]) == {"recorded", "simulated"}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_A_GPU)])
def test_recorded_starcraft_battles_are_followed_closely(
    device: str, recordings_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fidelity(recordings=recordings_dir, episodes=25, particles=16, device=device, json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ally_position_error"]["median"] <= 0.02
    assert report["ally_position_error"]["p90"] <= 0.15
    assert report["enemy_position_error"]["median"] <= 0.05
    assert report["enemy_position_error"]["p90"] <= 0.3
    assert report["enemy_health_exact_share"] >= 0.95
    assert report["ally_health_exact_share"] >= 0.65


@pytest.mark.slow
def test_compiled_steps_give_the_same_report_but_for_rounding(
    recordings_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Episodes end at different steps, so the compiled code meets many numbers of copies."""
    reports = []
    for compiled in (False, True):
        assert (
            fidelity(recordings=recordings_dir, episodes=12, particles=64, compiled=compiled, json=True) == 0
        )
        reports.append(json.loads(capsys.readouterr().out))
    plain, fused = reports
    for side in ("ally", "enemy"):
        key = f"{side}_health_exact_share"
        assert fused[key] == pytest.approx(plain[key], abs=0.01)
        for name, value in plain[f"{side}_position_error"].items():
            assert fused[f"{side}_position_error"][name] == pytest.approx(value, abs=0.05)
    assert (plain["compiled"], fused["compiled"]) == (False, True)


@pytest.mark.parametrize(("least", "asked"), [(4, [True]), (5, [])])
def test_copies_are_stepped_by_compiled_code_from_a_number_on(
    least: int, asked: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded_in(tmp_path, 2)
    calls: list[bool] = []

    def compiled(dynamic: bool) -> Dynamics:
        calls.append(dynamic)
        return Dynamics.plain()

    monkeypatch.setattr("hygen_lightning.commands.fidelity.COMPILED_FROM", least)
    monkeypatch.setattr("hygen_lightning.commands.this_machine.can_compile", lambda device: True)
    monkeypatch.setattr(Dynamics, "compiled", compiled)
    assert fidelity(recordings=tmp_path, particles=2) == 0
    assert calls == asked


def test_every_episode_is_told_when_it_has_been_followed() -> None:
    task, told = load_task("3m"), list[int]()
    fidelity_report(task, simulated(3), 2, seed=0, with_ceiling=True, done=told.append)
    assert sum(told) == 6


def test_a_machine_without_a_compiler_steps_the_copies_uncompiled_or_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded_in(tmp_path, 2)

    monkeypatch.setenv("CXX", "no-such-compiler")
    assert fidelity(recordings=tmp_path, particles=2, json=True) == 0
    monkeypatch.setattr("hygen_lightning.commands.fidelity.COMPILED_FROM", 4)
    assert fidelity(recordings=tmp_path, particles=2, json=True) == 0
    once, again = (json.loads(line) for line in capsys.readouterr().out.strip().splitlines())
    assert once == again
    with pytest.raises(UserError, match="--compiled true: "):
        fidelity(recordings=tmp_path, particles=2, compiled=True)


def test_the_ceiling_adds_its_figures_and_changes_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_in(tmp_path, 6)
    reports = []
    for ceiling in (False, True):
        assert fidelity(recordings=tmp_path, particles=16, ceiling=ceiling, json=True) == 0
        reports.append(json.loads(capsys.readouterr().out))
    plain, report = reports
    assert {key: report[key] for key in plain} == plain
    added = {key: report[key] for key in report if key not in plain}
    shares = [value for key, value in added.items() if key != "kinds"]
    assert set(added) == {
        "ally_health_ceiling",
        "ally_health_ceiling_same_mix",
        "ally_health_ceiling_covered_share",
        "ally_health_exact_share_covered",
        "kinds",
    }
    assert all(0.0 < share <= 1.0 for share in shares)
    recorded = [of_kind["recorded"] for of_kind in added["kinds"].values()]
    assert sum(share["transitions"] for share in recorded) == report["transitions"]
    exact = sum(share["transitions"] * (share["exact_share"] or 0.0) for share in recorded)
    assert exact / report["transitions"] == pytest.approx(report["ally_health_exact_share"])
    assert fidelity(recordings=tmp_path, particles=2, ceiling=True) == 0
    table = capsys.readouterr().out
    assert "recorded mix" in table
    assert "3/3" in table


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"recordings": Path("nowhere")}, "no such file"),
        ({}, "holds no recordings of 3m"),
        ({"particles": 0}, "--particles"),
        ({"episodes": 0}, "--episodes"),
        ({"device": "abacus"}, "--device abacus"),
    ],
)
def test_wrong_options_and_empty_folders_are_refused_in_one_line(
    options: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint):
        fidelity(**{"recordings": tmp_path, **options})
