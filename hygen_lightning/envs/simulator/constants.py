"""Constants of the dynamics, each with its source.

measured    from the 1 500 recorded episodes of 3m (StarCraft II, Marines on both sides)
map files   unit data in the SMAC map files
published   StarCraft II 4.x (Liquipedia)
assumed     a plain choice

Likelihoods are those of the recorded health under the simulator (`fidelity`). Unit stats are in units.py.
"""

from __future__ import annotations

LOOPS_PER_STEP = 8
"""Game loops per environment step (SMAC `step_mul`; measured: a Marine walks 1.125 units a step).

Also the number of loops between two moments in which an enemy reconsiders its target:
- Without a target: in one loop of every step, drawn uniformly (measured: a near ally is noticed equally
  often in each loop of a step).
- With its target in range: every eight loops from its first target, or from the death of the last one
  (measured on 368 unambiguous decisions: of periods of 4 to 16 loops and all phases, this explains most;
  339 agree, 8 clearly do not).
- If its weapon is ready in that loop, it shoots, and reconsiders one loop later from then on (measured on
  two sixths of the episodes, 256 copies: allies' health exact in 84.2 and 85.5 %; in 84.0 and 84.7 % with
  the order reversed; likelihoods equal).
- If its first target is out of range, the loop is not known, and drawn.
- In the first loop of a step, an enemy without a target does not know the allies' orders, not even those
  that stand since the step before (measured: higher likelihood; a simplification)."""

POSITION_GRID = 4096.0
"""StarCraft II reports positions in multiples of 1 / 4096 map units (measured)."""

COOLDOWN_JITTER_LOOPS = (-1.0, 2.0)
"""Uniform addition to a weapon's period (published: -0.0625 to 0.125 s; measured: the periods of 8 000
shots lie between 12.77 and 15.77 loops, evenly spread)."""
WIND_UP_LOOPS = 1.0
"""Delay of a ready weapon after an order to attack, or after walking (published damage point of the
Marine: 0.05 s = 0.8 loops; measured: one loop)."""

SCAN_MARGIN = 0.5
"""Distance beyond the weapon range at which enemies notice opponents, edge to edge (measured: turns
towards an ally begin at centre distances of at most 6.25 = 5 + 0.75 + 0.5)."""
MIN_SCAN_RANGE = 5.0
"""Smallest range that SCAN_MARGIN is added to (published: melee units notice opponents at 5), and within
which enemies turn to those who are ordered to attack them. (For Marines, whose weapon range is 5, that is
measured. For melee units it follows from policies trained in StarCraft II: of two that won 91 and 94 % of
2s3z there, and one that won 46 % of 3s5z, 31, 26 and 3 % are won here if a Zealot turns to attackers in its
weapon range only, 81, 96 and 50 % with this range; 96 battles each.)"""
ANSWER_MARGIN = 1.25
"""Distance beyond that of noticing within which an enemy without a target reacts to shots: in the loop
after any ally's shot it takes the nearest ally (measured: the first shot at one of three enemies turns all
of them, at centre distances of up to 7 = 6.25 + 0.75; assumed: the rest of the distance, and that the
shooter may be farther away, which saves a pass over all pairs). An enemy that is itself shot at takes one of
its shooters by lot (measured: if a second attacker has to walk, shoots a loop later and is then the nearest,
the first shots of two enemies hit both attackers in 38 of 41 such battles; if both shoot in one loop, in
35 of 63, else one of them twice)."""
SHOT_LOOPS = 3.0
"""A weapon whose cooldown is less than this below its period was fired one to four loops ago (follows
from COOLDOWN_JITTER_LOOPS and the fraction of a loop that a weapon keeps)."""
CHOOSING_LOOPS = 2.0
"""Delay of a ready weapon after an enemy without a target found one by itself (measured: it stands for two
loops and shoots in the third)."""
RETARGET_LOOPS = 1.0
"""The same after the death of the last target, or after a shot at another unit (measured: highest likelihood
at 1 of 1, 2, 3, 4, 6 after a death; the first shot comes in the second loop after the ally's, and in the
first loop from an enemy that was itself shot at)."""
COMMITTED_LOOPS = 2.0
"""An enemy whose weapon is ready within this many loops keeps a target that it has just taken, except in
the loop in which it reconsiders (measured: highest likelihood at 2 of 1, 2, 3)."""
ANSWER_LOOPS = 0.25
"""Delay of the shot of an enemy that turns from a target in range that does not attack it to one that does
(measured: without it, 73 to 85 % of the predicted shots in the last two loops of a step after such a turn
happen; log likelihood over all episodes, 4 096 copies: -13 458 without, -13 353 with it; 0.15 to 0.35 are
about equal; 0.5, or a delay that grows with the angle, is worse)."""

PACKING = 0.918
"""Smallest distance of two units over the sum of their separation radii (measured: 0.6885 / 0.75)."""
CONTACT_SLACK = 1e-3
"""Map units of overlap that do not push: units may touch (measured: three Marines that touch keep their
formation to the last digit for 48 loops)."""
WALKS_INTO_PER_LOOP = 0.01
"""Map units per loop towards another unit above which a unit walks into it and has to give way (assumed;
0.0001 to 0.03 give the same first steps as the recordings)."""
SLIDE_TURN, AIMLESS_SLIDE_TURN = 0.585, 0.667
"""Radians by which a unit turns aside to slide around a standing unit, or around an ally that gives way
(YIELD_TURN), with and without a target (measured: 33.5 and 38.2 degrees, from the paths of third enemies
around two that stand in front; of 0.5 to 1.2, 0.585 is closest to the recorded positions)."""
SLIDE_AHEAD = 2.2
"""Standing units within this many contact distances ahead, and allies that it walks into, decide on which
side a unit passes: around the nearer edge of all of them together, so never into a closed gap (measured:
where a third enemy walks around two, 49 % of the steps end within 0.03 map units at 2.2, 48 % at 1.6, and
40 % if only touching units count)."""
SHOVED_SHARE, SHOVE_ODDS = 0.875, 0.5
"""Share of the overlap by which a unit is pushed in its first loop of standing, and how often: the unit
behind then keeps its line (measured to the last digit: 7/8. What decides is not known: equal starts with
equal orders go both ways, so it is drawn)."""
YIELD_TURN = 1.8
"""Of two allies that walk into each other, the one with the lower number gives way: it turns by this many
radians to the side of the nearer edge (right if they meet head-on) and takes the whole overlap; the other
slides past it as around a standing unit. (Measured in the first step of the recordings, where the second and
the third Marine change places: the eight mean end points, by the first one's action, are on average 0.07 map
units from ours; no turn of 0.3 to 2, with any share of the overlap, is closer. Not known: why the lower
number gives way. Assumed: that every meeting in which both approach faster than WALKS_INTO_PER_LOOP goes like
the head-on ones that were measured.)"""
WALL_MARGIN = 0.3125
"""Smallest distance to a wall (measured: no Marine below y = 7.3125, where the floor ends at 7)."""

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
"""Baneling: everything within this distance of its edge takes full damage (published)."""
