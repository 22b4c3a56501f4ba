"""Where the golden numbers and the recordings lie; tests skip with a reason where they are absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: one thread here as in the processes that tests start, for runs are
# compared number for number and the order of a sum depends on the threads.
os.environ["OMP_NUM_THREADS"] = "1"
# Compiling takes a minute: only tests of compiled battles switch it on.
os.environ["HYGEN_COMPILED"] = "off"

SHORT_BATTLES = ("algorithms", "benchmark", "commands", "run")
"""Folders of tests that play many battles."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Give them with `=`: a folder that stands alone is one of tests to pytest, which then misses this."""
    parser.addoption("--golden", default="../shared/golden", help="folder of golden numbers")
    parser.addoption("--recordings", default="../shared/dataset", help="folder of recorded episodes")
    parser.addoption("--smac_python", default="~/smac-env/bin/python", help="interpreter with SMAC's package")


def _folder(config: pytest.Config, option: str) -> Path:
    return Path(str(config.getoption(option)))


@pytest.fixture(scope="session")
def golden_dir(pytestconfig: pytest.Config) -> Path:
    folder = _folder(pytestconfig, "--golden")
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder} (give --golden=DIR)")
    return folder


@pytest.fixture(scope="session")
def recordings_dir(pytestconfig: pytest.Config) -> Path:
    folder = _folder(pytestconfig, "--recordings")
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder} (give --recordings=DIR)")
    return folder


@pytest.fixture
def soon_over() -> Iterator[None]:
    """Battles last 6 steps: it counts that they are played, not how."""
    from short_battles import short_battles  # imports torch, after the thread count is set

    with short_battles():
        yield


@pytest.fixture(autouse=True)
def _soon_over_in_some_folders(request: pytest.FixtureRequest) -> None:
    """But for tests marked whole_battles, and what is started as a new interpreter."""
    if request.path.parent.name in SHORT_BATTLES and not request.node.get_closest_marker("whole_battles"):
        request.getfixturevalue("soon_over")


@pytest.fixture(scope="session")
def smac_python(pytestconfig: pytest.Config) -> Path:
    python = _folder(pytestconfig, "--smac_python").expanduser()
    if not python.is_file():
        pytest.skip(f"no interpreter with SMAC's package at {python} (give --smac_python=PATH)")
    return python
