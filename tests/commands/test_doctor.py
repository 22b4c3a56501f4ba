"""doctor: what environments need here, and commands that mend it in an order that works."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from stand_in import stand_in_for_starcraft

from hygen_lightning.cli import main
from hygen_lightning.envs.smac import installation
from hygen_lightning.envs.smac.game import SmacOptions
from hygen_lightning.tasks import load_task


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict]]:
    """Exit code, and what it says of each environment."""
    code = main(["doctor", *words, "--json", "true"])
    return code, json.loads(capsys.readouterr().out)["environments"]


def test_worlds_that_need_nothing_are_ready_and_only_those_that_play_the_tasks_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert told(capsys, "--task_set", "cooperative-navigation") == (
        0,
        {"navigation": {"ready": True, "checks": []}},
    )


def test_without_starcraft_it_says_what_to_do_from_the_interpreter_to_the_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SC2PATH", str(tmp_path / "StarCraftII"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    world = tmp_path / "smac.yaml"
    python = tmp_path / "smac-env/bin/python"
    world.write_text(yaml.safe_dump({"env": "smac", "python": str(python)}), encoding="utf-8")
    assert main(["doctor", "--env", str(world), "--task_set", "toy"]) == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    commands = lines[lines.index("to mend it, in this order, then run doctor again:") + 1 :]
    starts = (f"python3 -m venv {tmp_path}/smac-env", f"{python} -m pip install git+", "wget ", "mkdir -p ")
    assert [next(s for s in starts if c.startswith(s)) for c in commands] == list(starts)
    assert "export SC2PATH=" in commands[2]
    assert all(f"cp {place}" in commands[3] for _, place in installation.MAPS.values())


def test_with_all_in_place_only_the_missing_maps_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in_for_starcraft(tmp_path, monkeypatch)
    code, found = told(capsys, "--env", "smac", "--task_set", "toy")
    checks = {check["what"]: check for check in found["smac"]["checks"]}
    assert code == 1
    maps = checks.pop("map files")
    assert maps["found"].endswith("SMAC_Maps lacks 5m")
    checks.pop("protobuf below 3.21")  # that of this interpreter
    assert all(check["ok"] for check in checks.values()), checks


@pytest.mark.parametrize(
    ("facts", "what", "line"),
    [
        ({"package": "/x/smac/__init__.py", "starcraft": False}, "SMAC's package", "another project"),
        ({"package": None, "starcraft": False}, "SMAC's package", "missing"),
        ({"package": "x", "starcraft": True, "protobuf": "5.29.1"}, "protobuf below 3.21", "5.29.1"),
        (
            {"package": "x", "starcraft": True, "error": "TypeError: x"},
            "the package can be imported",
            "TypeError",
        ),
    ],
)
def test_what_is_wrong_with_the_package_is_told(facts: dict, what: str, line: str) -> None:
    options = SmacOptions(python=sys.executable)
    look = {
        "SMAC's package": installation._package,
        "protobuf below 3.21": installation._protobuf,
        "the package can be imported": installation._imports,
    }[what]
    check = look(options, facts)
    assert (check.what, check.ok) == (what, False)
    assert line in check.found
    assert check.remedy.startswith(f"{sys.executable} -m pip ")
    own = look(SmacOptions(), facts)
    assert own.remedy.startswith("python3 -m venv ~/smac-env"), "not into the trainer's own interpreter"


@pytest.mark.parametrize(
    ("builds", "ok", "line"),
    [(["75689"], True, "75689"), (["75689", "93333"], False, "93333"), ([], False, "no build")],
)
def test_the_version_is_that_of_published_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builds: list[str], ok: bool, line: str
) -> None:
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    for build in builds:
        (tmp_path / "Versions" / f"Base{build}").mkdir(parents=True)
    check = installation._version()
    assert check.ok == ok
    assert line in check.found
    (maps,) = installation.map_checks([load_task("3m")])
    assert not maps.ok
