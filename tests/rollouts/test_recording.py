"""Recordings of scripted policies: what is kept of a battle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from factories import make_episodes

from hygen_lightning.data.buffers import load_offline
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.policy import Policy
from hygen_lightning.rollouts.recording import record, scripted_recordings, scripted_team, without_opening
from hygen_lightning.rollouts.scripted import RandomPolicy, scripted_policies, scripted_policy
from hygen_lightning.specs import TaskSpec, UserError
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
    torch.testing.assert_close(played.returns, played.episodes.reward.double().sum(1))
    assert played.returns[3] < whole.returns[3]
    write_run(tmp_path / "3m" / "medium" / "run", played.episodes)
    assert len(load_offline(tmp_path, TASK, "medium")) == 4


def test_a_task_that_changed_under_its_name_is_recorded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = []
    for task in (TASK, TASK, replace(TASK, enemy_attack_move_to=None)):
        root = scripted_recordings([task], "medium", 2)
        said.append("recording 2 scripted episodes of 3m" in capsys.readouterr().out)
    assert said == [True, False, True]
    recordings = load_offline(root, TASK, "medium")
    assert len(recordings) == 2


def test_tasks_are_played_in_their_own_environment_by_its_own_policies() -> None:
    walk = scripted_team(load_task("cn-2"), "medium", None)
    assert (walk.env, walk.policies) == ("navigation", ("assigned",))
    task = TaskSpec("chess", 5, TASK.layout)
    team = scripted_team(task, "medium", f"{__name__}:Taught")
    assert team.policies == ("slow", "slower")
    assert scripted_team(task, "expert", f"{__name__}:Taught").policies == ("slow",)
    assert scripted_team(TASK, "medium", f"{__name__}:Taught").env == "simulator"
    assert [*scripted_policies(task, f"{__name__}:Taught")] == ["random", "slow", "slower"]
    with pytest.raises(UserError, match="chess, and the environment simulator has no scripted policies"):
        scripted_team(task, "medium", "simulator")
    with pytest.raises(UserError, match="no known environment plays chess"):
        scripted_team(task, "medium", None)


class Taught(SimulatorEnv):
    """An environment with two teachers of its own."""

    @classmethod
    def scripted_policies(cls) -> dict[str, Callable[[int], Policy]]:
        return {"slow": RandomPolicy, "slower": RandomPolicy}
