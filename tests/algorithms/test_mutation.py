"""No read of an option of an algorithm could be lost without a fast test that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MUTATION = Path(__file__).parent.parent / "mutation.py"


@pytest.mark.slow
def test_every_wrong_algorithm_is_noticed(golden_dir: Path) -> None:
    done = subprocess.run([sys.executable, str(MUTATION)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
