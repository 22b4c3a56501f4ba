"""Cooperative navigation: every recorded step, one rule at a time, and the teacher."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
from tiny_runs import the_run, tiny_fit

from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.cli import main
from hygen_lightning.data.hdf5 import find_parts, read_part
from hygen_lightning.envs.navigation import AssignedLandmarks, NavigationEnv, all_paired, within_reach
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.navigation import navigation_names

STAY, NORTH, SOUTH, WEST, EAST = range(5)
FAR_CORNER = [(6, 6), (6, 5)]


def grid(walkers: list[tuple[int, int]], landmarks: list[tuple[int, int]]) -> NavigationEnv:
    """One grid of as many walkers and landmarks in these cells (row, column)."""
    env = NavigationEnv(load_task(f"cn-{len(walkers)}"), 1)
    env.place(torch.tensor([walkers]), torch.tensor([landmarks]))
    return env


def walked(env: NavigationEnv, *actions: int) -> list[tuple[int, ...]]:
    """Where the walkers are after these actions."""
    env.step(torch.tensor([actions]))
    return [tuple(cell) for cell in env.walkers[0].tolist()]


@pytest.mark.parametrize("name", ["cn-2", "cn-4"])
@pytest.mark.parametrize("quality", ["expert", "medium"])
def test_every_recorded_step_follows_the_rules(recordings_dir: Path, name: str, quality: str) -> None:
    task, (part,) = load_task(name), find_parts(recordings_dir / name / quality)
    recorded = read_part(part, task)
    env = NavigationEnv(task, len(recorded))
    walkers, landmarks, _ = task.layout.split_state(recorded.state[:, 0])
    seen = env.place(walkers.long(), landmarks.long())
    mismatches = dict.fromkeys(("obs", "state", "avail_actions", "reward", "terminated", "truncated"), 0)
    for step in range(recorded.n_steps):
        filled, acted = recorded.filled[:, step], recorded.mask[:, step]
        for field in ("obs", "state", "avail_actions"):
            differs = (getattr(seen, field) != getattr(recorded, field)[:, step]).flatten(1).any(1)
            mismatches[field] += int((differs & filled).sum())
        after = env.step(torch.where(acted[:, None], recorded.actions[:, step], STAY))
        for field in ("reward", "terminated", "truncated"):
            differs = getattr(after, field) != getattr(recorded, field)[:, step]
            mismatches[field] += int((differs & acted).sum())
        seen = after.observation
    assert mismatches == dict.fromkeys(mismatches, 0)


def test_actions_are_cells_of_the_compass_and_the_first_row_is_in_the_north() -> None:
    env = grid([(3, 3), (5, 3)], FAR_CORNER)
    assert walked(env, NORTH, SOUTH) == [(2, 3), (6, 3)]
    assert walked(env, WEST, EAST) == [(2, 2), (6, 4)]
    walkers, _ = env.task.sides(env.observe().state)
    assert walkers.position[0].tolist() == [[2.5, 5.5], [4.5, 1.5]]  # x east, y north, behind a closed cell


def test_who_wants_the_same_cell_stays_and_who_changes_places_does_not() -> None:
    assert walked(grid([(3, 3), (3, 5)], FAR_CORNER), EAST, WEST) == [(3, 3), (3, 5)]
    assert walked(grid([(3, 3), (3, 4)], FAR_CORNER), EAST, WEST) == [(3, 4), (3, 3)]
    assert walked(grid([(3, 3), (3, 4)], FAR_CORNER), EAST, STAY) == [(3, 3), (3, 4)]


def test_one_that_was_held_up_is_joined_in_its_cell() -> None:
    env = grid([(3, 3), (3, 5), (3, 2)], [(8, 8), (8, 7), (8, 6)])
    assert walked(env, EAST, WEST, EAST) == [(3, 3), (3, 5), (3, 3)]


def test_no_step_leaves_the_grid() -> None:
    available = grid([(1, 1), (6, 6)], FAR_CORNER).observe().avail_actions[0]
    assert available.int().tolist() == [[1, 0, 1, 0, 1], [1, 1, 0, 1, 0]]


def test_everybody_sees_all_positions_its_own_first() -> None:
    seen = grid([(1, 2), (3, 4)], [(5, 6), (6, 1)]).observe()
    assert seen.obs[0].tolist() == [[1, 2, 3, 4, 5, 6, 6, 1], [3, 4, 1, 2, 5, 6, 6, 1]]
    assert seen.state[0].tolist() == [1, 2, 3, 4, 5, 6, 6, 1]


def test_the_goal_is_a_landmark_of_its_own_for_everybody() -> None:
    env = grid([(1, 1), (1, 5)], [(3, 4), (3, 6)])
    step = env.step(torch.tensor([[STAY, STAY]]))  # the second reaches both, the first neither
    assert (float(step.reward), bool(step.terminated)) == (0.0, False)
    step = env.step(torch.tensor([[EAST, STAY]]))
    assert (float(step.reward), bool(step.terminated), bool(step.success)) == (1.0, True, True)
    assert not env.step(torch.tensor([[WEST, STAY]])).terminated
    assert env.walkers[0].tolist() == [[1, 2], [1, 5]]


def test_the_limit_ends_a_grid_without_a_reward() -> None:
    env = grid([(1, 1), (1, 2)], FAR_CORNER)
    steps = [env.step(torch.tensor([[STAY, STAY]])) for _ in range(50)]
    assert [bool(step.terminated) for step in steps] == [False] * 49 + [True]
    last = steps[-1]
    assert (bool(last.truncated), bool(last.success), float(last.reward)) == (True, False, 0.0)


def test_pairs_are_found_where_there_are_any() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 3, 4):
        reaches = torch.rand(200, n, n, generator=generator) < 0.5
        every = [reaches[:, torch.arange(n), list(order)].all(1) for order in permutations(range(n))]
        assert torch.equal(all_paired(reaches), torch.stack(every).any(0))


def test_landmarks_lie_beyond_the_reach_of_every_walker_and_nobody_shares_a_cell() -> None:
    for name in navigation_names():
        env = NavigationEnv(load_task(name), 16)
        env.reset(torch.arange(16))
        assert not within_reach(env.walkers, env.landmarks).any()
        for cells in (env.walkers, env.landmarks):
            assert ((cells >= 1) & (cells <= env.task.size)).all()
            assert all(len(set(map(tuple, row.tolist()))) == env.task.n_allies for row in cells)


@pytest.mark.parametrize("name", ["cn-2", "cn-3", "cn-4", "cn-5", "cn-8"])
def test_the_teacher_always_reaches_the_goal(name: str) -> None:
    played = play(NavigationEnv(load_task(name), 128), AssignedLandmarks(), torch.arange(128))
    assert played.success.all()
    assert played.lengths.float().mean() < 8


@pytest.mark.slow
def test_fit_of_its_task_set_names_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = tiny_fit(tmp_path, "--data.task_set", "cooperative-navigation", "--data.quality", "expert")
    for option in ("--data.train_tasks", "--data.eval_tasks"):
        del words[words.index(option) : words.index(option) + 2]
    assert main(words) == 0, capsys.readouterr().err
    checkpoint = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    assert read_checkpoint(checkpoint)["environment"] == "navigation"
    picture = tmp_path / "walk.png"
    assert main(["render", "--task", "cn-3", "--policy", str(checkpoint), "--out", str(picture)]) == 0
    assert picture.stat().st_size > 0


def test_other_tasks_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="3m is no cooperative navigation"):
        NavigationEnv(load_task("3m"), 1)
    with pytest.raises(UserError, match="3m is no cooperative navigation"):
        AssignedLandmarks().initial_hidden(load_task("3m"), 1)
