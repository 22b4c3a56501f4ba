"""Battle pictures: what is drawn where, and what the files hold. Nothing needs a display."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio.v3 import immeta
from PIL import Image

from hygen_lightning.data.hdf5 import read_folder
from hygen_lightning.envs import make_env
from hygen_lightning.report import battle_picture
from hygen_lightning.report.battle_picture import draw_battle, write_gif
from hygen_lightning.report.colours import ALLY, ENEMY, GROUND, HEALTHY, HIT, PAPER, SHIELD, SKILLS, palette
from hygen_lightning.report.painter import Painter
from hygen_lightning.report.scene import MARGIN, scene_of
from hygen_lightning.report.unit_shapes import UNIT_SHAPES, shape_of
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_policies
from hygen_lightning.specs import Episodes, Side, TaskSpec, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import FIRST_TARGET, NO_OP, STATE_CENTRE, STATE_EXTENT, STOP
from hygen_lightning.tasks.maps import map_names


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
        task, obs, state, actions, avail, flags.float(), flags.clone(), flags.clone(), flags | True
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
    allies, enemies, _ = task.layout.split_state(episodes.state)
    allies[0, :, :, 2] = allies[0, :1, :, 2].clone()
    enemies[0, :, 2, 0] = 0.9
    along_the_line, bursts = [], []
    for action, health in ((STOP, 1.0), (FIRST_TARGET + 1, 1.0), (FIRST_TARGET + 1, 0.5)):
        episodes.actions[0, 1, 0] = action
        enemies[0, 2:, 1, 0] = health
        painter = Painter(scene_of(task, episodes), "3m")
        picture = painter.paint(1, 0.25)
        along_the_line.append(sum(colour_at(painter, picture, 15, 13)))
        bursts.append(sum(near(colour, HIT, 70) for colour in colours_of(picture)))
    assert along_the_line[0] < along_the_line[1] < along_the_line[2]
    assert bursts[0] == bursts[1] < bursts[2]


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
        task.layout.split_state(episodes.state)[1][0, 1:, 0, 0] = 0.5
        painter = Painter(scene_of(task, episodes), name)
        pixels = colours_of(painter.paint(0))
        assert any(near(pixel, HEALTHY) for pixel in pixels)
        assert any(near(pixel, SHIELD, 4) for pixel in pixels) == has_shield


def test_skills_ring_their_agents_in_their_colours_and_stand_in_the_legend() -> None:
    task = load_task("3m")
    skills = torch.tensor([0, 3, -1]).expand(1, 5, 3)
    painter = Painter(scene_of(task, battle(task), skills), "3m")
    rim = shape_of("marine")[0] + 0.14
    picture = painter.paint(0)
    assert near(colour_at(painter, picture, 8 - rim, 12), SKILLS[0], 60)
    assert near(colour_at(painter, picture, 8 - rim, 14), SKILLS[3], 60)
    assert near(colour_at(painter, picture, 8 - rim, 16), GROUND)
    legend = picture.crop((0, picture.height - 30, picture.width, picture.height))
    colours = colours_of(legend)
    assert any(near(pixel, SKILLS[3], 6) for pixel in colours)
    assert not any(near(pixel, SKILLS[1], 6) for pixel in colours)


def test_agents_that_walk_carry_a_chevron_ahead_and_those_that_shoot_or_stay_none() -> None:
    task = load_task("3m")
    episodes = battle(task)
    episodes.actions[0, 0, 1] = FIRST_TARGET
    allies = task.layout.split_state(episodes.state)[0]
    allies[0, :, 2] = allies[0, :1, 2].clone()
    painter = Painter(scene_of(task, episodes), "3m")
    picture = painter.paint(0)
    tip = shape_of("marine")[0] + 0.4
    lit = [sum(colour_at(painter, picture, 8 + tip, y)) > sum(GROUND) + 150 for y in (12, 14, 16)]
    assert lit == [True, False, False]


def test_a_small_ground_is_shown_to_its_edges() -> None:
    task = load_task("cn-2")
    with closing(make_env("navigation", task, 1)) as env:
        episodes = play(env, scripted_policies(task, "navigation")["assigned"](0), torch.tensor([1])).episodes
    low, high = scene_of(task, episodes).window()
    assert (low[1], high[1]) == pytest.approx((1 - MARGIN, 7 + MARGIN)), "six cells a side, from 1 on"


def test_closed_ground_is_dark_and_every_map_can_be_drawn() -> None:
    task = load_task("3m")
    low = battle(task)
    allies = task.layout.split_state(low.state)[0]
    allies[..., 3] -= 4.5 / STATE_EXTENT
    painter = Painter(scene_of(task, low), "3m")
    assert near(colour_at(painter, painter.paint(0), 15, 6.2), PAPER)
    for name in map_names():
        other = load_task(name)
        assert Painter(scene_of(other, battle(other, 2)), name, width=200).paint(0).width == 200


def test_every_unit_of_every_map_has_its_own_shape() -> None:
    units = {unit for name in map_names() for unit in load_task(name).ally_units}
    units |= {unit for name in map_names() for unit in load_task(name).enemy_units}
    assert units <= set(UNIT_SHAPES)
    outlines = [tuple(outline) for _, outline in UNIT_SHAPES.values()]
    assert len(set(outlines)) == len(outlines)


@pytest.mark.parametrize(
    ("dies_at", "told", "outcome", "success"),
    [(None, None, "timed out", False), (None, True, "won", True), (3, None, "won", True)],
)
def test_the_outcome_is_the_environments_word_or_what_the_last_state_shows(
    dies_at: int | None, told: bool | None, outcome: str, success: bool
) -> None:
    task = load_task("2m_vs_1z")
    episodes = battle(task, dies_at=dies_at)
    episodes.truncated[0, -2] = dies_at is None
    scene = scene_of(task, episodes, success=told)
    assert (scene.outcome, scene.success) == (outcome, success)


def test_a_battle_with_only_medivacs_left_is_lost_and_not_timed_out() -> None:
    task = load_task("MMM")
    episodes = battle(task)
    for ally in range(task.n_allies):
        if task.ally_units[ally] != "medivac":  # type: ignore[attr-defined]
            task.layout.split_state(episodes.state)[0][:, -1, ally, 0] = 0.0
    assert scene_of(task, episodes, success=False).outcome == "lost"


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


def test_an_mp4_has_even_sides_and_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battle_picture, "MP4_WIDTH", 201)
    task = load_task("3m")
    draw_battle(tmp_path / "battle.mp4", task, battle(task))
    told = immeta(tmp_path / "battle.mp4", plugin="FFMPEG")
    size = Painter(scene_of(task, battle(task)), "3m", 201).size
    assert told["size"] == size
    assert size[0] % 2 == size[1] % 2 == 0
    assert told["duration"] == pytest.approx(4 * 0.28 + 1.8, abs=0.1)


@pytest.mark.parametrize(
    ("program", "complaint"), [(None, r"pip install 'hygen_lightning\[video\]'"), ("false", "ffmpeg failed")]
)
def test_mp4_without_a_working_ffmpeg_is_one_clear_line(
    program: str | None, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program is None:
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    else:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
    task = load_task("3m")
    with pytest.raises(UserError, match=complaint):
        draw_battle(tmp_path / "battle.mp4", task, battle(task))
    assert list(tmp_path.iterdir()) == []


def test_walkers_and_landmarks_are_drawn_as_recorded(recordings_dir: Path, tmp_path: Path) -> None:
    task = load_task("cn-2")
    episodes = read_folder(recordings_dir / "cn-2" / "expert", task)
    scene = scene_of(task, episodes)
    assert (scene.outcome, scene.success, scene.has_losses) == ("goal reached", True, False)
    assert scene.enemies.units == ("landmark", "landmark")
    painter = Painter(scene, "cn-2")
    picture = painter.paint(0)
    assert near(colour_at(painter, picture, *scene.allies.position[0, 0]), ALLY)
    assert near(colour_at(painter, picture, *scene.enemies.position[0, 1]), ENEMY)
    draw_battle(tmp_path / "walk.png", task, episodes)
    assert [path.name for path in tmp_path.iterdir()] == ["walk.png"]


class Anywhere(TaskSpec):
    """A task of a user's own: places in units of its own, no unit types, no ground."""

    def sides(self, state: torch.Tensor) -> tuple[Side, Side]:
        allies, enemies, _ = self.layout.split_state(state)
        return Side.always_alive(allies[..., 2:4] * 1000), Side.always_alive(enemies[..., 1:3] * 1000)


def test_a_task_of_ones_own_needs_places_alone() -> None:
    layout = load_task("3m").layout
    nowhere = TaskSpec("chess", 5, layout)
    with pytest.raises(UserError, match="chess: its environment does not say where its units stand"):
        scene_of(nowhere, battle(load_task("3m")))
    task = Anywhere("places", 5, layout)
    scene = scene_of(task, battle(load_task("3m")), success=True)
    assert (scene.outcome, scene.allies.units[0], scene.enemies.units[0]) == ("success", "agent", "enemy")
    assert 0 < np.ptp(scene.allies.position, axis=(0, 1)).max() <= 12
    assert Painter(scene, "places", 200).paint(0).width == 200


def test_a_gif_can_show_every_colour_that_is_drawn() -> None:
    shades = palette()
    assert len(shades) <= 256
    assert {ALLY, ENEMY, GROUND, HEALTHY, PAPER, SHIELD, *SKILLS} <= set(shades)


def test_the_final_step_needs_no_action() -> None:
    task = load_task("3m")
    episodes = battle(task, n_steps=2)
    episodes.actions[0, 1] = NO_OP
    painter = Painter(scene_of(task, episodes), "3m")
    assert painter.paint(1, finished=True).tobytes() != painter.paint(1).tobytes()
