"""Constants of the dynamics, each with its source.

"measured": from the 1 500 recorded episodes of 3m (StarCraft II, Marines on both sides).
"map files": unit data in the SMAC map files.  "published": StarCraft II 4.x (Liquipedia).
"assumed": neither; a plain choice, said so where it matters.
Stats of the units stand in units.py.
"""

from __future__ import annotations

LOOPS_PER_STEP = 8
"""Game loops per environment step (SMAC `step_mul`; measured: a Marine walks 1.125 a step). Once in
every step, in a loop drawn anew, an enemy looks around (measured: one that is near when a step begins
is noticed in each of its loops as likely; targets change within eight loops)."""

POSITION_GRID = 4096.0
"""StarCraft II shows positions in multiples of 1 / 4096 map units (measured)."""

COOLDOWN_JITTER_LOOPS = (-1.0, 2.0)
"""Added to a weapon's period, uniform (published: -0.0625 to 0.125 s; measured: the periods of 8 000
shots lie between 12.77 and 15.77 loops, evenly spread)."""
WIND_UP_LOOPS = 1.0
"""A ready weapon waits this long after an order to attack or after walking (published damage point of
the Marine: 0.05 s = 0.8 loops; measured: one loop)."""

SCAN_MARGIN = 0.5
"""Enemies notice opponents this far beyond their weapon range, edge to edge (measured: turns towards
an ally begin at centre distances of at most 6.25 = 5 + 0.75 + 0.5)."""
MIN_SCAN_RANGE = 5.0
"""Shortest range that SCAN_MARGIN is added to (published: melee units notice opponents at 5)."""
ANSWER_MARGIN = 1.25
"""How far beyond the distance of noticing an enemy without a target hears: in the loop after a shot of
any ally it takes the nearest ally up to there (measured: the first shot at one of three enemies turns all
of them, at centre distances of up to 7 = 6.25 + 0.75; what lies beyond is assumed, and so is that the
shooter may stand further away, which spares a pass over all pairs). Who is shot at itself takes the
shooter instead, one of them by lot (measured: where a second attacker shoots a loop later, because it
walks, which makes it the nearest, the first shots of two enemies hit both of them in 38 of 41 like
battles; where both shoot in one loop, in 35 of 63, else one of them twice)."""
SHOT_LOOPS = 3.0
"""A weapon whose cooldown is less than this below its period has shot one to four loops ago (follows
from COOLDOWN_JITTER_LOOPS and the fraction of a loop that a weapon keeps)."""
CHOOSING_LOOPS = 2.0
"""A ready weapon of an enemy without a living target waits this long after a new one (measured: one
who notices an ally in range stands for two loops and shoots in the third)."""
SETTLING_LOOPS = 4.8
"""An enemy whose cooldown is less than this below its period does not look for a better target: three
to seven loops after a shot (measured: likelihood of the recorded damage best at 4.8 of 0, 1.8, 3.8,
4.8, 5.8, 6.8)."""
LOOK_SHARE = 0.4
"""Share of the steps in which an enemy with a target in range looks for a better one (measured: likelihood
of the recorded damage best at 0.4 of 0, 0.15, 0.2, 0.3, 0.4, 0.5; Marines only)."""
ANSWER_LOOPS = 3.5
"""An enemy that was hit by another ally than its target reconsiders when its weapon is ready within
this many loops, or at once if it is already (measured: likelihood of the recorded damage best at 3.5 of
1.5, 2.5, 3, 3.5, 4, 4.5, 5, 6; with looks in half of the steps, the allies' health is right in 82.9 % of
every sixth episode's transitions with this, in 81.5 % without; between Marines, assumed for others)."""

PACKING = 0.918
"""Closest distance of two units over the sum of their separation radii (measured: 0.6885 / 0.75)."""
CONTACT_SLACK = 1e-3
"""Map units by which units may come too close before they give way: who touches does not push
(measured: three Marines that touch keep their formation to the last digit for 48 loops)."""
WALKS_INTO_PER_LOOP = 0.01
"""Map units per loop of a unit's way towards another, above which it walks into it and has to give
way (assumed; 0.0001 to 0.03 give the same first steps as the recordings)."""
WALL_MARGIN = 0.3125
"""Closest distance to a wall (measured: no Marine below y = 7.3125, where the floor ends at 7)."""

SHIELD_DELAY_LOOPS = 160.0
"""Loops without damage before shields grow (map files: 10 NORMAL seconds)."""
SHIELD_PER_LOOP = 2.0 / 16.0
"""Shield regeneration (map files: 2 per NORMAL second)."""
ENERGY_PER_LOOP = 0.5625 / 16.0
"""Energy regeneration (map files)."""
HEAL_PER_LOOP = 9.0 / 16.0
"""Medivac healing (published: 12.6 per "faster" second = 9 per NORMAL second)."""
HEALTH_PER_ENERGY = 3.0
"""Health that one point of energy heals (published)."""
ZERG_HEALTH_PER_LOOP = 0.2734 / 16.0
"""Health regeneration of Zerg units (published: 0.2734 per NORMAL second)."""

LINE_HALF_LENGTH, LINE_HALF_WIDTH = 1.4, 0.15
"""Colossus: an area 2.8 long, across the shot, and 0.3 wide (published)."""
BURST_RADIUS = 2.2
"""Baneling: everything within this distance of its edge is hit in full (published)."""
