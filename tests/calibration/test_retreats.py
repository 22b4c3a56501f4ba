"""Steps back of hurt allies, counted by hand."""

from __future__ import annotations

import pytest
import torch

from hygen_lightning.calibration.retreats import retreats
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.specs import Episodes
from hygen_lightning.tasks import battle_task

TASK = battle_task("3m")


def episode(healths: list[float], xs: list[float]) -> Episodes:
    """One battle of 3m in which the first ally has these healths and x; enemies stand at x = 20."""
    env = SimulatorEnv(TASK, 1)
    env.reset(torch.zeros(1, dtype=torch.int64))
    states = []
    for health, x in zip(healths, xs):
        env.battles.health[0], env.battles.x[0] = health, x
        env.battles.x[3:], env.battles.y[:] = 20.0, 16.0
        states.append(env.observe().state[0])
    n = len(states)
    layout, none = TASK.layout, torch.zeros(1, n, dtype=torch.bool)
    return Episodes(
        task=TASK,
        obs=torch.zeros(1, n, 3, layout.obs_dim),
        state=torch.stack(states).unsqueeze(0),
        actions=torch.zeros(1, n, 3, dtype=torch.int64),
        avail_actions=torch.ones(1, n, 3, layout.n_actions, dtype=torch.bool),
        reward=torch.zeros(1, n),
        terminated=none,
        truncated=none,
        filled=~none,
    )


@pytest.mark.parametrize(
    ("healths", "xs", "steps", "share"),
    [
        ([45, 39, 39, 39, 39], [15, 15, 13, 11, 9], 1, 1.0),  # hurt, steps back, nothing follows
        ([45, 39, 39, 39, 33], [15, 15, 13, 11, 9], 1, 0.0),  # hit in the second step after it
        ([45, 39, 33, 33, 33], [15, 15, 13, 11, 9], 1, 1.0),  # a hit in the step itself does not count
        ([45, 39, 39, 39, 39], [15, 15, 15, 11, 9], 0, 0.0),  # it stays
        ([45, 45, 45, 45, 45], [15, 15, 13, 11, 9], 0, 0.0),  # it was not hurt
        ([45, 39, 0, 0, 0], [15, 15, 13, 11, 9], 0, 0.0),  # it dies
        ([45, 39, 39, 39], [15, 15, 13, 11], 0, 0.0),  # the relief cannot be seen
    ],
)
def test_what_counts_as_a_step_back_and_as_relief(
    healths: list[float], xs: list[float], steps: int, share: float
) -> None:
    assert retreats(TASK, episode(healths, xs)) == {"steps": steps, "left_alone_share": share}


def test_without_an_ally_at_its_side_nobody_could_draw_the_fire() -> None:
    battle = episode([45, 39, 39, 39, 39], [15, 15, 13, 11, 9])
    allies = TASK.layout.split_state(battle.state)[0]
    allies[..., 1:, 0] = 0
    assert retreats(TASK, battle)["steps"] == 0
