"""Battle pictures: what is drawn where, and what the files hold. Nothing needs a display."""

from __future__ import annotations

import os
import stat
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hygen_lightning.report import battle_picture
from hygen_lightning.report.battle_picture import draw_battle, write_gif
from hygen_lightning.report.painter import ALLY, ENEMY, GROUND, HEALTHY, PAPER, SHIELD, SKILLS, Painter
from hygen_lightning.report.scene import scene_of
from hygen_lightning.report.unit_shapes import UNIT_SHAPES, shape_of
from hygen_lightning.specs import Episodes, TaskSpec, UserError
from hygen_lightning.tasks import all_task_names, load_task
from hygen_lightning.tasks.battles import EAST, FIRST_TARGET, NO_OP, STATE_CENTRE, STATE_EXTENT, STOP


def battle(task: TaskSpec, n_steps: int = 5, dies_at: int | None = None) -> Episodes:
    """Allies in a column at x = 8, walking east; enemies at x = 22, of whom the first may die."""
    layout = task.layout
    state = torch.zeros(1, n_steps, layout.state_dim)
    allies, enemies, _ = layout.split_state(state)
    for step in range(n_steps):
        for unit in range(task.n_allies):
            allies[0, step, unit, 0] = 1.0
            allies[0, step, unit, 2] = (8.0 + step - STATE_CENTRE) / STATE_EXTENT
            allies[0, step, unit, 3] = (12.0 + 2 * unit - STATE_CENTRE) / STATE_EXTENT
        for unit in range(task.n_enemies):
            if unit == 0 and dies_at is not None and step >= dies_at:
                continue
            enemies[0, step, unit, 0] = 1.0
            enemies[0, step, unit, 1] = (22.0 - STATE_CENTRE) / STATE_EXTENT
            enemies[0, step, unit, 2] = (12.0 + 2 * unit - STATE_CENTRE) / STATE_EXTENT
    flags = torch.zeros(1, n_steps, dtype=torch.bool)
    actions = torch.full((1, n_steps, task.n_allies), STOP)
    avail = torch.ones(1, n_steps, task.n_allies, layout.n_actions, dtype=torch.bool)
    obs = torch.zeros(1, n_steps, task.n_allies, layout.obs_dim)
    return Episodes(
        task.name, obs, state, actions, avail, flags.float(), flags.clone(), flags.clone(), flags | True
    )


def colour_at(painter: Painter, picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The pixel at a map position."""
    px, py = painter._px(torch.tensor([x, y]).numpy())
    return pixel_at(picture, round(px / 2), round(py / 2))


def pixel_at(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(channel) for channel in np.asarray(picture)[y, x])


def colours_of(picture: Image.Image) -> set[tuple[int, ...]]:
    pixels = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    return {tuple(pixel) for pixel in pixels.tolist()}


def near(colour: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, expected))


def test_units_stand_where_the_state_says_and_move_between_steps() -> None:
    task = load_task("3m")
    painter = Painter(scene_of(task, battle(task)), "3m")
    first, halfway = painter.paint(0), painter.paint(0, 0.5)
    assert first.size == painter.size
    assert near(colour_at(painter, first, 8, 12), ALLY)
    assert near(colour_at(painter, first, 22, 16), ENEMY)
    assert near(colour_at(painter, first, 15, 16), GROUND)
    assert near(colour_at(painter, halfway, 8.5, 14), ALLY)


def test_a_dead_unit_leaves_a_cross_where_it_fell_and_the_team_bar_shrinks() -> None:
    task = load_task("3m")
    scene = scene_of(task, battle(task, dies_at=2))
    painter = Painter(scene, "3m")
    assert near(colour_at(painter, painter.paint(1), 22, 12), ENEMY)
    fallen = colour_at(painter, painter.paint(3), 22, 12)
    assert not near(fallen, ENEMY)
    assert not near(fallen, GROUND, 6)
    assert scene.enemies.position[4, 0].tolist() == pytest.approx([22.0, 12.0], abs=1e-4)
    far_end = painter.size[0] - 16
    assert near(pixel_at(painter.paint(1), far_end, 40), ENEMY)
    assert not near(pixel_at(painter.paint(3), far_end, 40), ENEMY)


def test_a_hit_burst_and_a_bright_shot_show_only_where_health_was_lost() -> None:
    task = load_task("3m")
    episodes = battle(task)
    episodes.actions[0, 1, 0] = FIRST_TARGET + 1
    quiet = Painter(scene_of(task, episodes), "3m").paint(1, 0.25)
    _, enemies, _ = task.layout.split_state(episodes.state)
    enemies[0, 2:, 1, 0] = 0.5
    loud = Painter(scene_of(task, episodes), "3m").paint(1, 0.25)
    aiming = Painter(scene_of(task, battle(task)), "3m").paint(1, 0.25)
    brightness = [sum(picture.convert("L").histogram()[90:]) for picture in (aiming, quiet, loud)]
    assert brightness[0] <= brightness[1] < brightness[2]


def test_enemies_get_no_shot_lines_and_medivacs_aim_at_allies() -> None:
    task = load_task("MMM")
    episodes = battle(task)
    episodes.actions[0, 0, task.ally_units.index("medivac")] = FIRST_TARGET + 3
    episodes.actions[0, 0, 0] = FIRST_TARGET + 3
    scene = scene_of(task, episodes)
    (marauder, foe, _), (medivac, friend, patient) = scene.targets(0)
    assert (marauder, foe) == (0, scene.enemies)
    assert (medivac, friend, patient) == (9, scene.allies, 3)


def test_bars_show_health_and_for_protoss_the_shield_above_it() -> None:
    for name, has_shield in (("3m", False), ("2s3z", True)):
        task = load_task(name)
        episodes = battle(task)
        if has_shield:
            task.layout.split_state(episodes.state)[0][..., 4] = 1.0
        painter = Painter(scene_of(task, episodes), name)
        pixels = colours_of(painter.paint(0))
        assert any(near(pixel, HEALTHY) for pixel in pixels)
        assert any(near(pixel, SHIELD, 4) for pixel in pixels) == has_shield


def test_skills_ring_their_agents_in_their_colours_and_stand_in_the_legend() -> None:
    task = load_task("3m")
    skills = torch.tensor([0, 3, -1]).expand(1, 5, 3)
    painter = Painter(scene_of(task, battle(task), skills), "3m")
    buffer = shape_of("marine")[0] + 0.14
    picture = painter.paint(0)
    assert near(colour_at(painter, picture, 8 - buffer, 12), SKILLS[0], 60)
    assert near(colour_at(painter, picture, 8 - buffer, 14), SKILLS[3], 60)
    assert near(colour_at(painter, picture, 8 - buffer, 16), GROUND)
    legend = picture.crop((0, picture.height - 30, picture.width, picture.height))
    colours = colours_of(legend)
    assert any(near(pixel, SKILLS[3], 6) for pixel in colours)
    assert not any(near(pixel, SKILLS[1], 6) for pixel in colours)


def test_walking_agents_carry_a_chevron_ahead() -> None:
    task = load_task("3m")
    episodes = battle(task)
    episodes.actions[0, 0, 1] = EAST
    with_move = Painter(scene_of(task, episodes), "3m")
    tip = shape_of("marine")[0] + 0.4
    lit = colour_at(with_move, with_move.paint(0), 8 + tip, 14)
    assert sum(lit) > sum(GROUND) + 150


def test_closed_ground_is_dark_and_every_map_can_be_drawn() -> None:
    task = load_task("3m")
    low = battle(task)
    allies = task.layout.split_state(low.state)[0]
    allies[..., 3] -= 4.5 / STATE_EXTENT
    painter = Painter(scene_of(task, low), "3m")
    assert near(colour_at(painter, painter.paint(0), 15, 6.2), PAPER)
    for name in all_task_names():
        other = load_task(name)
        assert Painter(scene_of(other, battle(other, 2)), name, width=200).paint(0).width == 200


def test_every_unit_of_every_map_has_its_own_shape() -> None:
    units = {unit for name in all_task_names() for unit in load_task(name).ally_units}
    units |= {unit for name in all_task_names() for unit in load_task(name).enemy_units}
    assert units <= set(UNIT_SHAPES)
    outlines = [tuple(outline) for _, outline in UNIT_SHAPES.values()]
    assert len(set(outlines)) == len(outlines)


@pytest.mark.parametrize(("dies", "told", "outcome"), [(False, None, "out of time"), (False, True, "won")])
def test_the_outcome_is_the_environments_word_or_what_the_last_state_shows(
    dies: bool, told: bool | None, outcome: str
) -> None:
    task = load_task("3m")
    assert scene_of(task, battle(task), success=told).outcome == outcome
    success = battle(load_task("2m_vs_1z"), dies_at=3)
    assert scene_of(load_task("2m_vs_1z"), success).outcome == "won"
    lost = battle(task)
    task.layout.split_state(lost.state)[0][0, 4] = 0.0
    assert scene_of(task, lost).outcome == "lost"


def test_a_gif_has_its_frames_its_times_and_loops(tmp_path: Path) -> None:
    task = load_task("3m")
    path = tmp_path / "deep" / "battle.gif"
    draw_battle(path, task, battle(task), title="a test")
    with Image.open(path) as gif:
        assert gif.n_frames == 4 * 4 + 1  # type: ignore[attr-defined]
        assert gif.size[0] == 600
        assert gif.info["duration"] == 70
        assert gif.info["loop"] == 0
        gif.seek(16)
        assert gif.info["duration"] == 1800
    assert list(path.parent.iterdir()) == [path]


def test_a_gif_gets_smaller_pictures_until_it_fits(tmp_path: Path) -> None:
    task = load_task("3m")
    scene = scene_of(task, battle(task))
    write_gif(scene, "3m", tmp_path / "full.gif")
    full = (tmp_path / "full.gif").stat().st_size
    write_gif(scene, "3m", tmp_path / "half.gif", max_bytes=full // 2)
    assert (tmp_path / "half.gif").stat().st_size <= full // 2
    write_gif(scene, "3m", tmp_path / "least.gif", max_bytes=1)
    with Image.open(tmp_path / "least.gif") as gif:
        assert gif.size[0] == battle_picture.GIF_EFFORTS[-1][0]


def test_a_strip_shows_six_moments_in_two_rows(tmp_path: Path) -> None:
    task = load_task("3m")
    draw_battle(tmp_path / "long.png", task, battle(task, n_steps=20))
    draw_battle(tmp_path / "short.png", task, battle(task, n_steps=2))
    with Image.open(tmp_path / "long.png") as long, Image.open(tmp_path / "short.png") as short:
        assert long.width == 3 * 400 + 2 * 6
        assert short.width == 2 * 400 + 6
        assert long.height > 1.9 * short.height


def test_mp4_without_ffmpeg_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    task = load_task("3m")
    with pytest.raises(UserError, match=r"MP4 needs the program ffmpeg.*\.gif"):
        draw_battle(tmp_path / "battle.mp4", task, battle(task))
    assert list(tmp_path.iterdir()) == []


def test_mp4_takes_the_ffmpeg_of_imageio_ffmpeg_where_the_path_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "their_ffmpeg"
    program.write_text('#!/bin/sh\nfor last; do :; done; echo video > "$last"; /bin/cat > /dev/null\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    package = types.SimpleNamespace(get_ffmpeg_exe=lambda: str(program))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tmp_path))
    task = load_task("3m")
    draw_battle(tmp_path / "battle.mp4", task, battle(task))
    assert (tmp_path / "battle.mp4").read_text() == "video\n"


def test_a_battle_with_only_medivacs_left_is_lost_and_not_out_of_time() -> None:
    task = load_task("MMM")
    episodes = battle(task)
    layout = task.layout
    for ally in range(task.n_allies):
        if task.ally_units[ally] != "medivac":
            episodes.state[:, -1, ally * layout.widths.state_ally] = 0.0
    assert scene_of(task, episodes, success=False).outcome == "lost"


@pytest.mark.parametrize("works", [True, False])
def test_mp4_hands_ffmpeg_whole_frames(works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    body = 'for last; do :; done; cat > "$last"' if works else "cat > /dev/null; echo no codec >&2; exit 1"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(battle_picture, "MP4_WIDTH", 201)
    task = load_task("3m")
    out = tmp_path / "battle.mp4"
    if not works:
        with pytest.raises(UserError, match=r"ffmpeg failed \(no codec\)"):
            draw_battle(out, task, battle(task))
        return
    draw_battle(out, task, battle(task))
    width, height = Painter(scene_of(task, battle(task)), "3m", 201).size
    assert width % 2 == height % 2 == 0
    held = round(1.8 * 8 / 0.28)
    assert out.stat().st_size == width * height * 3 * (4 * 8 + held)


def test_other_suffixes_and_other_tasks_are_one_clear_line(tmp_path: Path) -> None:
    task = load_task("3m")
    with pytest.raises(UserError, match=r"\.gif, \.mp4, \.png, not to '\.bmp'"):
        draw_battle(tmp_path / "battle.bmp", task, battle(task))
    walk = load_task("cn-2")
    with pytest.raises(UserError, match="only battles"):
        draw_battle(tmp_path / "walk.gif", walk, battle(task))


def test_the_final_step_needs_no_action() -> None:
    task = load_task("3m")
    episodes = battle(task, n_steps=2)
    episodes.actions[0, 1] = NO_OP
    painter = Painter(scene_of(task, episodes), "3m")
    assert painter.paint(1, finished=True).tobytes() != painter.paint(1).tobytes()
