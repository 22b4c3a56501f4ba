"""The state of many battles between two game loops: plain tensors, units first, battles last.

Random numbers depend on (seed, step, number of the draw) alone, so a battle is the same in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

STEP_STREAM, START_STREAM = 0, 1
"""Independent random streams of a battle: its steps, and its start positions."""
_MASK = 0xFFFFFFFF


@dataclass
class BattleState:
    """B battles of N = A + E units, allies on top. Masks that change in every loop are float32, 0 or 1.

    x, y [N, B]: map units.
    health, shield, energy [N, B]: points.
    cooldown [N, B]: game loops until the weapon is ready, down to -1 in the loop in which it became
        ready (SMAC shows 0).
    target [N, B] int64: the unit aimed at, -1 for none.
    calm [N, B]: game loops since the last damage (shields start to grow after a delay).
    bursting [N, B] bool: a Baneling that explodes in the next loop.
    backswing_left [N, B]: game loops until an enemy may walk after a shot; 0 for allies.
    walked [N, B]: 1 if the unit started to walk in the last loop, whether or not it was blocked.
    look_loop [E, B] int64: the loop of a step in which an enemy reconsiders a target in range.
    not_shot_at [E, B]: 1 if the target is not the enemy's first one and was not shot at yet.
    goal_x, goal_y [E, B]: end of the attack-move.
    last_action [A, B] int64: -1 before the first step.
    step [B] int64: environment steps played.
    seed [B] int64. over [B] bool.
    """

    x: Tensor
    y: Tensor
    health: Tensor
    shield: Tensor
    energy: Tensor
    cooldown: Tensor
    target: Tensor
    calm: Tensor
    bursting: Tensor
    backswing_left: Tensor
    walked: Tensor
    look_loop: Tensor
    not_shot_at: Tensor
    goal_x: Tensor
    goal_y: Tensor
    last_action: Tensor
    step: Tensor
    seed: Tensor
    over: Tensor

    @classmethod
    def blank(cls, n_allies: int, n_enemies: int, seed: Tensor) -> BattleState:
        """Battles of these seeds [B] int64 before anything is set: zeros, no targets, no actions."""
        n, b, device = n_allies + n_enemies, len(seed), seed.device

        def zeros(rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(rows, b, dtype=dtype, device=device)

        return cls(
            x=zeros(n),
            y=zeros(n),
            health=zeros(n),
            shield=zeros(n),
            energy=zeros(n),
            cooldown=zeros(n),
            target=zeros(n, torch.int64) - 1,
            calm=zeros(n),
            bursting=zeros(n, torch.bool),
            backswing_left=zeros(n),
            walked=zeros(n),
            look_loop=zeros(n_enemies, torch.int64),
            not_shot_at=zeros(n_enemies),
            goal_x=zeros(n_enemies),
            goal_y=zeros(n_enemies),
            last_action=zeros(n_allies, torch.int64) - 1,
            step=torch.zeros_like(seed),
            seed=seed,
            over=torch.zeros_like(seed, dtype=torch.bool),
        )

    @property
    def alive(self) -> Tensor:
        """[N, B] bool."""
        return self.health > 0

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def columns(self, battles: Tensor) -> BattleState:
        """The subset of battles [b] int64."""
        return BattleState(**{k: v[..., battles] for k, v in self.tensors().items()})

    def kept_where(self, over: Tensor, old: BattleState) -> BattleState:
        """This state, with `old` in the battles where over [B] bool."""
        new = self.tensors()
        return BattleState(
            **{k: new[k] if new[k] is v else torch.where(over, v, new[k]) for k, v in old.tensors().items()}
        )


def flag(mask: Tensor) -> Tensor:
    """bool -> 1.0 or 0.0: compiled code on CPU writes 47 000 bools in 0.24 ms, as many floats in 0.02 ms."""
    return torch.where(mask, 1.0, 0.0)


def root(x: Tensor) -> Tensor:
    """The square root, rounded correctly as processors and compiled code do it.

    `torch.sqrt` on a CPU asks a library that is one unit in the last place off in 0.7 % of numbers
    (MKL's vector mathematics), and then compiled battles would differ from uncompiled ones.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return torch.sqrt(x)
    return torch.from_numpy(np.sqrt(x.numpy()))


def mask_of(flags: Tensor) -> Tensor:
    """0.0 or 1.0 -> bool, by way of bytes where compiled code on CPU writes them faster than bools."""
    if torch.compiler.is_compiling() and flags.device.type == "cpu":
        return flags.to(torch.uint8).view(torch.bool)
    return flags > 0


def uniform(seed: Tensor, step: Tensor, draw: Tensor, stream: int) -> Tensor:
    """[n, B] float32 in [0, 1): two rounds of a 32-bit integer hash, kept inside int64.

    seed, step [B] int64; draw [n, 1] int64: number of each draw; stream: one per independent use.
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
