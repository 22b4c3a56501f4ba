"""SMAC's own numbers, out of recorded states: every observation, available action and reward."""

from __future__ import annotations

from pathlib import Path

from hygen_lightning.calibration.fidelity import observation_errors
from hygen_lightning.calibration.recorded import recorded_episodes
from hygen_lightning.tasks import battle_task


def test_recorded_states_give_the_recorded_observations_available_actions_and_rewards(
    recordings_dir: Path,
) -> None:
    task = battle_task("3m")
    episodes = recorded_episodes(recordings_dir / "3m" / "medium", task)
    assert bool(episodes.terminated.any())
    errors = observation_errors(task, episodes)
    assert set(errors) == {"observation_max_error", "availability_mismatches", "reward_max_error"}
    assert max(errors.values()) <= 1e-5
