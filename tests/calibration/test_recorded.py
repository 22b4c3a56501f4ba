"""SMAC's own numbers, out of recorded states: every observation, available action and reward."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import torch
from torch import Tensor

from hygen_lightning.calibration.recorded import battle_state
from hygen_lightning.envs.simulator.observation import battle_observation, outcome, reward
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.tasks import load_task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recording(recordings_dir: Path) -> dict[str, Tensor]:
    files = sorted((recordings_dir / "3m" / "medium").glob("*/*.h5"))
    if not files:
        pytest.skip(f"no recordings of 3m in {recordings_dir}")
    with h5py.File(files[0]) as file:
        return {key: torch.from_numpy(file[key][:]) for key in file}


@pytest.fixture(scope="module")
def params() -> UnitParams:
    return UnitParams.of(load_task("3m"), CPU)


def test_recorded_states_give_the_recorded_observations_and_available_actions(
    recording: dict[str, Tensor], params: UnitParams
) -> None:
    filled = recording["filled"][..., 0].bool()
    state = recording["state"][filled]
    observation = battle_observation(params, Terrain.of("plain", CPU), battle_state(params, state))
    assert (observation.obs - recording["obs"][filled]).abs().max() <= 1e-5
    assert (observation.state - state).abs().max() <= 1e-5
    assert torch.equal(observation.avail_actions, recording["avail_actions"][filled].bool())


def test_recorded_states_give_the_recorded_rewards(recording: dict[str, Tensor], params: UnitParams) -> None:
    filled = recording["filled"][..., 0].bool()
    pair = filled[:, 1:]
    before = battle_state(params, recording["state"][:, :-1][pair])
    after = battle_state(params, recording["state"][:, 1:][pair])
    lost, success = outcome(params, after)
    gained = reward(params, before, after, success)
    assert (gained - recording["reward"][:, :-1, 0][pair]).abs().max() <= 1e-5
    assert (lost | success).sum() > 0
