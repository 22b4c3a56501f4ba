"""What limits the exactness of the simulator: kinds of transition, and shares reweighted by hand."""

from __future__ import annotations

import pytest
import torch

from hygen_lightning.calibration.ceiling import Share, ceiling, kind_of, share_by_kind
from hygen_lightning.calibration.fidelity import observation_errors, replayed
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.specs import Episodes
from hygen_lightning.tasks import load_task

N_BATTLES = 3


@pytest.fixture
def env() -> SimulatorEnv:
    env = SimulatorEnv(load_task("3m"), N_BATTLES)
    env.reset(torch.arange(N_BATTLES))
    return env


def starts(env: SimulatorEnv) -> Episodes:
    """Recordings of two steps, in which everybody walks east."""
    observation = env.reset(torch.arange(N_BATTLES))
    rows = {"obs": observation.obs, "state": observation.state, "avail_actions": observation.avail_actions}
    flag = torch.zeros(N_BATTLES, 2, dtype=torch.bool)
    return Episodes(
        task=load_task("3m"),
        actions=torch.full((N_BATTLES, 2, 3), 4),
        reward=torch.zeros(N_BATTLES, 2),
        terminated=flag,
        truncated=flag,
        filled=~flag,
        **{name: row.unsqueeze(1).repeat_interleave(2, 1) for name, row in rows.items()},
    )


def test_the_kind_counts_living_enemies_and_those_with_a_living_ally_in_range(env: SimulatorEnv) -> None:
    s = env.battles
    s.y = torch.full_like(s.y, 10.0)
    # allies at 0, 1, 2; enemies at 6 (in range of all), 8 (of the last ally only, exactly), 8.1 (of none)
    s.x = torch.tensor([0.0, 1.0, 2.0, 6.0, 8.0, 8.1]).unsqueeze(1).repeat(1, N_BATTLES)
    s.health[2, 1] = 0.0  # the last ally fell
    s.health[3, 2] = s.health[5, 2] = 0.0  # one enemy in range fell, and the one out of range
    assert kind_of(env.params, s).tolist() == [[3, 2], [3, 1], [1, 1]]


def test_the_exact_share_is_taken_kind_by_kind() -> None:
    kind = torch.tensor([[3, 3], [1, 0], [3, 3], [3, 3], [1, 0], [3, 3]])
    exact = torch.tensor([True, True, False, True, True, True])
    assert share_by_kind(kind, exact) == {
        "1/0": {"transitions": 2, "exact_share": 1.0},
        "3/3": {"transitions": 4, "exact_share": 0.75},
    }


def test_simulated_shares_are_reweighted_to_the_recorded_mix_of_frequent_kinds() -> None:
    recorded: dict[str, Share] = {
        "3/3": {"transitions": 60, "exact_share": 0.5},
        "2/2": {"transitions": 30, "exact_share": 0.8},
        "1/0": {"transitions": 8, "exact_share": 1.0},  # seen too seldom in simulated battles
        "2/0": {"transitions": 2, "exact_share": 1.0},  # never seen there
    }
    simulated: dict[str, Share] = {
        "3/3": {"transitions": 20, "exact_share": 0.6},
        "2/2": {"transitions": 160, "exact_share": 0.9},
        "1/0": {"transitions": 19, "exact_share": 0.0},
        "3/1": {"transitions": 51, "exact_share": 0.0},  # never recorded
    }
    found = ceiling(recorded, simulated)
    assert found["ally_health_ceiling"] == pytest.approx((20 * 0.6 + 160 * 0.9) / 250)
    assert found["ally_health_ceiling_same_mix"] == pytest.approx((60 * 0.6 + 30 * 0.9) / 90)
    assert found["ally_health_exact_share_covered"] == pytest.approx((60 * 0.5 + 30 * 0.8) / 90)
    assert found["ally_health_ceiling_covered_share"] == pytest.approx(0.9)
    assert list(found["kinds"]) == ["1/0", "2/0", "2/2", "3/1", "3/3"]
    assert found["kinds"]["2/0"] == {
        "recorded": {"transitions": 2, "exact_share": 1.0},
        "simulated": {"transitions": 0, "exact_share": None},
    }


def test_without_frequent_kinds_there_is_no_reweighted_ceiling() -> None:
    few: dict[str, Share] = {"3/3": {"transitions": 19, "exact_share": 1.0}}
    found = ceiling(few, few)
    assert found["ally_health_ceiling"] == 1.0
    assert found["ally_health_ceiling_same_mix"] is None
    assert found["ally_health_exact_share_covered"] is None
    assert found["ally_health_ceiling_covered_share"] == 0.0


def test_replayed_battles_are_whole_recordings_that_replay_to_themselves(env: SimulatorEnv) -> None:
    task, recorded = env.task, starts(env)
    battles, success = replayed(task, recorded, seed=7)
    assert torch.equal(battles.state[:, 0], recorded.state[:, 0])
    assert bool((battles.length > 2).all())  # fought to the end: the enemies come, the allies shoot
    last = torch.arange(N_BATTLES), battles.length - 2
    assert bool(battles.terminated[last].all())
    assert int(battles.terminated.sum()) == N_BATTLES
    assert observation_errors(task, battles)["availability_mismatches"] == 0
    assert max(observation_errors(task, battles).values()) <= 1e-5
    again, won_again = replayed(task, battles, seed=7)
    assert torch.equal(success, won_again)
    assert torch.equal(again.filled, battles.filled)
    assert torch.equal(again.state[again.filled], battles.state[battles.filled])
    other, _ = replayed(task, battles, seed=8)
    n_steps = min(other.n_steps, battles.n_steps)
    assert not torch.equal(other.state[:, :n_steps], battles.state[:, :n_steps])
