"""Masks as numbers. Code compiled for CPU writes 47 000 bools in 0.24 ms and as many floats in 0.02 ms
(measured, two cores), so what every game loop writes for every unit is a float (`bursting` and `over`, which
change rarely, are bools)."""

from __future__ import annotations

import torch
from torch import Tensor


def flag(mask: Tensor) -> Tensor:
    """1.0 where it holds, else 0.0."""
    return torch.where(mask, 1.0, 0.0)


def mask_of(flags: Tensor) -> Tensor:
    """flags of any shape, 0.0 or 1.0 -> bool; code compiled for CPU writes bytes, which are quicker."""
    if torch.compiler.is_compiling() and flags.device.type == "cpu":
        return flags.to(torch.uint8).view(torch.bool)
    return flags > 0
