from __future__ import annotations

import pytest
import torch
from made_up_episodes import EDGE_SIZES, make_episodes, make_layout

from hygen_lightning.models.mixers import AttentionMixer, SumMixer, make_mixer


@pytest.mark.parametrize("family", ["marines", "navigation"])
@pytest.mark.parametrize("sizes", EDGE_SIZES)
def test_the_team_value_never_falls_when_an_agents_value_rises(family: str, sizes: dict[str, int]) -> None:
    layout = make_layout(family, sizes["n_allies"], sizes["n_enemies"])
    batch = make_episodes(layout, sizes["n_episodes"], sizes["n_steps"])
    mixer = AttentionMixer(layout.widths, width=16)
    qs = torch.randn(*batch.reward.shape, layout.n_allies, requires_grad=True)
    total = mixer.weights(layout, batch.state)(qs)
    assert total.shape == batch.reward.shape
    total.sum().backward()
    assert qs.grad is not None
    assert (qs.grad >= 0).all()
    assert (qs.grad > 0).any()


def test_the_order_of_allies_does_not_matter() -> None:
    layout = make_layout("marines", 4, 3)
    batch = make_episodes(layout, 2, 3)
    mixer = AttentionMixer(layout.widths, width=16)
    qs = torch.randn(2, 3, 4)
    order = torch.tensor([2, 0, 3, 1])
    allies, enemies, last = layout.split_state(batch.state)
    assert last is not None
    shuffled = torch.cat(
        [allies[:, :, order].flatten(2), enemies.flatten(2), last[:, :, order].flatten(2)], dim=-1
    )
    torch.testing.assert_close(
        mixer.weights(layout, shuffled)(qs[:, :, order]), mixer.weights(layout, batch.state)(qs)
    )


def test_the_context_weights_are_normalised_over_the_query_axis() -> None:
    layout = make_layout("marines", 2, 2)
    mixer = AttentionMixer(layout.widths, width=16)
    weights = mixer.attention.weights(torch.randn(3, 4, 16))
    torch.testing.assert_close(weights.sum(dim=-2), torch.ones(3, 4))


def test_steps_that_are_not_filled_are_neither_read_nor_valued() -> None:
    layout = make_layout("marines", 3, 3)
    batch = make_episodes(layout, 2, 4, lengths=[4, 2])
    mixer = AttentionMixer(layout.widths, width=16)
    qs = torch.randn(2, 4, 3)
    poisoned = torch.where(batch.filled.unsqueeze(-1), batch.state, torch.nan)
    total = mixer.weights(layout, poisoned, batch.filled)(qs)
    full = mixer.weights(layout, torch.nan_to_num(poisoned))(qs)
    torch.testing.assert_close(total, torch.where(batch.filled, full, 0))


def test_the_sum_mixer_adds_the_agents_values_where_steps_are_filled() -> None:
    layout = make_layout("marines", 3, 3)
    batch = make_episodes(layout, 2, 4, lengths=[4, 2])
    mixer = make_mixer("sum", layout.widths)
    assert isinstance(mixer, SumMixer)
    qs = torch.ones(2, 4, 3)
    qs[1, 2:] = torch.nan
    assert mixer.weights(layout, batch.state, batch.filled)(qs).tolist() == [[3] * 4, [3, 3, 0, 0]]
    assert not list(mixer.parameters())
    assert isinstance(make_mixer("attention", layout.widths), AttentionMixer)
