"""Recordings that the tests of the DataModule draw from."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_episodes

from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.tasks import load_task


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 episodes each: 3m/medium, half won; 3m/expert, all won; in another folder other 3m/medium."""
    task, root = load_task("3m"), tmp_path_factory.mktemp("recordings")
    for folder, quality, wins, seed in (
        ("data", "medium", 0.5, 0),
        ("data", "expert", 1.0, 1),
        ("other", "medium", 0.25, 2),
    ):
        episodes = make_episodes(task, 24, seed=seed, wins=wins)
        write_run(root / folder / "3m" / quality / "run", episodes)
    return root
