"""Where the golden numbers and the recordings lie; tests skip with a reason where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", default="../shared/golden", help="folder of golden numbers")
    parser.addoption("--recordings", default="../shared/dataset", help="folder of recorded episodes")


def _folder(config: pytest.Config, option: str) -> Path:
    return Path(str(config.getoption(option)))


@pytest.fixture(scope="session")
def golden_dir(pytestconfig: pytest.Config) -> Path:
    folder = _folder(pytestconfig, "--golden")
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder} (give --golden DIR)")
    return folder


@pytest.fixture(scope="session")
def recordings_dir(pytestconfig: pytest.Config) -> Path:
    folder = _folder(pytestconfig, "--recordings")
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder} (give --recordings DIR)")
    return folder
