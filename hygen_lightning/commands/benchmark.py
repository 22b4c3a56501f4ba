"""Measure speed side by side: simulator, update, whole run, scaling, processes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable


def _benchmarks() -> dict[str, Callable[..., int]]:
    """Every `commands/benchmark_<name>.py` gives the function <name>."""
    from hygen_lightning import commands

    stems = [m.name for m in pkgutil.iter_modules(commands.__path__) if m.name.startswith("benchmark_")]
    names = {stem.removeprefix("benchmark_"): f"hygen_lightning.commands.{stem}" for stem in sorted(stems)}
    return {name: getattr(importlib.import_module(module), name) for name, module in names.items()}


COMMAND = _benchmarks()
