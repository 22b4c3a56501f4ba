"""The global random generators of a process, as tensors and plain Python."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from hygen_lightning.seeding import stream_seed


def generator_states() -> dict[str, Any]:
    """State of torch's, numpy's and Python's global generators, and of the current GPU's."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    words = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return {
        **noise_states(),
        "numpy": [name, words, int(position), int(has_gauss), float(cached)],
        "python": random.getstate(),
    }


def noise_states() -> dict[str, torch.Tensor]:
    """State of the generators that networks draw from: torch's, and the current GPU's if there is one."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def seed_rank(seed: int, rank: int) -> None:
    """Other noise on every rank: seed_everything gave all of them the same. Rank 0 keeps its own."""
    if rank > 0:
        torch.manual_seed(stream_seed(seed, rank, "noise"))


def restore_generators(state: dict[str, Any]) -> None:
    """Go on where `generator_states` was taken."""
    restore_noise(state)
    name, words, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), position, has_gauss, cached))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


def restore_noise(state: dict[str, Any]) -> None:
    """Draw again what was drawn after `noise_states` was taken."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
