"""Algorithms: one LightningModule per file. The folder is the registry; classes are found by name.

Whoever imports one algorithm imports all, so that `--model HyGen` is enough on the command line;
an algorithm from outside is named by its whole path, `--model my_file.MyAlgorithm`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any


def _classes() -> dict[str, Any]:
    """Every class of this folder that stands for an algorithm, by name; bases are abstract."""
    files = [importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
    found = {}
    for file in files:
        for name, kind in inspect.getmembers(file, inspect.isclass):
            if hasattr(kind, "offline_phase_steps") and not inspect.isabstract(kind):
                found[name] = kind
    return found


ALGORITHMS = _classes()
__all__ = sorted(ALGORITHMS)


def __getattr__(name: str) -> Any:
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    raise AttributeError(f"{__name__} has no algorithm {name!r}; it has {', '.join(ALGORITHMS)}")
