"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hygen_lightning.losses import (
    ValueTargets,
    action_cross_entropy,
    contrastive_loss,
    double_q,
    expectile_loss,
    lambda_returns,
    masked_mean,
    relaxed_skill,
    return_weights,
    skill_distillation,
    skill_vae_loss,
    usage_balance,
    value_loss,
)

NAN = float("nan")


def add(qs: Tensor) -> Tensor:
    """The plainest mixer: [B, T, A] -> [B, T]."""
    return qs.sum(dim=-1)


def make_targets(mask: list[bool], reward: list[float], ended: int, truncated: bool) -> ValueTargets:
    n_steps = len(mask)
    terminated = (torch.arange(n_steps) == ended)[None]
    return ValueTargets(
        labels=torch.zeros(1, n_steps, 1, dtype=torch.int64),
        reward=torch.tensor([reward]),
        terminated=terminated,
        truncated=terminated & truncated,
        mask=torch.tensor([mask]),
    )


def test_a_masked_mean_ignores_what_the_mask_leaves_out() -> None:
    x = torch.tensor([[[1.0, 3.0], [NAN, NAN]]], requires_grad=True)
    mean = masked_mean(x, torch.tensor([[True, False]]))
    assert mean.item() == 2
    mean.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[[0.5, 0.5], [0, 0]]]
    assert masked_mean(x, torch.tensor([[False, False]])).item() == 0


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_their_number() -> None:
    nats = action_cross_entropy(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64))
    torch.testing.assert_close(nats, torch.full((2, 3), math.log(4)))


def test_relaxed_skills_sum_to_one_and_follow_their_logits() -> None:
    torch.manual_seed(0)
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).expand(20_000, 3)
    sample = relaxed_skill(logits)
    torch.testing.assert_close(sample.sum(-1), torch.ones(20_000))
    shares = torch.bincount(sample.argmax(-1), minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), rtol=0, atol=0.02)


def test_stage_one_averages_each_step_first_and_the_steps_after() -> None:
    logits = torch.zeros(2, 2, 1, 2)
    logits[:, :, :, 1] = torch.tensor([[[0.0], [2.0]], [[1.0], [NAN]]])
    actions = torch.zeros(2, 2, 1, dtype=torch.int64)
    skill = torch.full((2, 2, 1, 4), 0.25)
    mask = torch.tensor([[True, True], [True, False]])
    loss = skill_vae_loss(logits, actions, skill, mask)
    first = (math.log(2) + math.log(1 + math.e)) / 2
    second = math.log(1 + math.e**2)
    assert loss.cross_entropy.item() == pytest.approx((first + second) / 2)
    assert loss.kl.item() == pytest.approx(0, abs=1e-6)


def test_an_episode_counts_by_the_exponential_of_its_standardised_return() -> None:
    reward = torch.tensor([[1.0, 1.0, NAN], [3.0, 1.0, 2.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    low, high = 2 / (1 + math.exp(4)), 2 / (1 + math.exp(-4))  # returns 2 and 6 are scores -1 and 1
    torch.testing.assert_close(return_weights(reward, mask, 2.0), torch.tensor([low, high]))
    torch.testing.assert_close(return_weights(reward[:1], mask[:1], 2.0), torch.ones(1))
    equal = torch.ones(3, 2)
    torch.testing.assert_close(return_weights(equal, equal.bool(), 2.0), torch.ones(3))


@pytest.mark.parametrize("padding", [NAN, 0.0])
def test_weights_of_episodes_multiply_the_cross_entropies_of_actions_and_skills(padding: float) -> None:
    logits = torch.zeros(2, 2, 1, 2)
    logits[1, 0] = torch.tensor([0.0, 1.0])
    logits[:, 1] = padding
    actions = torch.zeros(2, 2, 1, dtype=torch.int64)
    mask, weight = torch.tensor([[True, False], [True, False]]), torch.tensor([0.5, 1.5])
    mean = (0.5 * math.log(2) + 1.5 * math.log(1 + math.e)) / 2
    skill = torch.full((2, 2, 1, 2), 0.5)
    assert skill_vae_loss(logits, actions, skill, mask, weight=weight).cross_entropy.item() == pytest.approx(
        mean
    )
    assert skill_distillation(logits, actions, mask, weight=weight).item() == pytest.approx(mean)


def test_weights_of_episodes_count_padded_steps_as_the_published_normalisation_does() -> None:
    logits, actions = torch.zeros(2, 2, 1, 2), torch.zeros(2, 2, 1, dtype=torch.int64)
    mask, weight = torch.tensor([[True, True], [True, False]]), torch.tensor([0.5, 1.5])
    told = skill_distillation(logits, actions, mask, "stored", weight)
    assert told.item() == pytest.approx(4 / 3 * math.log(2))
    skill = torch.full((2, 2, 1, 2), 0.5)
    parts = skill_vae_loss(logits, actions, skill, mask, steps="stored", weight=weight)
    assert parts.cross_entropy.item() == pytest.approx((1 + 2) / 2 * math.log(2))


def test_stage_one_weighs_the_divergence_from_uniform_by_beta() -> None:
    logits, actions = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, dtype=torch.int64)
    skill = torch.tensor([[[[1.0, 0.0]]]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss = skill_vae_loss(logits, actions, skill, mask, beta=0.5)
    assert loss.kl.item() == pytest.approx(math.log(2) / 2)
    assert loss.loss.item() == pytest.approx(math.log(2) + 0.5 * math.log(2) / 2)


def test_a_vanished_skill_leaves_the_gradient_finite() -> None:
    skill = torch.tensor([[[[1.0, 0.0]]]], requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss = skill_vae_loss(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, dtype=torch.int64), skill, mask)
    loss.loss.backward()
    assert skill.grad is not None
    assert skill.grad.isfinite().all()


def test_the_published_normalisation_counts_padded_steps_in_the_numerator_only() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    actions = torch.zeros(1, 2, 1, dtype=torch.int64)
    mask = torch.tensor([[True, False]])
    assert skill_distillation(logits, actions, mask).item() == pytest.approx(math.log(2))
    assert skill_distillation(logits, actions, mask, "stored").item() == pytest.approx(2 * math.log(2))
    both = torch.tensor([[True, True], [True, False]])
    inputs = (logits.expand(2, 2, 1, 2), actions.expand(2, 2, 1), torch.full((2, 2, 1, 2), 0.5), both)
    assert skill_vae_loss(*inputs).cross_entropy.item() == pytest.approx(math.log(2))
    stored = skill_vae_loss(*inputs, steps="stored").cross_entropy.item()
    assert stored == pytest.approx(1.5 * math.log(2))


def test_double_q_chooses_online_and_values_with_the_target() -> None:
    q = torch.tensor([[[[1.0, 5.0, 2.0]]]], requires_grad=True)
    target_q = torch.tensor([[[[9.0, 3.0, 7.0]]]])
    chosen, greedy, target = double_q(q, target_q, torch.tensor([[[2]]]))
    assert (chosen.item(), greedy.item(), target.item()) == (2, 5, 3)


@pytest.mark.parametrize(("truncated", "last_target"), [(False, 3.0), (True, 3.0 + 0.5 * 40.0)])
def test_bootstrapping_survives_the_time_limit_and_stops_at_the_end_of_a_battle(
    truncated: bool, last_target: float
) -> None:
    targets = make_targets([True, True, False], [1.0, 3.0, NAN], ended=1, truncated=truncated)
    q = torch.zeros(1, 3, 1, 2)
    q[0, :, 0, 0] = torch.tensor([1.0, 2.0, NAN])
    target_q = torch.tensor([10.0, 20.0, 40.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 2)
    loss = value_loss(q, target_q, targets, add, add, gamma=0.5)
    assert loss.td_targets.tolist() == [[1 + 0.5 * 20, last_target]]
    assert loss.td.item() == pytest.approx(((1 - 11) ** 2 + (2 - last_target) ** 2) / 2)


def test_the_value_loss_is_the_sum_of_its_weighted_terms() -> None:
    targets = make_targets([True, True], [0.0, 0.0], ended=0, truncated=False)
    q = torch.tensor([[[[1.0, 4.0]], [[2.0, 2.0]]]])
    loss = value_loss(q, q, targets, add, add, gamma=0.9, conservative_weight=0.5)
    assert loss.td.item() == pytest.approx(1)  # (1 - 0)^2
    assert loss.conservative.item() == pytest.approx(1.5)  # greedy 4, 2 against 1, 2
    assert loss.loss.item() == pytest.approx(1 + 0.5 * 1.5)


def test_no_gradient_flows_through_targets() -> None:
    targets = make_targets([True, True], [1.0, 1.0], ended=1, truncated=False)
    q = torch.randn(1, 2, 1, 2, requires_grad=True)
    target_q = torch.randn(1, 2, 1, 2, requires_grad=True)
    loss = value_loss(q, target_q, targets, add, add, gamma=0.9)
    loss.loss.backward()
    assert target_q.grad is None
    assert q.grad is not None
    assert q.grad[0, 0, 0, 0] != 0


def test_balance_is_nothing_where_all_skills_are_used_alike_and_log_z_where_one_is() -> None:
    certain = torch.full((1, 4, 1, 4), -50.0)
    certain[0, range(4), 0, range(4)] = 50.0
    certain[0, 3] = NAN
    everywhere = torch.tensor([[True, True, True, False]])
    uses = [usage_balance(certain, everywhere), usage_balance(certain[:, :1], everywhere[:, :1])]
    assert uses[0].item() == pytest.approx(math.log(4) - math.log(3))
    assert uses[1].item() == pytest.approx(math.log(4))


def test_what_cannot_be_chosen_is_neither_greedy_nor_a_target() -> None:
    q = torch.tensor([[[[1.0, 5.0, 2.0]]]])
    target_q = torch.tensor([[[[9.0, 3.0, 7.0]]]])
    available = torch.tensor([[[[True, False, True]]]])
    _, greedy, target = double_q(q, target_q, torch.tensor([[[0]]]), available)
    assert (greedy.item(), target.item()) == (2, 7)


@pytest.mark.parametrize("truncated", [False, True])
def test_lambda_returns_lie_between_the_next_value_and_the_return_as_played(truncated: bool) -> None:
    targets = make_targets([True, True, True, False, False], [1.0, 2.0, 3.0, NAN, NAN], 2, truncated)
    values = torch.tensor([[NAN, 10.0, 20.0, 40.0, NAN]])
    last = 3 + 0.5 * 40 if truncated else 3.0
    one_step = [1 + 0.5 * 10, 2 + 0.5 * 20, last]
    assert lambda_returns(values, targets, 0.5, 0.0)[0, :3].tolist() == one_step
    second = 2 + 0.5 * last
    assert lambda_returns(values, targets, 0.5, 1.0)[0, :3].tolist() == [1 + 0.5 * second, second, last]
    second = 2 + 0.5 * (0.75 * 20 + 0.25 * last)
    mixed = [1 + 0.5 * (0.75 * 10 + 0.25 * second), second, last]
    assert lambda_returns(values, targets, 0.5, 0.25)[0, :3].tolist() == pytest.approx(mixed)


def test_an_expectile_weighs_what_lies_above_the_value_more() -> None:
    error = torch.tensor([[2.0, -1.0, NAN]])
    mask = torch.tensor([[True, True, False]])
    assert expectile_loss(error, mask, 0.9).item() == pytest.approx((0.9 * 4 + 0.1 * 1) / 2)
    assert expectile_loss(error, mask, 0.5).item() == pytest.approx((4 + 1) / 4)


def test_the_contrast_is_the_chance_of_the_positive_among_all() -> None:
    positive, negatives = torch.tensor([math.log(3.0), 0.0]), torch.zeros(2, 2)
    wanted = -(math.log(3 / 5) + math.log(1 / 3)) / 2
    assert contrastive_loss(positive, negatives).item() == pytest.approx(wanted)
