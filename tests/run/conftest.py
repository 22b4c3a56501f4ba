"""One tiny run from beginning to end, which the tests of this folder compare with and read from."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_battles import short_battles
from tiny_runs import the_run, tiny_fit

from hygen_lightning.cli import main


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted `tiny_fit`; read only."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with short_battles():
        assert main(tiny_fit(folder)) == 0
    return the_run(folder)
