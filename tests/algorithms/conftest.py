"""Battles of these tests end soon."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def soon_over(soon_over: None) -> None:
    """Of every test here."""
