from __future__ import annotations

import torch

from hygen_lightning.models.layers import Packing


def test_steps_are_packed_in_order_of_time_with_the_longest_episode_first() -> None:
    filled = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    x = torch.arange(9).reshape(3, 3)
    packing = Packing.of(filled, x)
    assert packing.counts == (3, 2, 1)
    assert packing.pack(x).tolist() == [3, 0, 6, 4, 1, 5]
    assert torch.equal(packing.unpack(packing.pack(x)), torch.where(filled, x, 0))


def test_without_a_mask_every_step_is_packed() -> None:
    x = torch.randn(2, 3, 4)
    packing = Packing.of(None, x)
    assert packing.counts == (2, 2, 2)
    assert torch.equal(packing.unpack(packing.pack(x)), x)


def test_time_steps_that_no_episode_fills_are_dropped() -> None:
    filled = torch.tensor([[True, False, False], [True, True, False]])
    packing = Packing.of(filled, filled)
    assert packing.counts == (2, 1)
    assert packing.unpack(torch.ones(3)).shape == (2, 3)
