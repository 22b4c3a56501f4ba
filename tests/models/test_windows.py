"""Windows of time in which a skill lasts."""

from __future__ import annotations

import pytest
import torch

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
