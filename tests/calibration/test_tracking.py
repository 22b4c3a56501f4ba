"""The particle filter that estimates what recordings hide, on a few copies set by hand."""

from __future__ import annotations

import pytest
import torch

from hygen_lightning.calibration.tracking import REDRAWN_SHARE, TARGET_DOUBT, Tracker
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.tasks import load_task

CPU = torch.device("cpu")
N_COPIES = 6


@pytest.fixture
def tracker() -> Tracker:
    """Two episodes of 3m at their start, six copies of each."""
    task = load_task("3m")
    state = SimulatorEnv(task, 2).reset(torch.arange(2)).state
    return Tracker(UnitParams.of(task, CPU), Terrain.of(task.terrain, CPU), state, N_COPIES, seed=0)


def test_the_most_common_health_of_all_allies_together_is_chosen(tracker: Tracker) -> None:
    health = tracker.battles.health
    health[0, :4] = torch.tensor([39.0, 39.0, 33.0, 33.0])  # ally 0 is mostly hurt, but in two ways
    health[1, :4] = torch.tensor([45.0, 33.0, 45.0, 45.0])
    health[2, N_COPIES:] = 39.0
    chosen = tracker.most_common().health[:3]
    assert chosen[:, 0].tolist() in ([33.0, 45.0, 45.0], [45.0, 45.0, 45.0])
    health[1, 0], health[0, 1], health[1, 1] = 45.0, 33.0, 45.0
    assert tracker.most_common().health[:3].t().tolist() == [[33.0, 45.0, 45.0], [45.0, 45.0, 39.0]]


def test_copies_that_agree_take_the_places_of_those_that_do_not(tracker: Tracker) -> None:
    recorded = tracker.most_common()
    recorded.health[0] = 39.0
    right = torch.tensor([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], dtype=torch.bool)
    tracker.battles.health[0] = torch.where(right, 39.0, 45.0)
    tracker.learn(recorded)
    assert bool((tracker.battles.health[0] == 39.0).all())


def test_copies_whose_enemies_stand_where_they_were_recorded_are_kept(tracker: Tracker) -> None:
    """One of six copies is right, the others are 0.2 map units off: it takes 3.7 of 6 places, and would
    take 1.7 if the wide scale alone counted."""
    recorded = tracker.most_common()
    right = torch.zeros(2 * N_COPIES, dtype=torch.bool)
    right[[2, N_COPIES + 4]] = True
    tracker.battles.x[3] += torch.where(right, 0.0, 0.2)
    tracker.learn(recorded)
    there = (tracker.battles.x[3] - recorded.x[3].repeat_interleave(N_COPIES)).abs() < 0.01
    assert bool((there.view(2, -1).sum(1) >= 3).all())


def test_cooldowns_are_exchanged_between_copies_of_one_story_only(tracker: Tracker) -> None:
    columns = torch.arange(2 * N_COPIES)
    story = torch.tensor([0, 1, 1, 0, 1, 0]).repeat(2)
    tracker._last_shot[1] = story
    cooldown = 100 * torch.arange(6).unsqueeze(1) + columns.float()
    tracker.battles.cooldown = cooldown.clone()
    tracker._exchange()
    after = tracker.battles.cooldown
    assert torch.equal(after[:3], cooldown[:3])  # the allies' are recorded
    assert not torch.equal(after[3:], cooldown[3:])
    for episode in columns.view(2, -1):
        for number in range(2):
            members = episode[story[episode] == number]
            assert torch.equal(after[:, members].sort(1).values, cooldown[:, members])


def test_targets_are_drawn_anew_among_the_living_in_sight_where_no_copy_agreed() -> None:
    task, n_copies = load_task("3m"), 2000
    state = SimulatorEnv(task, 1).reset(torch.arange(1)).state
    tracker = Tracker(UnitParams.of(task, CPU), Terrain.of(task.terrain, CPU), state, n_copies, seed=0)
    s = tracker.battles
    s.x[:], s.y[:] = torch.tensor([10.0, 11.0, 12.0, 15.0, 15.0, 15.0]).unsqueeze(1), 16.0
    s.health[2] = 0.0  # ally 2 is dead, ally 0 and 1 are in sight
    for lost, share in ((True, REDRAWN_SHARE), (False, TARGET_DOUBT)):
        s.target[3], s.target[4], s.target[5] = 2, 2, -1
        tracker._doubt(torch.full((n_copies,), lost))
        aimed = tracker.battles.target
        assert abs(float((aimed[3] != 2).float().mean()) - share) < 0.05 * (1 if lost else 0.3)
        assert set(aimed[3:5].unique().tolist()) == {0, 1, 2}  # 2: kept
        assert bool((aimed[5] == -1).all())
