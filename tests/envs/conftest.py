"""StarCraft II's stand-in for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in import stand_in_for_starcraft


@pytest.fixture
def smac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a StarCraft II that the stand-in for SMAC plays."""
    stand_in_for_starcraft(tmp_path, monkeypatch)
    return tmp_path
