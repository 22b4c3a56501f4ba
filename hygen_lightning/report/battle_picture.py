"""Pictures of an episode without a display: moving (GIF, MP4) or as a strip of moments (PNG)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from hygen_lightning.report.colours import PAPER, palette
from hygen_lightning.report.painter import Painter
from hygen_lightning.report.scene import Scene, scene_of
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes, TaskSpec

STEP_S = 0.28
"""Seconds that one environment step is shown; StarCraft II shows it for 0.36 (speed "faster")."""
HOLD_S = 1.8
"""Seconds that the end of the episode stays."""
GIF_MAX_BYTES = 1_500_000
GIF_EFFORTS = ((600, 4), (600, 3), (520, 2), (440, 2), (440, 1), (360, 1), (280, 1))
"""(width in pixels, frames per step), tried in this order until a GIF is small enough."""
GIF_MAX_EFFORT = 110_000
"""Columns drawn over all frames of a GIF, at most (a few seconds on one core)."""
MP4_WIDTH, MP4_FRAMES_PER_STEP = 960, 8
STRIP_WIDTH, STRIP_MOMENTS, STRIP_GAP = 400, 6, 6


def draw_battle(
    path: Path,
    task: TaskSpec,
    episodes: Episodes,
    skills: Tensor | None = None,
    row: int = 0,
    success: bool | None = None,
    title: str = "",
) -> None:
    """Draw one episode of a batch; the suffix says how: `.gif`, `.mp4` (needs ffmpeg) or `.png`.

    skills [B, T, A] int64 or None (-1: none chosen). success: as the environment said. title: shown
    beside the task's name. UserError for another suffix, where ffmpeg is missing, and for tasks
    whose state tells no places.
    """
    check_suffix(path)
    scene = scene_of(task, episodes, skills, row, success)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        battle_writers()[path.suffix.lower()](scene, f"{task.name}   {title}".strip(), temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_suffix(path: Path) -> None:
    """UserError if no kind of picture has this suffix."""
    known = list(battle_writers())
    if path.suffix.lower() not in known:
        raise UserError(f"{path}: a battle can be drawn to {', '.join(known)}, not to {path.suffix!r}")


def battle_writers() -> dict[str, Callable[[Scene, str, Path], None]]:
    """How to write each kind of picture, by suffix."""
    return {".gif": write_gif, ".mp4": write_mp4, ".png": write_strip}


def moving_frames(painter: Painter, frames_per_step: int) -> Iterator[tuple[Image.Image, float]]:
    """(picture, seconds to show it), from the first step to the end, which is held."""
    last = painter.scene.n_steps - 1
    for step in range(last):
        for k in range(frames_per_step):
            yield painter.paint(step, k / frames_per_step), STEP_S / frames_per_step
    yield painter.paint(last, finished=True), HOLD_S


def write_gif(scene: Scene, title: str, path: Path, max_bytes: int = GIF_MAX_BYTES) -> None:
    """An endless GIF, at most `max_bytes` large if any effort of `GIF_EFFORTS` gets there."""
    from imageio.v3 import imwrite

    colours = bytes(channel for colour in palette() for channel in colour)
    ours = Image.new("P", (1, 1))
    ours.putpalette(colours)
    growth = 0.0
    for width, frames_per_step in GIF_EFFORTS:
        effort = scene.n_steps * frames_per_step * width
        last_resort = (width, frames_per_step) == GIF_EFFORTS[-1]
        if not last_resort and (effort > GIF_MAX_EFFORT or effort * growth > max_bytes):
            continue
        frames, seconds = zip(*moving_frames(Painter(scene, title, width), frames_per_step))
        indices = [np.asarray(frame.quantize(palette=ours, dither=Image.Dither.NONE)) for frame in frames]
        shown: dict[str, Any] = {"duration": [round(100 * s) * 10 for s in seconds], "loop": 0}
        shown |= {"mode": "P", "palette": colours, "optimize": False}
        imwrite(path, np.stack(indices), plugin="pillow", extension=".gif", **shown)
        if path.stat().st_size <= max_bytes:
            return
        growth = path.stat().st_size / effort


def write_mp4(scene: Scene, title: str, path: Path) -> None:
    """An H.264 video; UserError where ffmpeg is missing or fails."""
    from imageio.v2 import get_writer

    if find_spec("imageio_ffmpeg") is None:
        raise UserError(f"{path}: MP4 needs ffmpeg: pip install 'hygen_lightning[video]', or write a .gif")
    rate = MP4_FRAMES_PER_STEP / STEP_S
    try:
        video: Any = get_writer(path, format="FFMPEG", fps=rate, codec="libx264", macro_block_size=2)
        with video:
            painter = Painter(scene, title, MP4_WIDTH)
            for image in _at_rate(moving_frames(painter, MP4_FRAMES_PER_STEP), rate):
                video.append_data(image)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: ffmpeg failed ({str(error).strip().splitlines()[-1]})") from error


def _at_rate(frames: Iterable[tuple[Image.Image, float]], rate: float) -> Iterator[np.ndarray]:
    """Frames and the seconds that each is shown -> images, `rate` of them a second."""
    for frame, seconds in frames:
        yield from repeat(np.asarray(frame), max(round(seconds * rate), 1))


def write_strip(scene: Scene, title: str, path: Path) -> None:
    """Up to six moments of the episode, evenly spaced, the last one its end; three in a row."""
    painter = Painter(scene, title, STRIP_WIDTH)
    last = scene.n_steps - 1
    count = min(STRIP_MOMENTS, scene.n_steps)
    steps = [round(last * k / max(count - 1, 1)) for k in range(count)]
    columns, rows = min(3, count), -(-count // 3)
    width, height = (side + STRIP_GAP for side in painter.size)
    strip = Image.new("RGB", (columns * width - STRIP_GAP, rows * height - STRIP_GAP), PAPER)
    for index, step in enumerate(steps):
        place = (index % 3 * width, index // 3 * height)
        strip.paste(painter.paint(step, finished=step == last), place)
    strip.save(path)
