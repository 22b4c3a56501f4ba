"""Draws one moment of a battle: terrain, units, bars, shots, skills, header and legend."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hygen_lightning.report.scene import Scene, Team
from hygen_lightning.report.unit_shapes import shape_of
from hygen_lightning.tasks import terrain_levels
from hygen_lightning.tasks.battles import EAST, NORTH, SOUTH, WEST

if TYPE_CHECKING:
    from hygen_lightning.report.scene import Floats

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
SKILLS: tuple[Colour, ...] = (
    (255, 209, 92),
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
INKS = (TEXT, DIM_TEXT, ALLY, ENEMY, SHIELD, HEAL, HIT, HEALTHY, HALF_DEAD, NEARLY_DEAD, BLACK)
"""All colours that are drawn on the ground, beside those of the skills."""
OUTCOMES: dict[str, Colour] = {"won": HEAL, "lost": ENEMY, "out of time": SKILLS[0]}
MOVES = {NORTH: (0, 1), SOUTH: (0, -1), EAST: (1, 0), WEST: (-1, 0)}
MAP_CELLS = 32
SUPERSAMPLING = 2
"""Everything is drawn twice as large and shrunk, which smooths edges."""


@dataclass
class Painter:
    """Draws moments of one battle at a fixed size.

    title: shown at the upper left. width: of the picture in pixels; the height follows from how
    far the battle spreads.
    """

    scene: Scene
    title: str
    width: int = 600
    _background: Image.Image = field(init=False)
    _draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        low, high = _window(self.scene)
        self._s = SUPERSAMPLING
        self._low, self._high = low, high
        self._header, self._footer = 52 * self._s, 30 * self._s
        self._scale = self.width * self._s / (high[0] - low[0])
        field_height = round((high[1] - low[1]) * self._scale)
        self._size = (self.width * self._s, self._header + field_height + self._footer)
        self._background = Image.new("RGB", self._size, PAPER)
        self._draw = ImageDraw.Draw(self._background, "RGBA")
        self._paint_terrain()
        self._paint_legend()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures in pixels; both even, as video needs."""
        width, height = (side // self._s for side in self._size)
        return width - width % 2, height - height % 2

    def paint(self, step: int, phase: float = 0.0, finished: bool = False) -> Image.Image:
        """The moment `phase` (0..1) of the way from `step` to the next; RGB.

        finished: show how the battle ended.
        """
        picture = self._background.copy()
        self._draw = ImageDraw.Draw(picture, "RGBA")
        following = min(step + 1, self.scene.n_steps - 1)
        self._paint_fallen(step)
        if following > step:
            self._paint_shots(step, following, phase)
        for team, colour in ((self.scene.enemies, ENEMY), (self.scene.allies, ALLY)):
            self._paint_team(team, colour, step, following, phase)
        for team in (self.scene.enemies, self.scene.allies):
            self._paint_states(team, step, following, phase)
        self._paint_header(step, phase, finished)
        return picture.resize(self.size, Image.Resampling.LANCZOS)

    def _px(self, position: Floats) -> tuple[float, float]:
        """Map coordinates -> pixels of the large picture (y up -> y down)."""
        x = (position[0] - self._low[0]) * self._scale
        y = self._header + (self._high[1] - position[1]) * self._scale
        return float(x), float(y)

    def _paint_terrain(self) -> None:
        """Cells that can be walked, higher ones lighter, with an edge where the ground ends."""
        rows = terrain_levels(self.scene.task.terrain)
        colours = {"0": PAPER, "1": GROUND, "2": HIGH_GROUND, "r": GRID}
        open_ground = all(set(row) == {"1"} for row in rows)
        bottom = self._size[1] - self._footer
        for y, row in enumerate(rows):
            for x, level in enumerate(row):
                left, top = self._px(np.array([x, y + 1.0]))
                right, low = self._px(np.array([x + 1.0, y]))
                if low > self._header and top < bottom and level != "0":
                    outline = None if open_ground else GRID
                    self._draw.rectangle((left, top, right, low), fill=colours[level], outline=outline)
        for y, row in enumerate(rows):
            for x, level in enumerate(row):
                self._paint_cliffs(rows, x, y, level)
        self._draw.rectangle((0, 0, self._size[0], self._header), fill=PAPER)
        self._draw.rectangle((0, bottom, *self._size), fill=PAPER)

    def _paint_cliffs(self, rows: list[str], x: int, y: int, level: str) -> None:
        """A line between this cell and its eastern and northern neighbours of another level."""
        for dx, dy in ((1, 0), (0, 1)):
            if x + dx >= MAP_CELLS or y + dy >= MAP_CELLS:
                continue
            neighbour = rows[y + dy][x + dx]
            if neighbour != level and "r" not in (level, neighbour):
                start = self._px(np.array([x + dx, y + dy], dtype=float))
                end = self._px(np.array([x + 1.0, y + 1.0]))
                self._draw.line((*start, *end), fill=EDGE, width=2 * self._s)

    def _paint_fallen(self, step: int) -> None:
        """A faint cross where a unit died."""
        for team, colour in ((self.scene.allies, ALLY), (self.scene.enemies, ENEMY)):
            for unit in _indices(~team.alive[step] & team.alive[0]):
                x, y = self._px(team.position[step, unit])
                r = 0.22 * self._scale
                for dy in (-r, r):
                    self._draw.line((x - r, y - dy, x + r, y + dy), fill=(*colour, 90), width=2 * self._s)

    def _paint_shots(self, step: int, following: int, phase: float) -> None:
        """Aim lines of allies, bright where the target lost health; bursts on whoever was hit.

        Who shot at an ally is not recorded, so enemies get no lines.
        """
        for ally, team, target in self.scene.targets(step):
            start = self._px(_between(self.scene.allies, ally, step, following, phase))
            end = self._px(_between(team, target, step, following, phase))
            heals = team is self.scene.allies
            colour = HEAL if heals else ALLY
            hurt = team.health[following, target] + team.shield[following, target]
            hurt -= team.health[step, target] + team.shield[step, target]
            lands = hurt > 0 if heals else hurt < 0
            alpha = round((1 - 0.6 * phase) * (230 if lands else 70))
            self._draw.line(
                (*start, *end), fill=(*colour, alpha), width=round((1.6 if lands else 1) * self._s)
            )
            if lands:
                self._paint_bullet(start, end, phase, HEAL if heals else HIT)
        for team in (self.scene.allies, self.scene.enemies):
            lost = (team.health + team.shield)[step] - (team.health + team.shield)[following]
            for unit in _indices(team.alive[step] & (lost > 1e-4)):
                x, y = self._px(_between(team, unit, step, following, phase))
                r = (shape_of(team.units[unit])[0] + 0.12 + 0.35 * phase) * self._scale
                box = (x - r, y - r, x + r, y + r)
                self._draw.ellipse(box, outline=(*HIT, round(210 * (1 - phase))), width=2 * self._s)

    def _paint_bullet(
        self, start: tuple[float, float], end: tuple[float, float], phase: float, colour: Colour
    ) -> None:
        along = min(2 * phase, 1.0)
        x = start[0] + along * (end[0] - start[0])
        y = start[1] + along * (end[1] - start[1])
        r = 2.2 * self._s
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def _paint_team(self, team: Team, colour: Colour, step: int, following: int, phase: float) -> None:
        for unit in _indices(team.alive[step]):
            position = _between(team, unit, step, following, phase)
            fading = 1.0 if team.alive[following, unit] else 1.0 - 0.8 * phase
            x, y = self._px(position)
            radius, outline = shape_of(team.units[unit])
            r = radius * self._scale
            corners = [(x + r * px, y + r * py) for px, py in outline]
            if team is self.scene.allies:
                self._paint_intent(unit, step, (x, y), r)
            alpha = round(255 * fading)
            dark = tuple(round(0.35 * c) for c in colour)
            self._draw.polygon(corners, fill=(*colour, alpha), outline=(*dark, alpha), width=2 * self._s)

    def _paint_states(self, team: Team, step: int, following: int, phase: float) -> None:
        """Health and shield bars; painted after all units, so that no unit hides them."""
        for unit in _indices(team.alive[step]):
            x, y = self._px(_between(team, unit, step, following, phase))
            r = shape_of(team.units[unit])[0] * self._scale
            health = team.health[step, unit] * (1 - phase) + team.health[following, unit] * phase
            shield = team.shield[step, unit] * (1 - phase) + team.shield[following, unit] * phase
            self._paint_bars(x, y - r, health, shield if team.shield.any() else None)

    def _paint_intent(self, ally: int, step: int, centre: tuple[float, float], r: float) -> None:
        """Ring in the colour of the ally's skill, and a chevron where it walks."""
        x, y = centre
        if self.scene.skills is not None and self.scene.skills[step, ally] >= 0:
            colour = SKILLS[int(self.scene.skills[step, ally]) % len(SKILLS)]
            buffer = r + 0.16 * self._scale
            self._draw.ellipse(
                (x - buffer, y - buffer, x + buffer, y + buffer), outline=colour, width=round(2.5 * self._s)
            )
        move = MOVES.get(int(self.scene.actions[step, ally]))
        if move is not None and step + 1 < self.scene.n_steps:
            dx, dy = move[0], -move[1]
            tip, arm = r + 0.42 * self._scale, 0.16 * self._scale
            tx, ty = x + tip * dx, y + tip * dy
            wings = [(tx - arm * (dx + side * dy), ty - arm * (dy + side * dx)) for side in (-1, 1)]
            self._draw.line((wings[0], (tx, ty), wings[1]), fill=(*TEXT, 200), width=2 * self._s)

    def _paint_bars(self, x: float, top: float, health: float, shield: float | None) -> None:
        """Health, and above it the shield, as bars over a unit."""
        half, thick = 0.33 * self._scale, max(0.12 * self._scale, 2.0 * self._s)
        low = top - 0.04 * self._scale
        bars = [(health, _health_colour(health))] + ([] if shield is None else [(shield, SHIELD)])
        for share, colour in bars:
            self._draw.rectangle((x - half, low - thick, x + half, low), fill=(*BLACK, 220))
            if share > 0.005:
                self._draw.rectangle((x - half, low - thick, x - half + 2 * half * share, low), fill=colour)
            low -= thick + self._s

    def _paint_header(self, step: int, phase: float, finished: bool) -> None:
        """Title, step counter or outcome, and the strength of both teams."""
        s, width = self._s, self._size[0]
        self._draw.text((14 * s, 9 * s), self.title, font=_font(16 * s), fill=TEXT)
        last = self.scene.n_steps - 1
        if finished:
            right, colour = f"{self.scene.outcome} after {last} steps", OUTCOMES[self.scene.outcome]
        else:
            right, colour = f"step {step} of {last}", DIM_TEXT
        self._draw.text((width - 14 * s, 10 * s), right, font=_font(14 * s), fill=colour, anchor="ra")
        half, gap = width / 2, 30 * s
        following = min(step + 1, last)
        for team, colour, side in ((self.scene.allies, ALLY, -1), (self.scene.enemies, ENEMY, 1)):
            strength = team.strength[step] * (1 - phase) + team.strength[following] * phase
            near, far = half + side * gap, half + side * (half - 14 * s)
            self._bar(near, far, 37 * s, 43 * s, GRID)
            self._bar(near, near + (far - near) * strength, 37 * s, 43 * s, colour)
            count = str(int(team.alive[step].sum()))
            self._draw.text(
                (half + side * 16 * s, 40 * s), count, font=_font(13 * s), fill=colour, anchor="mm"
            )
        self._draw.text((half, 40 * s), "v", font=_font(11 * s), fill=DIM_TEXT, anchor="mm")

    def _bar(self, start: float, end: float, top: float, bottom: float, colour: Colour) -> None:
        """A horizontal bar, whichever of its ends lies left."""
        if abs(end - start) >= 1:
            self._draw.rectangle((min(start, end), top, max(start, end), bottom), fill=colour)

    def _paint_legend(self) -> None:
        """Unit types by shape, and the skills that occur by colour."""
        s, x, y = self._s, 20.0 * self._s, self._size[1] - self._footer / 2
        for unit in dict.fromkeys((*self.scene.task.ally_units, *self.scene.task.enemy_units)):
            r = 6.0 * s
            corners = [(x + r * px, y + r * py) for px, py in shape_of(unit)[1]]
            self._draw.polygon(corners, outline=DIM_TEXT, width=round(1.5 * s))
            x = self._legend_text(x + 11 * s, y, unit)
        chosen = set() if self.scene.skills is None else set(self.scene.skills.flatten().tolist())
        if chosen - {-1}:
            x = self._legend_text(x - 6 * s, y, "skill") - 6 * s
        for skill in sorted(chosen - {-1}):
            r = 5.5 * s
            buffer = (x - r, y - r, x + r, y + r)
            self._draw.ellipse(buffer, outline=SKILLS[skill % len(SKILLS)], width=round(2.5 * s))
            x = self._legend_text(x + 9 * s, y, str(skill)) - 4 * s

    def _legend_text(self, x: float, y: float, text: str) -> float:
        """Write a legend entry; returns where the next one starts."""
        font = _font(11 * self._s)
        self._draw.text((x, y), text, font=font, fill=DIM_TEXT, anchor="lm")
        return x + font.getlength(text) + 20 * self._s


def _window(scene: Scene) -> tuple[Floats, Floats]:
    """The part of the map to show: all places where a living unit stood, with a margin."""
    places = np.concatenate(
        [team.position[team.alive] for team in (scene.allies, scene.enemies) if team.alive.any()]
    )
    low, high = places.min(axis=0) - 1.8, places.max(axis=0) + 1.8
    middle, extent = (low + high) / 2, np.maximum(high - low, [14.0, 8.0])
    extent[1] = np.clip(extent[1], extent[0] * 0.5, None)
    extent[0] = max(extent[0], extent[1] / 0.85)
    return middle - extent / 2, middle + extent / 2


def _indices(flags: NDArray[np.bool_]) -> list[int]:
    """Where flags [N] are True."""
    return [int(index) for index in np.flatnonzero(flags)]


def _between(team: Team, unit: int, step: int, following: int, phase: float) -> Floats:
    """Where a unit is, `phase` of the way from one step to the following one."""
    return np.asarray(team.position[step, unit] * (1 - phase) + team.position[following, unit] * phase)


def _health_colour(health: float) -> Colour:
    """Green at full health, yellow at half, red near death."""
    red, yellow, green = (np.array(colour) for colour in (NEARLY_DEAD, HALF_DEAD, HEALTHY))
    mixed = (
        red + (yellow - red) * 2 * health if health < 0.5 else yellow + (green - yellow) * (2 * health - 1)
    )
    r, g, b = (round(float(channel)) for channel in mixed)
    return r, g, b


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same letters on every machine."""
    return ImageFont.load_default(size=size)
