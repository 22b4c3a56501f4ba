"""Constants of the dynamics, each with its source.

"measured": from the 1 500 recorded episodes of 3m (StarCraft II, Marines on both sides).
"map files": unit data in the SMAC map files.  "published": StarCraft II 4.x (Liquipedia).
"assumed": neither; a plain choice, said so where it matters.
Stats of the units stand in units.py.
"""

from __future__ import annotations

LOOPS_PER_STEP = 8
"""Game loops per environment step (SMAC `step_mul`; measured: a Marine walks 1.125 a step).

An enemy looks around once in so many loops. Without a target it does so in a loop drawn anew in every step
(measured: one that is near when a step begins is noticed in each of its loops as likely). While a target
is in range it does so every eight loops, from its first target or from the death of the last one on
(measured on 368 decisions that leave no doubt: of periods from 4 to 16 loops and all phases, 8 loops from
the first target explain most; 339 as expected, 8 clearly not). Whose weapon is ready in the
loop of its look shoots in it and looks in the next one, in later steps too (measured on two sixths of the
episodes, at 256 copies: allies' health exact in 84.2 and 85.5 %; in 84.0 and 84.7 % if it looks before it
shoots; likelihood equal). Where its
first target is out of range, when it looks is not known, and drawn. A first look in the first loop of a
step knows of no orders, not even of those that stand from the step before (measured: likelihood higher so;
a simplification)."""

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
"""A ready weapon of an enemy that had no target and was not woken waits this long after it takes one
(measured: one who notices an ally in range stands for two loops and shoots in the third)."""
RETARGET_LOOPS = 1.0
"""The same where the last target has just died, or where a shot at somebody else woke it (measured:
likelihood of the recorded damage best at 1 of 1, 2, 3, 4, 6 after a death; a first shot falls into the
second loop after the one that woke, into the first loop for those who were shot at themselves)."""
COMMITTED_LOOPS = 2.0
"""An enemy whose weapon is ready within this many loops does not give up the target that it has just
turned to, but when it looks around (measured: likelihood of the recorded damage best at 2 of 1, 2, 3)."""
ANSWER_LOOPS = 0.25
"""An enemy that turns from a target in range that does not attack it to one that does shoots so much later
(measured: without it 73 to 85 % of the shots foretold for the last two loops of a step after such a turn
happen; log likelihood of the recorded health, all episodes at 4 096 copies, -13 458 without and -13 353
with it; 0.15 to 0.35 are about as good, 0.5 is not, nor is a time that grows with the angle)."""

PACKING = 0.918
"""Closest distance of two units over the sum of their separation radii (measured: 0.6885 / 0.75)."""
CONTACT_SLACK = 1e-3
"""Map units by which units may come too close before they give way: who touches does not push
(measured: three Marines that touch keep their formation to the last digit for 48 loops)."""
WALKS_INTO_PER_LOOP = 0.01
"""Map units per loop of a unit's way towards another, above which it walks into it and has to give
way (assumed; 0.0001 to 0.03 give the same first steps as the recordings)."""
SLIDE_TURN, AIMLESS_SLIDE_TURN = 0.585, 0.667
"""Whoever walks into a unit that stands, or past an ally that gives way (YIELD_TURN), turns off its aim by so
much, in radians, and is pushed out of it: it slides around (measured: 33.5 degrees, and 38.2 for one without
a target, from the paths of third enemies around two that stand in front; of 0.5 to 1.2, 0.585 comes nearest
to the recorded places)."""
SLIDE_AHEAD = 2.2
"""How far ahead units that stand, and allies that it walks into, count when a unit chooses the side, in
closest distances of two units: it goes around the nearer edge of all of them together, so not into a gap that
is closed (measured: where a third enemy walks around two, 49 % of the steps come within 0.03 map units at
2.2, 48 % at 1.6, and 40 % if only units that it touches count)."""
SHOVED_SHARE, SHOVE_ODDS = 0.875, 0.5
"""A unit in its first loop of standing may still be pushed: in half of the cases, by lot, it takes this
share of the overlap, and the one behind keeps straight on (measured to the last digit: 7/8; what decides
is not known, so a lot does: like starts with like orders go both ways)."""
YIELD_TURN = 1.8
"""Of two allies that walk into each other the one of lower number gives way: it turns by so much, in radians,
to the side whose edge is nearer (to its right if they meet straight), and takes the whole overlap; the other
slides past it as around one that stands (measured in the first step of the recordings, where the second and
the third Marine change places: the eight means of where they end, by what the first one does, lie on average
0.07 map units from ours; of 0.3 to 2, with all shares of the overlap, nothing comes nearer. Why it is always
the lower number that gives way is not known. Measured is only a straight meeting; that every meeting goes so
in which both come nearer by more than WALKS_INTO_PER_LOOP is assumed)."""
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
