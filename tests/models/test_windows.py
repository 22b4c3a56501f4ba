"""Windows of time in which a skill lasts."""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes

from hygen_lightning.models import windows

NAN = float("nan")


def logits_of(*values: float) -> torch.Tensor:
    """One agent of one episode, two skills: values of the first, zeros of the second. [1, T, 1, 2]."""
    first = torch.tensor(values)
    return torch.stack([first, torch.zeros_like(first)], dim=-1)[None, :, None]


def test_pooling_is_the_mean_of_the_counted_steps_of_each_window() -> None:
    mask = torch.tensor([[True, True, True, True, False]])
    pooled = windows.pool(logits_of(1.0, 3.0, 7.0, 9.0, NAN), mask, 2)
    assert pooled[0, :, 0, 0].tolist() == [2.0, 8.0, 0.0]
    assert windows.pool(logits_of(1.0, 3.0, 7.0, 9.0, NAN), mask, windows.WHOLE)[0, :, 0, 0].tolist() == [5.0]


@pytest.mark.parametrize("n_steps", [1, 5, 6])
@pytest.mark.parametrize("length", [1, 2, 4, 9, windows.WHOLE])
def test_every_step_holds_the_value_of_its_window(n_steps: int, length: int) -> None:
    mask = torch.ones(1, n_steps, dtype=torch.bool)
    pooled = windows.pool(logits_of(*range(n_steps)), mask, length)
    held = windows.hold(torch.arange(pooled.shape[1])[None], n_steps, length)
    expected = [step // (length or n_steps) for step in range(n_steps)]
    assert held.tolist() == [expected]


def test_a_window_begins_where_the_value_that_is_held_may_change() -> None:
    steps = torch.arange(7)
    assert windows.begins(steps, 3).tolist() == [True, False, False, True, False, False, True]
    assert windows.begins(steps, 1).all()
    assert windows.begins(steps, windows.WHOLE).tolist() == [True] + [False] * 6


def test_a_skill_per_step_leaves_everything_as_it_is() -> None:
    logits = torch.randn(2, 5, 3, 4)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    assert windows.pool(logits, mask, 1) is logits
    assert windows.hold(logits, 5, 1) is logits


def test_choices_see_the_rewards_of_their_window_and_the_state_behind_the_last() -> None:
    episodes = make_episodes("3m", 2, lengths=torch.tensor([6, 3])).trimmed()
    episodes.reward = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0, NAN], [32.0, 64.0, NAN, NAN, NAN, NAN]])
    seen, index = windows.decisions(episodes, 2, 0.5)
    assert index.tolist() == [[0, 2, 4, 5], [0, 2, 2, 2]]
    assert seen.reward.tolist() == [[2.0, 8.0, 16.0, 0.0], [64.0, 0.0, 0.0, 0.0]]
    assert seen.terminated.tolist() == [[False, False, True, False], [True, False, False, False]]
    assert seen.filled.tolist() == [[True, True, True, True], [True, True, False, False]]
    assert seen.mask.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert torch.equal(seen.state[0], episodes.state[0, [0, 2, 4, 5]])


def test_a_choice_for_the_whole_battle_sees_its_return() -> None:
    episodes = make_episodes("3m", 2, lengths=torch.tensor([6, 3])).trimmed()
    seen, index = windows.decisions(episodes, windows.WHOLE, 1.0)
    assert index.tolist() == [[0, 5], [0, 2]]
    torch.testing.assert_close(seen.reward[:, 0], episodes.reward.sum(dim=1))
    assert seen.mask.tolist() == [[True, False], [True, False]]
    assert not seen.reward[:, 1].any()


def test_a_choice_at_every_step_sees_the_episodes_themselves() -> None:
    episodes = make_episodes("3m", 2, lengths=torch.tensor([6, 3])).trimmed()
    seen, _ = windows.decisions(episodes, 1, 0.9)
    for name in ("reward", "terminated", "truncated", "mask"):
        assert torch.equal(getattr(seen, name)[:, :6], getattr(episodes, name)), name
