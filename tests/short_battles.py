"""Battles that end soon, for tests in which it counts that they are played and not how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hygen_lightning.tasks import maps

LIMIT_ENV_STEPS = 6


@contextmanager
def short_battles(*but: str) -> Iterator[None]:
    """Every map but these has this time limit, in this process and in those that are forked from it; what
    they leave in the cache folder lies apart from recordings of whole battles."""
    rows = {name: row for name, row in maps._table()["maps"].items() if name not in but}
    limits = {name: row["limit"] for name, row in rows.items()}
    for row in rows.values():
        row["limit"] = min(row["limit"], LIMIT_ENV_STEPS)
    maps.map_task.cache_clear()
    cache = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(Path(cache or Path.home() / ".cache") / "-".join(("short", *but)))
    try:
        yield
    finally:
        for name, row in rows.items():
            row["limit"] = limits[name]
        maps.map_task.cache_clear()
        del os.environ["XDG_CACHE_HOME"]
        if cache is not None:
            os.environ["XDG_CACHE_HOME"] = cache
