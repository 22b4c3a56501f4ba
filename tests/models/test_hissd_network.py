"""HiSSD's networks: any numbers of units, nothing of the absent, acting as in learning."""

from __future__ import annotations

import pytest
import torch
from made_up_episodes import EDGE_SIZES, FAMILIES, make_episodes, make_layout, poisoned

from hygen_lightning.models.hissd_network import HiSSDNetwork
from hygen_lightning.models.layers import Transformer
from hygen_lightning.specs import EntityLayout, Episodes


def make_network(layout: EntityLayout, depth: int = 1) -> HiSSDNetwork:
    torch.manual_seed(0)
    network = HiSSDNetwork(layout.widths, width=16, n_heads=2, depth=depth)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


def outputs(network: HiSSDNetwork, layout: EntityLayout, batch: Episodes) -> list[torch.Tensor]:
    """Logits, values and features of the next state of all filled steps."""
    told = network(layout, batch.obs, batch.last_actions, batch.filled)
    value = network.value(layout, batch.obs, batch.last_actions, batch.filled)
    predicted = network.predictor(told.plans, layout, told.packing)
    return [told.logits[batch.filled], value[batch.filled], *predicted, told.own]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("sizes", EDGE_SIZES)
def test_acting_step_by_step_equals_the_unrolled_networks(
    family: str, depth: int, sizes: dict[str, int]
) -> None:
    layout = make_layout(family, sizes["n_allies"], sizes["n_enemies"])
    network = make_network(layout, depth)
    batch = make_episodes(layout, sizes["n_episodes"], sizes["n_steps"])
    wanted = network(layout, batch.obs, batch.last_actions).logits
    assert wanted.shape == (*batch.actions.shape, layout.n_actions)
    hidden = network.initial_hidden(layout, sizes["n_episodes"])
    for t in range(sizes["n_steps"]):
        logits, hidden = network.act_step(layout, batch.obs[:, t], batch.last_actions[:, t], hidden)
        torch.testing.assert_close(logits, wanted[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_poisoned_padding_changes_neither_outputs_nor_gradients(family: str) -> None:
    layout = make_layout(family, 3, 4)
    network, batch = make_network(layout), make_episodes(layout, 4, 7, lengths=[4, 7, 2, 5])
    found = []
    for part in (batch, poisoned(batch)):
        network.zero_grad()
        told = outputs(network, layout, part)
        torch.stack([x.square().sum() for x in told]).sum().backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        found.append([x.detach() for x in told] + gradients)
    assert all(x.isfinite().all() for x in found[0])
    torch.testing.assert_close(found[1], found[0])


def test_an_episode_is_told_the_same_alone_and_among_longer_ones() -> None:
    layout = make_layout("marines", 2, 3)
    network, batch = make_network(layout), make_episodes(layout, 3, 6, lengths=[3, 6, 4])
    among = network(layout, batch.obs, batch.last_actions, batch.filled).logits[0, :3]
    alone = network(layout, batch.obs[:1, :3], batch.last_actions[:1, :3]).logits[0]
    torch.testing.assert_close(among, alone, rtol=1e-5, atol=1e-5)


def test_the_prediction_remembers_what_was_made_of_an_enemy() -> None:
    layout = make_layout("marines", 2, 3)
    network, batch = make_network(layout), make_episodes(layout, 1, 3)
    told = network(layout, batch.obs, batch.last_actions)
    before = network.predictor(told.plans, layout, told.packing)
    plans = told.plans.clone()
    plans[0] = torch.randn_like(plans[0])
    after = network.predictor(plans, layout, told.packing)
    for old, new in zip(before, after):
        moved = (old - new).abs().amax(dim=(1, 2))
        assert (moved > 1e-6).all()


def test_the_order_of_allies_and_enemies_moves_their_predictions_and_nothing_else() -> None:
    layout = make_layout("marines", 2, 3)
    network, batch = make_network(layout), make_episodes(layout, 2, 2)
    told = network(layout, batch.obs, batch.last_actions)
    allies, enemies = network.predictor(told.plans, layout, told.packing)
    order = [2, 0, 1]
    plans = told.plans.clone()
    plans[:, :, 1:4] = plans[:, :, 1:4][:, :, order]
    moved = network.predictor(plans, layout, told.packing)
    torch.testing.assert_close(moved[0], allies, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(moved[1], enemies[:, order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_transformer_of_which_some_outputs_are_read_gives_those(depth: int) -> None:
    torch.manual_seed(0)
    transformer, tokens = Transformer(8, 2, depth), torch.randn(3, 5, 8)
    whole = transformer(tokens)
    torch.testing.assert_close(transformer(tokens, slice(2)), whole[:, :2])
    torch.testing.assert_close(transformer(tokens, [0, 4]), whole[:, [0, 4]])


def test_bf16_mixed_precision_stays_near_full_precision() -> None:
    layout = make_layout("marines", 3, 4)
    network, batch = make_network(layout), make_episodes(layout, 4, 7, lengths=[4, 7, 2, 5])
    full = outputs(network, layout, batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = outputs(network, layout, batch)
    for exact, rough in zip(full, mixed):
        torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
