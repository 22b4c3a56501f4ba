from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from made_up_episodes import EDGE_SIZES, FAMILIES, make_episodes, make_layout, make_network, poisoned

from hygen_lightning.losses import ValueTargets, skill_distillation, skill_vae_loss, value_loss
from hygen_lightning.models import fast
from hygen_lightning.models.hygen_network import HyGenNetwork
from hygen_lightning.specs import EntityLayout, Episodes


def stage_losses(network: HyGenNetwork, layout: EntityLayout, batch: Episodes) -> torch.Tensor:
    """Both stages' losses of one batch, without randomness."""
    logits = network.skill_logits(layout, batch.state, batch.actions, batch.filled)
    skill = logits.softmax(dim=-1)[:, :-1]
    filled = batch.filled[:, :-1]
    actions = network.decode(layout, batch.obs[:, :-1], batch.last_actions[:, :-1], skill, filled)
    one = skill_vae_loss(actions, batch.actions[:, :-1], skill, batch.mask[:, :-1])
    q, local = network.observe(layout, batch.obs, batch.last_actions, batch.filled)
    labels = logits.argmax(dim=-1)
    targets = ValueTargets(labels, batch.reward, batch.terminated, batch.truncated, batch.mask)
    mix = network.mixer.weights(layout, batch.state, batch.filled)
    two = value_loss(q, q, targets, mix, mix, gamma=0.99, conservative_weight=3.5)
    return one.loss + two.loss + 5 * skill_distillation(local, labels, batch.mask)


def all_outputs(
    network: HyGenNetwork, layout: EntityLayout, batch: Episodes, filled: torch.Tensor | None
) -> list[torch.Tensor]:
    """Skill values, predicted skills, action logits and skills of the trajectory encoder."""
    skill = torch.nn.functional.one_hot(batch.actions % network.n_skills, network.n_skills).to(batch.obs)
    return [
        *network.observe(layout, batch.obs, batch.last_actions, filled),
        network.decode(layout, batch.obs, batch.last_actions, skill, filled),
        network.skill_logits(layout, batch.state, batch.actions, filled),
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("sizes", EDGE_SIZES)
def test_every_size_equals_the_definition(family: str, depth: int, sizes: dict[str, int]) -> None:
    layout = make_layout(family, sizes["n_allies"], sizes["n_enemies"])
    network = make_network(layout, depth=depth)
    batch = make_episodes(layout, sizes["n_episodes"], sizes["n_steps"])
    found = all_outputs(network, layout, batch, None)
    assert found[2].shape == (*batch.actions.shape, layout.n_actions)
    with fast.by_definition():
        torch.testing.assert_close(found, all_outputs(network, layout, batch, None), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [1, 2])
def test_mixed_lengths_equal_the_definition_and_its_gradients(family: str, depth: int) -> None:
    layout = make_layout(family, 3, 5)
    network = make_network(layout, depth=depth).double()
    batch = make_episodes(layout, 4, 7, lengths=[4, 7, 2, 5]).map(
        lambda x: x.double() if x.is_floating_point() else x
    )
    results: list[list[torch.Tensor]] = []
    for computed in (nullcontext(), fast.by_definition()):
        network.zero_grad()
        with computed:
            outputs = [x[batch.filled] for x in all_outputs(network, layout, poisoned(batch), batch.filled)]
        torch.stack([x.square().sum() for x in outputs]).sum().backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        results.append([x.detach() for x in outputs] + gradients)
    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-9)


def test_the_logit_of_an_attack_is_the_mean_of_the_heads_outputs_at_that_enemy() -> None:
    layout = make_layout("marines", 2, 3)
    network = make_network(layout)
    decoder, batch = network.action_decoder, make_episodes(layout, 2, 1)
    obs, last, hidden = batch.obs[:, 0], batch.last_actions[:, 0], torch.randn(2, 2, 16)
    skill = torch.randn(2, 2, 5).softmax(-1)
    logits, _ = decoder.act(layout, obs, last, hidden, skill)
    entities, _ = decoder.entities(layout, obs, last, hidden)
    assert decoder.skill is not None
    at = [decoder.head(torch.cat([entities[:, :, i], decoder.skill(skill)], dim=-1)) for i in range(4)]
    attacks = [head.mean(dim=-1, keepdim=True) for head in at[1:]]
    torch.testing.assert_close(logits, torch.cat([at[0], *attacks], dim=-1), rtol=1e-5, atol=1e-5)


def test_bf16_mixed_precision_stays_near_full_precision() -> None:
    layout = make_layout("marines", 3, 4)
    network = make_network(layout)
    batch = make_episodes(layout, 4, 7, lengths=[4, 7, 2, 5])
    full = stage_losses(network, layout, batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = stage_losses(network, layout, batch)
    mixed.backward()
    assert mixed.item() == pytest.approx(full.item(), rel=0.05)
    assert mixed.item() != full.item()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("family", FAMILIES)
def test_acting_step_by_step_equals_the_unrolled_networks(family: str) -> None:
    layout = make_layout(family, 3, 4)
    network = make_network(layout)
    batch = make_episodes(layout, 2, 5)
    q, _ = network.observe(layout, batch.obs, batch.last_actions)
    skill = torch.nn.functional.one_hot(q.argmax(-1), network.n_skills).float()
    logits = network.decode(layout, batch.obs, batch.last_actions, skill)
    hidden = network.initial_hidden(layout, 2)
    for t in range(5):
        step = network.act_step(layout, batch.obs[:, t], batch.last_actions[:, t], hidden)
        hidden = step.hidden
        torch.testing.assert_close(step.q, q[:, t], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(step.action_logits, logits[:, t], rtol=1e-5, atol=1e-5)
        assert torch.equal(step.skill, q[:, t].argmax(-1))


@pytest.mark.parametrize(("kind", "chooses"), [("bias", False), ("token", True)])
def test_a_skill_in_the_token_can_choose_among_targets(kind: str, chooses: bool) -> None:
    layout = make_layout("marines", 3, 4)
    network, batch = make_network(layout, skill_input=kind), make_episodes(layout, 2, 4)
    attacks = []
    for index in range(2):
        skill = torch.eye(network.n_skills)[index].expand(2, 4, 3, -1)
        logits = network.decode(layout, batch.obs, batch.last_actions, skill)
        with fast.by_definition():
            defined = network.decode(layout, batch.obs, batch.last_actions, skill)
        torch.testing.assert_close(logits, defined, rtol=1e-5, atol=1e-5)
        attacks.append(logits[..., layout.widths.base_actions :])
    moved = attacks[0] - attacks[1]
    shifted_alike = torch.allclose(moved, moved[..., :1].expand_as(moved), atol=1e-5)
    assert shifted_alike != chooses


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_knowing_the_available_actions_changes_none_of_their_logits(family: str, share: float) -> None:
    layout = make_layout(family, 3, 4)
    network = make_network(layout)
    batch = make_episodes(layout, 5, 1)
    inputs = (layout, batch.obs[:, 0], batch.last_actions[:, 0], network.initial_hidden(layout, 5))
    draw = torch.Generator().manual_seed(1)
    avail = torch.rand(5, 3, layout.n_actions, generator=draw) < share
    avail[..., : layout.widths.base_actions] = True
    with torch.no_grad():
        plain, spared = network.act_step(*inputs), network.act_step(*inputs, avail_actions=avail)
    logits = spared.action_logits[avail]
    torch.testing.assert_close(logits, plain.action_logits[avail], rtol=1e-5, atol=1e-5)
    assert torch.equal(spared.hidden[1], plain.hidden[1])


def test_acting_follows_every_change_of_the_parameters() -> None:
    layout = make_layout("marines", 3, 4)
    network, other = make_network(layout, seed=0), make_network(layout, seed=1)
    batch = make_episodes(layout, 2, 1)

    def logits() -> torch.Tensor:
        hidden = network.initial_hidden(layout, 2)
        return network.act_step(layout, batch.obs[:, 0], batch.last_actions[:, 0], hidden).action_logits

    for change in (lambda: network.load_state_dict(other.state_dict()), lambda: network.double().float()):
        with torch.no_grad():
            logits()
            change()
            kept = logits()
        torch.testing.assert_close(kept, logits().detach(), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        before = logits()
        network.action_decoder.entities.tokens.enemy.weight.mul_(1.1)
        assert not torch.equal(logits(), before)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["step", "bigru", "transformer"])
def test_poisoned_padding_changes_neither_losses_nor_gradients(kind: str, depth: int) -> None:
    layout = make_layout("marines", 3, 4)
    network = make_network(layout, trajectory_encoder=kind, depth=depth)
    batch = make_episodes(layout, 4, 7, lengths=[4, 7, 2, 5])
    parts = [batch, poisoned(batch)]
    losses, gradients = [], []
    for part in parts:
        network.zero_grad()
        loss = stage_losses(network, layout, part)
        loss.backward()
        losses.append(loss.detach())
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert losses[0].isfinite()
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_every_parameter_takes_part_in_a_loss() -> None:
    layout = make_layout("marines", 3, 3)
    network = make_network(layout)
    stage_losses(network, layout, make_episodes(layout, 2, 4)).backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    assert idle == set()


def test_the_order_of_enemies_moves_attack_logits_and_nothing_else() -> None:
    layout = make_layout("marines", 2, 3)
    network = make_network(layout)
    batch = make_episodes(layout, 2, 4)
    order = torch.tensor([2, 0, 1])
    obs = batch.obs.clone()
    width = layout.widths.enemy
    enemies = obs[..., 4 : 4 + 3 * width].unflatten(-1, (3, width))
    obs[..., 4 : 4 + 3 * width] = enemies[..., order, :].flatten(-2)
    position = torch.argsort(order)
    last = batch.last_actions
    moved = torch.where(last >= 6, 6 + position[(last - 6).clamp(min=0)], last)
    skill = torch.randn(2, 4, 2, 5).softmax(-1)
    before = network.decode(layout, batch.obs, last, skill)
    after = network.decode(layout, obs, moved, skill)
    torch.testing.assert_close(after[..., :6], before[..., :6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after[..., 6:], before[..., 6:][..., order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        network.observe(layout, obs, moved), network.observe(layout, batch.obs, last), rtol=1e-4, atol=1e-5
    )
