"""Random numbers that depend on (seed, step, number) alone, so a battle is the same in any batch."""

from __future__ import annotations

from torch import Tensor

_MASK = 0xFFFFFFFF


def uniform(seed: Tensor, step: Tensor, draw: Tensor, stream: int) -> Tensor:
    """[n, B] float32 in [0, 1). seed, step [B] int64; draw [n, 1 or B] int64: the number of each
    draw; stream tells independent uses apart.

    Two rounds of a 32-bit integer hash (multiply, xor, shift) kept inside int64.
    """
    mixed = _hash((seed & _MASK) ^ _hash((seed >> 32) & _MASK))
    mixed = _hash(mixed ^ _hash(step * 0x9E3779B1 + stream * 0x85EBCA77)).unsqueeze(0)
    bits = _hash(mixed ^ _hash(draw * 0xC2B2AE3D + 0x27D4EB2F))
    return (bits >> 8).float() * 2.0**-24


def _hash(x: Tensor) -> Tensor:
    """A 32-bit avalanche hash of int64 numbers, result in [0, 2^32)."""
    x = x & _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
