"""Draws one moment of an episode: ground, units, bars, shots, skills, header and legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hygen_lightning.report import colours as ink
from hygen_lightning.report.colours import Colour
from hygen_lightning.report.scene import Bools, Floats, Scene, Team
from hygen_lightning.report.unit_shapes import shape_of

Point = tuple[float, float]

S = 2
"""Everything is drawn twice as large and shrunk, which smooths edges."""
HEADER, FOOTER = 52 * S, 30 * S


@dataclass
class Painter:
    """Draws moments of one episode at a fixed size.

    title: shown at the upper left. width: of the picture in pixels; the height follows from how
    far the units spread.
    """

    scene: Scene
    title: str
    width: int = 600

    def __post_init__(self) -> None:
        self._low, self._high = self.scene.window()
        extent = self._high - self._low
        self._scale = float(self.width * S / extent[0])
        self._size = (self.width * S, HEADER + round(extent[1] * self._scale) + FOOTER)
        self._background = Image.new("RGB", self._size, ink.PAPER)
        self._draw = ImageDraw.Draw(self._background, "RGBA")
        self._paint_ground()
        self._paint_legend()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures in pixels; both even, as video needs."""
        width, height = (side // S for side in self._size)
        return width - width % 2, height - height % 2

    def paint(self, step: int, phase: float = 0.0, finished: bool = False) -> Image.Image:
        """The moment `phase` (0..1) of the way from `step` to the next; RGB.

        finished: show how the episode ended.
        """
        picture = self._background.copy()
        self._draw = ImageDraw.Draw(picture, "RGBA")
        self._step, self._next = step, min(step + 1, self.scene.n_steps - 1)
        self._phase = phase
        teams = (self.scene.enemies, ink.ENEMY), (self.scene.allies, ink.ALLY)
        for team, colour in teams:
            self._paint_fallen(team, colour)
        if self._next > step:
            self._paint_shots()
            self._paint_hits()
        for team, colour in teams:
            self._paint_team(team, colour)
        for team, _ in teams:  # after all units, so that no unit hides them
            self._paint_bars(team)
        self._paint_header(finished)
        return picture.resize(self.size, Image.Resampling.LANCZOS)

    def _now(self, values: Floats) -> Floats:
        """values [T, ...] at the moment that is painted."""
        return np.asarray(values[self._step] * (1 - self._phase) + values[self._next] * self._phase)

    def _gain(self, team: Team) -> Floats:
        """[N] health and shield that each unit wins (or loses) in this step."""
        total = team.health + team.shield
        return np.asarray(total[self._next] - total[self._step])

    def _px(self, position: Floats | Sequence[float]) -> Point:
        """Positions -> pixels of the large picture (y up -> y down)."""
        x = (position[0] - self._low[0]) * self._scale
        return float(x), float(HEADER + (self._high[1] - position[1]) * self._scale)

    def _circle(
        self, centre: Point, r: float, fill: Colour | None, rim: tuple[int, ...], line: float
    ) -> None:
        (x, y), box = centre, self._draw
        box.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=rim, width=round(line * S))

    def _paint_ground(self) -> None:
        """Cells that can be walked, higher ones lighter, with an edge where the ground ends."""
        rows, (width, height) = self.scene.look.ground, self._size
        cells = {(x, y): level for y, row in enumerate(rows) for x, level in enumerate(row)}
        if set(cells.values()) <= {"1"}:
            self._draw.rectangle((0, HEADER, width, height), fill=ink.GROUND)
            cells = {}
        for (x, y), level in cells.items():
            if level != "0":
                box = (*self._px((x, y + 1)), *self._px((x + 1, y)))
                self._draw.rectangle(box, fill=ink.GROUNDS[level], outline=ink.GRID)
        for (x, y), level in cells.items():
            for dx, dy in ((1, 0), (0, 1)):
                neighbour = cells.get((x + dx, y + dy), level)
                if neighbour != level and "r" not in (level, neighbour):
                    ends = (*self._px((x + dx, y + dy)), *self._px((x + 1, y + 1)))
                    self._draw.line(ends, fill=ink.EDGE, width=2 * S)
        self._draw.rectangle((0, 0, width, HEADER), fill=ink.PAPER)
        self._draw.rectangle((0, height - FOOTER, width, height), fill=ink.PAPER)

    def _paint_fallen(self, team: Team, colour: Colour) -> None:
        """A faint cross where a unit died."""
        r = 0.22 * self._scale
        for unit in _indices(~team.alive[self._step] & team.alive[0]):
            x, y = self._px(team.position[self._step, unit])
            for dy in (-r, r):
                self._draw.line((x - r, y - dy, x + r, y + dy), fill=(*colour, 90), width=2 * S)

    def _paint_shots(self) -> None:
        """Lines from allies to their targets, bright and with a bullet where they take effect.

        Who shot at an ally is not recorded, so enemies get no lines.
        """
        for ally, team, target in self.scene.targets(self._step):
            start = self._px(self._now(self.scene.allies.position)[ally])
            end = self._px(self._now(team.position)[target])
            heals = team is self.scene.allies
            lands = self._gain(team)[target] * (1 if heals else -1) > 0
            alpha = round((1 - 0.6 * self._phase) * (230 if lands else 70))
            line = round((1.6 if lands else 1) * S)
            self._draw.line((*start, *end), fill=(*(ink.HEAL if heals else ink.ALLY), alpha), width=line)
            if lands:
                along = min(2 * self._phase, 1.0)
                bullet = start[0] + along * (end[0] - start[0]), start[1] + along * (end[1] - start[1])
                colour = ink.HEAL if heals else ink.HIT
                self._circle(bullet, 2.2 * S, colour, colour, 0.5)

    def _paint_hits(self) -> None:
        """A burst on whoever loses health."""
        for team in (self.scene.allies, self.scene.enemies):
            for unit in _indices(team.alive[self._step] & (self._gain(team) < -1e-4)):
                centre = self._px(self._now(team.position)[unit])
                r = (shape_of(team.units[unit])[0] + 0.12 + 0.35 * self._phase) * self._scale
                self._circle(centre, r, None, (*ink.HIT, round(210 * (1 - self._phase))), 2)

    def _paint_team(self, team: Team, colour: Colour) -> None:
        dark = (round(0.35 * colour[0]), round(0.35 * colour[1]), round(0.35 * colour[2]))
        for unit in _indices(team.alive[self._step]):
            x, y = self._px(self._now(team.position)[unit])
            radius, outline = shape_of(team.units[unit])
            r = radius * self._scale
            if team is self.scene.allies:
                self._paint_intent(unit, (x, y), r)
            alpha = round(255 * (1.0 if team.alive[self._next, unit] else 1.0 - 0.8 * self._phase))
            corners = [(x + r * px, y + r * py) for px, py in outline]
            self._draw.polygon(corners, fill=(*colour, alpha), outline=(*dark, alpha), width=2 * S)

    def _paint_intent(self, ally: int, centre: Point, r: float) -> None:
        """Ring in the colour of the ally's skill, and a chevron where it walks."""
        skills = self.scene.skills
        if skills is not None and skills[self._step, ally] >= 0:
            colour = ink.SKILLS[int(skills[self._step, ally]) % len(ink.SKILLS)]
            self._circle(centre, r + 0.16 * self._scale, None, colour, 2.5)
        heading = self.scene.heading(self._step, ally)
        if heading is not None:
            dx, dy = float(heading[0]), -float(heading[1])
            tip, arm = r + 0.42 * self._scale, 0.16 * self._scale
            tx, ty = centre[0] + tip * dx, centre[1] + tip * dy
            wings = [(tx - arm * (dx + side * dy), ty - arm * (dy - side * dx)) for side in (-1, 1)]
            self._draw.line((wings[0], (tx, ty), wings[1]), fill=(*ink.TEXT, 200), width=2 * S)

    def _paint_bars(self, team: Team) -> None:
        """Health, and above it the shield, as bars over each unit."""
        half, thick = 0.33 * self._scale, max(0.12 * self._scale, 2.0 * S)
        for unit in _indices(team.alive[self._step]) if self.scene.has_health else []:
            x, y = self._px(self._now(team.position)[unit])
            low = y - (shape_of(team.units[unit])[0] + 0.04) * self._scale
            health, shield = float(self._now(team.health)[unit]), float(self._now(team.shield)[unit])
            bars = [(health, _health_colour(health)), (shield, ink.SHIELD)]
            for share, colour in bars if team.shield.any() else bars[:1]:
                self._draw.rectangle((x - half, low - thick, x + half, low), fill=(*ink.BLACK, 220))
                if share > 0.005:
                    right = x - half + 2 * half * share
                    self._draw.rectangle((x - half, low - thick, right, low), fill=colour)
                low -= thick + S

    def _paint_header(self, finished: bool) -> None:
        """Title, step counter or outcome, and the strength of both teams where units can be lost."""
        width, last = self._size[0], self.scene.n_steps - 1
        self._text((14 * S, 9 * S), self.title, 16, ink.TEXT, "la")
        told, colour = f"step {self._step} of {last}", ink.DIM_TEXT
        if finished:
            told = f"{self.scene.outcome} after {last} steps"
            colour = (
                ink.HEAL if self.scene.success else ink.ENEMY if self.scene.outcome == "lost" else ink.YELLOW
            )
        self._text((width - 14 * S, 10 * S), told, 14, colour, "ra")
        if not self.scene.has_losses:
            return
        for team, colour, side in ((self.scene.allies, ink.ALLY, -1), (self.scene.enemies, ink.ENEMY, 1)):
            near, far = width / 2 + side * 30 * S, width / 2 + side * (width / 2 - 14 * S)
            for end, shade in (
                (far, ink.GRID),
                (near + (far - near) * float(self._now(team.strength)), colour),
            ):
                if abs(end - near) >= 1:
                    self._draw.rectangle((min(near, end), 37 * S, max(near, end), 43 * S), fill=shade)
            count = str(int(team.alive[self._step].sum()))
            self._text((width / 2 + side * 16 * S, 40 * S), count, 13, colour, "mm")
        self._text((width / 2, 40 * S), "v", 11, ink.DIM_TEXT, "mm")

    def _paint_legend(self) -> None:
        """Unit types by shape, and the skills that occur by colour."""
        x, y = 20.0 * S, self._size[1] - FOOTER / 2
        for unit in dict.fromkeys((*self.scene.allies.units, *self.scene.enemies.units)):
            corners = [(x + 6 * S * px, y + 6 * S * py) for px, py in shape_of(unit)[1]]
            self._draw.polygon(corners, outline=ink.DIM_TEXT, width=round(1.5 * S))
            x += 31 * S + self._text((x + 11 * S, y), unit, 11, ink.DIM_TEXT, "lm")
        chosen = set() if self.scene.skills is None else set(self.scene.skills.flatten().tolist()) - {-1}
        if chosen:
            x += 8 * S + self._text((x - 6 * S, y), "skill", 11, ink.DIM_TEXT, "lm")
        for skill in sorted(chosen):
            self._circle((x, y), 5.5 * S, None, ink.SKILLS[skill % len(ink.SKILLS)], 2.5)
            x += 25 * S + self._text((x + 9 * S, y), str(skill), 11, ink.DIM_TEXT, "lm")

    def _text(self, place: Point, text: str, size: int, colour: Colour, anchor: str) -> float:
        """Write a text; returns its width."""
        font = _font(size * S)
        self._draw.text(place, text, font=font, fill=colour, anchor=anchor)
        return font.getlength(text)


def _indices(flags: Bools) -> list[int]:
    """Where flags [N] are True."""
    return [int(index) for index in np.flatnonzero(flags)]


def _health_colour(health: float) -> Colour:
    """Green at full health, yellow at half, red near death."""
    mixed = [np.interp(health, (0, 0.5, 1), c) for c in zip(ink.NEARLY_DEAD, ink.HALF_DEAD, ink.HEALTHY)]
    return round(float(mixed[0])), round(float(mixed[1])), round(float(mixed[2]))


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same letters on every machine."""
    return ImageFont.load_default(size=size)
