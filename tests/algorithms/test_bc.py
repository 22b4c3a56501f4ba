"""How a clone plays: the most likely action, or actions drawn by their probability."""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes

from hygen_lightning.algorithms.bc import BC, return_to_go
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.specs import DataStatistics, Observation
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
    hidden, _ = model.initial_hidden(TASK, 1)
    with torch.no_grad():
        logits, _ = model.acting.act(TASK.layout, observation.obs, torch.full((1, 3), -1), hidden)
    wanted = logits.masked_fill(~observation.avail_actions, -torch.inf).softmax(-1)[0]  # [A, K]
    actions = first_actions(model, seed=1)
    seen = torch.nn.functional.one_hot(actions, wanted.shape[1]).float().mean(0)
    assert torch.allclose(seen, wanted, atol=0.1)  # three and a half standard errors
    assert torch.equal(first_actions(model, seed=1), actions)
    assert not torch.equal(first_actions(model, seed=2), actions)


def test_the_return_to_go_by_hand() -> None:
    """Rewards behind the end, as padding may hold them, count for nothing."""
    episodes = make_episodes("3m", 2).trimmed()
    wanted = [sum(episodes.reward[0][t:][episodes.mask[0][t:]].tolist()) for t in range(episodes.n_steps)]
    assert return_to_go(episodes)[0].tolist() == pytest.approx(wanted)


def test_with_returns_the_best_of_the_recordings_is_asked_for_less_what_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, other = load_task("3m"), load_task("4m")
    module = BC(task.layout.widths, width=8, returns=True)
    assert module.asked_return(task) == 20.0
    module.data_statistics["3m"] = DataStatistics(9, 0.5, 7.0, 14.0, 30.0)
    assert (module.asked_return(task), module.asked_return(other)) == (14.0, 14.0)
    hidden = module.initial_hidden(task, 2)
    obs, avail = torch.zeros(2, 3, task.layout.obs_dim), torch.ones(2, 3, task.layout.n_actions).bool()
    seen = Observation(obs, torch.zeros(2, task.layout.state_dim), avail)
    none_yet = torch.full((2, 3), -1)
    told = []
    tell = module._told
    monkeypatch.setattr(
        module, "_told", lambda to_come, n: (told.append(to_come.tolist()), tell(to_come, n))[1]
    )
    for reward in (0.0, 3.0, 1.0):
        hidden = module.act(task, seen, none_yet, torch.full((2,), reward), hidden).hidden
    assert told == [[14.0, 14.0], [11.0, 11.0], [10.0, 10.0]]


def test_what_is_asked_for_changes_what_is_done() -> None:
    task = load_task("3m")
    torch.manual_seed(0)
    module = BC(task.layout.widths, width=8, returns=True)
    obs, last = torch.zeros(1, 3, task.layout.obs_dim), torch.full((1, 3), -1)
    told = [module._told(torch.tensor([value]), 3) for value in (0.0, 20.0)]
    hidden = module.acting.entities.initial_hidden(1, 3)
    low, high = (module.acting.act(task.layout, obs, last, hidden, extra_own=x)[0] for x in told)
    assert not torch.allclose(low, high)
