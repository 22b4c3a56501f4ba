"""Algorithms: one LightningModule per file. The folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from hygen_lightning.algorithms.bc import BC  # noqa: E402
from hygen_lightning.algorithms.hygen import HyGen  # noqa: E402

__all__ = ["BC", "HyGen"]
