"""Pictures of a battle without a display: moving (GIF, MP4) or as a strip of moments (PNG)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from hygen_lightning.report.painter import EDGE, GRID, GROUND, HIGH_GROUND, INKS, PAPER, SKILLS, Painter
from hygen_lightning.report.scene import Scene, scene_of
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes, TaskSpec

STEP_S = 0.28
"""Seconds that one environment step is shown; StarCraft II shows it for 0.36 (speed "faster")."""
HOLD_S = 1.8
"""Seconds that the end of the battle stays."""
GIF_MAX_BYTES = 1_500_000
GIF_EFFORTS = ((600, 4), (600, 3), (520, 2), (440, 2), (440, 1), (360, 1), (280, 1))
"""(width in pixels, frames per step), tried in this order until a GIF is small enough."""
GIF_MAX_EFFORT = 110_000
"""Columns drawn over all frames of a GIF, at most (a few seconds on one core)."""
PALETTE_SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)
"""Mixtures of each colour with the ground that a GIF can show."""
MP4_WIDTH, MP4_FRAMES_PER_STEP = 960, 8
STRIP_WIDTH, STRIP_MOMENTS = 400, 6


def draw_battle(
    path: Path,
    task: TaskSpec,
    episodes: Episodes,
    skills: Tensor | None = None,
    row: int = 0,
    success: bool | None = None,
    title: str = "",
) -> None:
    """Draw one battle of a batch; the suffix says how: `.gif`, `.mp4` (needs ffmpeg) or `.png`.

    skills [B, T, A] int64 or None (-1: none chosen). won: as the environment said. title: shown
    beside the task's name. UserError for another suffix, or where ffmpeg is missing.
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
    growth = 0.0
    for width, frames_per_step in GIF_EFFORTS:
        effort = scene.n_steps * frames_per_step * width
        last_resort = (width, frames_per_step) == GIF_EFFORTS[-1]
        if not last_resort and (effort > GIF_MAX_EFFORT or effort * growth > max_bytes):
            continue
        frames, seconds = zip(*moving_frames(Painter(scene, title, width), frames_per_step))
        palette = _palette()
        small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
        durations = [round(100 * s) * 10 for s in seconds]
        small[0].save(
            path, save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=False
        )
        if path.stat().st_size <= max_bytes:
            return
        growth = path.stat().st_size / effort


def write_mp4(scene: Scene, title: str, path: Path) -> None:
    """An H.264 video; UserError where ffmpeg is missing or fails."""
    program = _ffmpeg()
    painter = Painter(scene, title, MP4_WIDTH)
    rate = MP4_FRAMES_PER_STEP / STEP_S
    width, height = painter.size
    command = [program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{rate:.3f}", "-i", "-"]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        try:
            for frame, seconds in moving_frames(painter, MP4_FRAMES_PER_STEP):
                pixels = frame.tobytes()
                for _ in range(max(round(seconds * rate), 1)):
                    encoder.stdin.write(pixels)  # type: ignore[union-attr]  # it is a pipe
        except BrokenPipeError:
            pass  # it has given up; its own words follow
        complaint = encoder.communicate()[1].decode(errors="replace").strip().splitlines()
    if encoder.returncode != 0:
        raise UserError(f"{path}: ffmpeg failed ({complaint[-1] if complaint else 'without a word'})")


def _ffmpeg() -> str:
    """The program ffmpeg of the PATH, else that of the package imageio-ffmpeg; UserError without both."""
    program = shutil.which("ffmpeg")
    if program is not None:
        return program
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise UserError(
            "MP4 needs the program ffmpeg, which is not on the PATH; install it "
            "(or pip install 'hygen_lightning[video]'), or write a .gif"
        ) from error


def write_strip(scene: Scene, title: str, path: Path) -> None:
    """Up to six moments of the battle, evenly spaced, the last one its end; three in a row."""
    painter = Painter(scene, title, STRIP_WIDTH)
    last = scene.n_steps - 1
    count = min(STRIP_MOMENTS, scene.n_steps)
    steps = [round(last * k / max(count - 1, 1)) for k in range(count)]
    moments = [painter.paint(step, 0.0, finished=step == last) for step in steps]
    columns, gap = min(3, count), 6
    rows = -(-count // columns)
    width, height = painter.size
    strip = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), PAPER)
    for index, moment in enumerate(moments):
        place = (index % columns * (width + gap), index // columns * (height + gap))
        strip.paste(moment, place)
    strip.save(path)


def _palette() -> Image.Image:
    """The painter's colours and their mixtures with the ground, shared by all frames.

    A palette taken from the frames themselves would spend its colours on the background.
    """
    shades = [PAPER, GROUND, HIGH_GROUND, GRID, EDGE]
    for colour in (*INKS, *SKILLS):
        for share in PALETTE_SHARES:
            mixed = [round(share * c + (1 - share) * g) for c, g in zip(colour, GROUND)]
            shades.append((mixed[0], mixed[1], mixed[2]))
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for shade in shades for channel in shade])
    return palette
