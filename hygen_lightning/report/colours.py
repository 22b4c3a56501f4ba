"""Colours of pictures of episodes, and the palette of a GIF."""

from __future__ import annotations

Colour = tuple[int, int, int]

PAPER: Colour = (15, 20, 27)
GROUND: Colour = (29, 38, 50)
HIGH_GROUND: Colour = (38, 49, 63)
GRID: Colour = (36, 47, 61)
EDGE: Colour = (58, 73, 90)
TEXT: Colour = (226, 233, 240)
DIM_TEXT: Colour = (138, 153, 168)
ALLY: Colour = (84, 176, 240)
ENEMY: Colour = (240, 104, 84)
SHIELD: Colour = (150, 190, 255)
HEAL: Colour = (112, 224, 140)
HIT: Colour = (255, 236, 170)
YELLOW: Colour = (255, 209, 92)
SKILLS: tuple[Colour, ...] = (
    YELLOW,
    (120, 220, 150),
    (206, 140, 240),
    (255, 140, 185),
    (110, 226, 226),
    (240, 240, 240),
    (190, 160, 110),
    (160, 200, 60),
)
HEALTHY: Colour = (104, 208, 120)
HALF_DEAD: Colour = (242, 200, 80)
NEARLY_DEAD: Colour = (236, 84, 72)
BLACK: Colour = (10, 12, 16)
GROUNDS = {"0": PAPER, "1": GROUND, "2": HIGH_GROUND, "r": GRID}
"""Level of a cell of ground -> its colour."""


def palette() -> list[Colour]:
    """At most 256 colours: those of the ground, and all others mixed with it.

    A palette taken from the frames themselves would spend its colours on the background.
    """
    inks = (TEXT, DIM_TEXT, ALLY, ENEMY, SHIELD, HEAL, HIT, HEALTHY, HALF_DEAD, NEARLY_DEAD, BLACK, *SKILLS)
    shades = [PAPER, GROUND, HIGH_GROUND, GRID, EDGE]
    for ink in inks:
        for share in (1.0, 0.8, 0.6, 0.4, 0.2):
            r, g, b = (round(share * c + (1 - share) * ground) for c, ground in zip(ink, GROUND))
            shades.append((r, g, b))
    return shades
