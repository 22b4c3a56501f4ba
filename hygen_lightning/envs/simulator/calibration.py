"""Constants of the dynamics. "measured" = from the recordings of 3m, "published" = StarCraft II 4.x."""

from __future__ import annotations

LOOPS_PER_STEP = 8
"""Game loops per environment step (SMAC `step_mul`; measured: a Marine walks 1.125 a step)."""
COOLDOWN_JITTER = (-1.0, 2.0)
"""Loops added to a weapon's period, uniform (published: -0.0625 to 0.125 s; measured range agrees)."""
ACQUIRE_RANGE = 7.0
"""Centre distance within which an attack-moving unit takes a target."""
SHIELD_DELAY_LOOPS = 160.0
"""Loops without damage before shields grow (map files: 10 NORMAL seconds)."""
SHIELD_PER_LOOP = 2.0 / 16.0
"""Shield regeneration (map files: 2 per NORMAL second)."""
ENERGY_PER_LOOP = 0.5625 / 16.0
"""Energy regeneration (map files)."""
HEAL_PER_LOOP = 9.0 / 16.0
"""Medivac healing (published: 12.6 per "faster" second = 9 per NORMAL second)."""
HEAL_PER_ENERGY = 3.0
"""Health per point of energy (published)."""
