"""Puts the stand-in for SMAC's package and for StarCraft II in place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from hygen_lightning.envs import make_env
from hygen_lightning.envs.smac.env import SmacEnv

FAKES = Path(__file__).parent / "fakes"


def stand_in_for_starcraft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreters of games find the stand-in; StarCraft II seems to lie in `folder`.

    What goes wrong in games is told by FAKE_SMAC (see the stand-in) and counted in `folder`/troubles.
    """
    game = folder / "StarCraftII"
    for inside in ("Versions/Base75689", "Maps/SMAC_Maps"):
        (game / inside).mkdir(parents=True)
    for name in ("3m", "8m", "4m"):
        (game / f"Maps/SMAC_Maps/{name}.SC2Map").touch()
    (folder / "troubles").mkdir()
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), *([known] if known else [])]))
    monkeypatch.setenv("SC2PATH", str(game))
    monkeypatch.setenv("FAKE_SMAC_TROUBLES", str(folder / "troubles"))


def starcraft(folder: Path, num_envs: int = 1, task: str = "3m", **options: object) -> SmacEnv:
    """Battles with the options of an environment file."""
    path = folder / "starcraft.yaml"
    path.write_text(yaml.safe_dump({"env": "smac", "games": 8, **options}), encoding="utf-8")
    env = make_env(str(path), task, num_envs)
    assert isinstance(env, SmacEnv)
    return env
