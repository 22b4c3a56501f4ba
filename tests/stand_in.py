"""Puts the stand-in for SMAC's package and for StarCraft II in place."""

from __future__ import annotations

from pathlib import Path

import pytest

FAKES = Path(__file__).parent / "fakes"


def stand_in_for_starcraft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`import smac` finds the stand-in, StarCraft II seems to lie in `folder`; two games at once."""
    game = folder / "StarCraftII"
    for inside in ("Versions", "Maps/SMAC_Maps"):
        (game / inside).mkdir(parents=True)
    for name in ("3m", "8m"):
        (game / f"Maps/SMAC_Maps/{name}.SC2Map").touch()
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("SC2PATH", str(game))
    monkeypatch.setenv("HYGEN_SMAC_GAMES", "2")
