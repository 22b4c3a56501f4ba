"""Puts the stand-in for SMAC's package and for StarCraft II in place."""

from __future__ import annotations

from pathlib import Path

import pytest

FAKES = Path(__file__).parent / "fakes"


def stand_in_for_starcraft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`import smac` finds the stand-in, StarCraft II seems to lie in `folder`; two games at once."""
    (folder / "StarCraftII/Versions").mkdir(parents=True)
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("SC2PATH", str(folder / "StarCraftII"))
    monkeypatch.setenv("HYGEN_SMAC_GAMES", "2")
