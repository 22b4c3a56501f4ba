"""How a clone plays: the most likely action, or actions drawn by their probability."""

from __future__ import annotations

import torch

from hygen_lightning.algorithms.bc import BC
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
N_BATTLES = 300


def first_actions(model: BC, seed: int) -> torch.Tensor:
    """[B, A]: what the clone does first in equal battles."""
    observation = SimulatorEnv(TASK, N_BATTLES).reset(torch.zeros(N_BATTLES, dtype=torch.int64))
    last = torch.full((N_BATTLES, TASK.n_allies), -1)
    torch.manual_seed(seed)
    with torch.no_grad():
        actions = model.act(
            TASK, observation, last, torch.zeros(N_BATTLES), model.initial_hidden(TASK, N_BATTLES)
        ).actions
    assert bool(observation.avail_actions.gather(2, actions.unsqueeze(2)).all())
    return actions


def test_a_greedy_clone_does_the_same_in_equal_battles() -> None:
    actions = first_actions(BC(TASK.layout.widths), seed=1)
    assert bool((actions == actions[:1]).all())


def test_a_sampled_clone_draws_every_action_as_often_as_it_gives_it_probability() -> None:
    torch.manual_seed(0)
    model = BC(TASK.layout.widths, play="sampled")
    observation = SimulatorEnv(TASK, 1).reset(torch.zeros(1, dtype=torch.int64))
    hidden = model.initial_hidden(TASK, 1)
    with torch.no_grad():
        logits, _ = model.acting.act(TASK.layout, observation.obs, torch.full((1, 3), -1), hidden)
    wanted = logits.masked_fill(~observation.avail_actions, -torch.inf).softmax(-1)[0]  # [A, K]
    actions = first_actions(model, seed=1)
    seen = torch.nn.functional.one_hot(actions, wanted.shape[1]).float().mean(0)
    assert torch.allclose(seen, wanted, atol=0.1)  # three and a half standard errors
    assert torch.equal(first_actions(model, seed=1), actions)
    assert not torch.equal(first_actions(model, seed=2), actions)
