from __future__ import annotations

from typing import get_args

import pytest
import torch
from made_up_episodes import EDGE_SIZES, make_episodes, make_layout, poisoned

from hygen_lightning.models.trajectory_encoder import TemporalKind, TrajectoryEncoder, flip_within

KINDS = get_args(TemporalKind)
LAYOUT = make_layout("marines", 3, 4)


def make_encoder(kind: TemporalKind, layout=LAYOUT) -> TrajectoryEncoder:
    torch.manual_seed(1)
    return TrajectoryEncoder(layout.widths, width=16, n_heads=2, temporal=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", EDGE_SIZES)
def test_every_size_gives_one_finite_row_per_ally(kind: TemporalKind, sizes: dict[str, int]) -> None:
    layout = make_layout("stalkers", sizes["n_allies"], sizes["n_enemies"])
    batch = make_episodes(layout, sizes["n_episodes"], sizes["n_steps"])
    encoded = make_encoder(kind, layout)(layout, batch.state, batch.actions)
    assert encoded.shape == (*batch.actions.shape, 16)
    assert encoded.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_outputs_nor_gradients(kind: TemporalKind) -> None:
    encoder = make_encoder(kind)
    batch = make_episodes(LAYOUT, 2, 7, lengths=[7, 4])
    short = batch[1:].trimmed()
    alone = encoder(LAYOUT, short.state, short.actions)
    alone.square().sum().backward()
    expected = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]

    encoder.zero_grad()
    padded = poisoned(batch)
    together = encoder(LAYOUT, padded.state, padded.actions, padded.filled)[1, :4]
    torch.testing.assert_close(together, alone[0])
    together.square().sum().backward()
    actual = [p.grad for p in encoder.parameters() if p.grad is not None]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_each_kind_of_encoder_knows_of_other_time_steps(kind: TemporalKind) -> None:
    encoder = make_encoder(kind)
    batch = make_episodes(LAYOUT, 1, 5)
    changed = batch.state.clone()
    changed[:, 2] += 1
    moved = encoder(LAYOUT, changed, batch.actions) - encoder(LAYOUT, batch.state, batch.actions)
    past, future = moved[:, :2].abs().max() > 1e-6, moved[:, 3:].abs().max() > 1e-6
    knows_past_of_change = {"step": False, "gru": True, "bigru": True, "transformer": True}[kind]
    knows_future = kind in ("bigru", "transformer")
    assert (bool(future), bool(past)) == (knows_past_of_change, knows_future)
    assert moved[:, 2].abs().max() > 1e-6


def test_both_directions_of_the_bigru_meet_at_the_same_time_step() -> None:
    encoder = make_encoder("bigru")
    encoder.backward_gru.load_state_dict(encoder.forward_gru.state_dict())
    with torch.no_grad():  # one merge for both halves, so that time may be turned round
        encoder.merge.weight[:, 16:] = encoder.merge.weight[:, :16]
    batch = make_episodes(LAYOUT, 1, 6)
    ahead = encoder(LAYOUT, batch.state, batch.actions)
    behind = encoder(LAYOUT, batch.state.flip(1), batch.actions.flip(1))
    torch.testing.assert_close(behind.flip(1), ahead)


def test_flipping_reverses_the_filled_steps_and_leaves_the_rest() -> None:
    rows = torch.arange(10.0).reshape(2, 5, 1)
    filled = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    flipped = flip_within(rows, filled)[..., 0]
    assert flipped.tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9]]
    assert torch.equal(flip_within(flip_within(rows, filled), filled), rows)


def test_the_single_head_attention_of_odis_is_another_network() -> None:
    batch = make_episodes(LAYOUT, 2, 3)
    odis = TrajectoryEncoder(LAYOUT.widths, width=16, attention="single_head", key_width=4)
    assert odis(LAYOUT, batch.state, batch.actions).shape == (2, 3, 3, 16)
    names = {name for name, _ in odis.named_parameters()}
    assert "attention.query.bias" in names
    assert "attention.value.weight" not in names
