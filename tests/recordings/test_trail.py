"""The checkpoints on the way of a run, and how often each wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_battles import short_battles
from tiny_runs import MAX_STEPS, assert_same_run, the_run, tiny_fit

from hygen_lightning.checkpoint import load_policy
from hygen_lightning.cli import main
from hygen_lightning.envs import make_env
from hygen_lightning.recordings.trail import Trail, checkpoint_path, trail_points
from hygen_lightning.rollouts.recording import smoothed_win_rate
from hygen_lightning.seeding import stream_seed
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task


def with_trail(tmp_path: Path, **init_args: float) -> list[str]:
    """The tiny run, which keeps a trail."""
    words = ["--trainer.callbacks+=hygen_lightning.recordings.trail.Trail"]
    words += [f"--trainer.callbacks.init_args.{name}={value}" for name, value in init_args.items()]
    return tiny_fit(tmp_path, *words)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trail")
    with short_battles():
        assert main(with_trail(folder, every_n_steps=4, battles=3)) == 0
    return the_run(folder)


def test_a_run_keeps_its_weights_and_win_rates_from_the_first_step_to_the_last(run: Path) -> None:
    points = trail_points(run, "3m")
    assert [point.step for point in points] == [0, 4, 8, MAX_STEPS]
    assert all(point.win_rate in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1) for point in points)
    assert trail_points(run, "4m") == trail_points(run.parent, "3m") == []


@pytest.mark.usefixtures("soon_over")
def test_a_point_is_measured_again_from_its_file(run: Path) -> None:
    task, point = load_task("3m"), trail_points(run, "3m")[-1]
    env, seed = make_env("simulator", task, 3), stream_seed(1, "trail", "3m", point.step)
    assert smoothed_win_rate(load_policy(point.path, task), env, 3, seed) == point.win_rate


@pytest.mark.slow
@pytest.mark.usefixtures("soon_over")
def test_a_trail_disturbs_nothing(run: Path, tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path)) == 0
    assert_same_run(run, the_run(tmp_path))


@pytest.mark.usefixtures("soon_over")
def test_a_run_that_wins_often_enough_ends(tmp_path: Path) -> None:
    assert main(with_trail(tmp_path, every_n_steps=2, battles=2, stop_at=0.0)) == 0
    assert [point.step for point in trail_points(the_run(tmp_path), "3m")][-1] <= 2


def test_a_point_counts_when_its_file_is_there(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    checkpoint_path(copy, 4).unlink()
    assert [point.step for point in trail_points(copy, "3m")] == [0, 8, MAX_STEPS]


@pytest.mark.parametrize("wrong", [{"every_n_steps": 0}, {"battles": 0}, {"stop_at": 2.0}])
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="count from 1 on"):
        Trail(**{"every_n_steps": 1, **wrong})  # type: ignore[arg-type]
