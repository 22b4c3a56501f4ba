"""Recordings of scripted policies: what is kept of a battle."""

from __future__ import annotations

from pathlib import Path

import torch
from factories import make_episodes

from hygen_lightning.data.buffers import load_offline
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.rollouts.recording import record, without_opening
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import EAST

TASK = load_task("3m")


def test_the_episodes_begin_after_the_opening() -> None:
    whole = make_episodes(TASK, 4, wins=0.75, lengths=torch.tensor([9, 4, 6, 61]))
    late = without_opening(TASK, whole.trimmed(), torch.tensor([0, 5, 3, 7]))
    assert late.length.tolist() == [9, 2, 3, 61], "a step with a reward stays; time-outs stay whole"
    for row, cut in enumerate([0, 2, 3, 0]):
        n = int(late.length[row])
        assert torch.equal(late.actions[row, :n], whole.actions[row, cut : cut + n])
        assert torch.equal(late.obs[row, :n], whole.obs[row, cut : cut + n])
        assert not late.obs[row, n:].any()
        assert late.terminated[row].nonzero().flatten().tolist() == [n - 2]
        if cut:
            last_actions = TASK.layout.split_state(late.state[row, 0])[2]
            assert last_actions is not None
            assert not last_actions.any(), "nobody has acted yet"


def test_recordings_hold_no_random_opening_and_pass_the_checks(tmp_path: Path) -> None:
    opening = torch.tensor([0, 4, 8, 8])
    played = record(TASK, scripted_policy("pull_back"), torch.zeros(4), opening, "simulator", seed=1)
    assert (played.episodes.actions[:2, 0] == EAST).all(), "it goes to meet the enemies"
    whole = record(TASK, scripted_policy("pull_back"), torch.zeros(4), opening * 0, "simulator", seed=1)
    assert not torch.equal(played.episodes.state[3, 0], whole.episodes.state[3, 0])
    assert (played.episodes.length < 50).all()
    write_run(tmp_path / "3m" / "medium" / "run", played.episodes)
    assert len(load_offline(tmp_path, TASK, "medium")) == 4


def test_returns_are_of_the_recorded_steps() -> None:
    opening = torch.full((8,), 20)
    played = record(TASK, scripted_policy("pull_back"), torch.zeros(8), opening, "simulator", seed=1)
    whole = record(TASK, scripted_policy("pull_back"), torch.zeros(8), opening * 0, "simulator", seed=1)
    torch.testing.assert_close(played.returns, played.episodes.reward.double().sum(1))
    assert played.returns.mean() < whole.returns.mean()
