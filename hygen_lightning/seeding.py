"""One seed, many independent streams: every generator is named by (seed, rank, stream)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *names: object) -> int:
    """A 63-bit seed that depends on every name; equal names give equal seeds everywhere."""
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream_generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for one named stream, for example (seed, rank, "exploration")."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, *names))


def battle_seeds(n: int, seed: int, *names: object) -> torch.Tensor:
    """[n] int64: seeds of n battles, the same for the same names."""
    import torch

    return torch.randint(2**62, (n,), generator=stream_generator(seed, *names))
