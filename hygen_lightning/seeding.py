"""One seed, many independent streams: every generator is named by (seed, rank, stream)."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    import torch


def check_seed(seed: int, name: str = "--seed") -> int:
    """The seed; UserError, by this name, unless it is one that every generator takes."""
    if not 0 <= seed < 2**32:
        raise UserError(f"{name} is {seed}; give 0 to {2**32 - 1}")
    return seed


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


# The global random generators of a process; their states are tensors and plain Python


def seed_rank(seed: int, rank: int) -> None:
    """Seed torch differently on every rank, after seed_everything seeded all alike; rank 0 keeps its seed."""
    import torch

    if rank > 0:
        torch.manual_seed(stream_seed(seed, rank, "noise"))


def generator_states() -> dict[str, Any]:
    """State of torch's, numpy's and Python's global generators, and of the current GPU's."""
    import numpy as np
    import torch

    name, keys, position, has_gauss, cached = np.random.get_state()
    words = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return {
        **noise_states(),
        "numpy": [name, words, int(position), int(has_gauss), float(cached)],
        "python": random.getstate(),
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Set all of them back to a state of `generator_states`."""
    import numpy as np

    restore_noise(state)
    name, words, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), position, has_gauss, cached))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


def noise_states() -> dict[str, torch.Tensor]:
    """State of the generators that networks draw from: torch's, and the current GPU's if there is one."""
    import torch

    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_noise(state: dict[str, torch.Tensor]) -> None:
    """Set them back to a state of `noise_states`."""
    import torch

    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
