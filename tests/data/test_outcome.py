"""Who won, and what only the time limit ended: hand-made final states and the real recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories import make_episodes

from hygen_lightning.data.hdf5 import read_folder
from hygen_lightning.specs import Episodes
from hygen_lightning.tasks import load_task


def _ended_with(task_name: str, allies: list[float], enemies: list[float], length: int) -> Episodes:
    """One episode of `length` stored steps whose final state has these healths."""
    task = load_task(task_name)
    episodes = make_episodes(task, 1, lengths=torch.tensor([length]))
    ally_units, enemy_units, _ = task.layout.split_state(episodes.state)
    ally_units[0, length - 1, :, 0] = torch.tensor(allies)
    enemy_units[0, length - 1, :, 0] = torch.tensor(enemies)
    return episodes


@pytest.mark.parametrize(
    ("allies", "enemies", "length", "is_won", "is_truncated"),
    [
        ([0.0, 0.1, 0.0], [0.0, 0.0, 0.0], 30, True, False),
        ([0.0, 0.0, 0.0], [0.0, 0.2, 0.0], 30, False, False),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 30, False, False),
        ([0.5, 0.5, 0.5], [0.0, 0.2, 0.0], 61, False, True),
        ([0.5, 0.5, 0.5], [0.0, 0.0, 0.0], 61, True, False),
        ([0.0, 0.0, 0.0], [0.0, 0.2, 0.0], 61, False, False),
        ([0.5, 0.5, 0.5], [0.0, 0.2, 0.0], 60, False, False),
    ],
)
def test_a_battle_is_won_by_killing_all_and_truncated_only_undecided_at_the_limit(
    allies: list[float], enemies: list[float], length: int, is_won: bool, is_truncated: bool
) -> None:
    task = load_task("3m")
    episodes = _ended_with("3m", allies, enemies, length)
    wins = task.success(episodes)
    assert wins is not None
    assert wins.tolist() == [is_won]
    cut = episodes.terminated & task.timed_out(episodes)[:, None]
    assert cut.any(dim=1).tolist() == [is_truncated]
    assert not (cut & ~episodes.terminated).any()


def test_a_side_with_only_its_medivac_left_has_lost() -> None:
    task = load_task("MMM")
    only_medivac = [float(unit == "medivac") for unit in task.ally_units]
    enemy_medivac = [float(unit == "medivac") for unit in task.enemy_units]
    assert sum(only_medivac) == sum(enemy_medivac) == 1
    fighters = [1.0] * task.n_allies
    assert task.success(_ended_with("MMM", fighters, enemy_medivac, 40)).tolist() == [True]  # type: ignore[union-attr]
    assert task.success(_ended_with("MMM", only_medivac, [0.0] * 10, 40)).tolist() == [False]  # type: ignore[union-attr]


def test_navigation_is_truncated_where_the_goal_was_not_reached_by_the_limit() -> None:
    task = load_task("cn-2")
    episodes = make_episodes(task, 4, wins=0.5, lengths=torch.tensor([51, 10, 51, 51]))
    assert task.success(episodes).tolist() == [True, True, False, False]
    cut = episodes.terminated & task.timed_out(episodes)[:, None]
    assert cut.any(dim=1).tolist() == [False, False, True, True]


def test_the_recordings_of_3m_were_won_in_53_9_percent_and_timed_out_37_times(recordings_dir: Path) -> None:
    task = load_task("3m")
    episodes = read_folder(recordings_dir / "3m" / "medium", task)
    wins = task.success(episodes)
    assert wins is not None
    assert wins.sum() == 808
    assert len(episodes) == 1500
    assert episodes.truncated.any(dim=1).sum() == 37
    last_reward = torch.where(episodes.terminated, episodes.reward, 0.0).sum(dim=1)
    bonus = 20 * 200 / (200 + 3 * (10 + 45))
    torch.testing.assert_close(last_reward >= bonus - 1e-4, wins)
