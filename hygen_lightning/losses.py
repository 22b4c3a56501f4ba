"""Losses as pure functions of network outputs and batch tensors.

Every mean runs over valid steps (`Episodes.mask`) through the one `masked_mean`; what a batch holds
in the other steps, NaN included, changes neither a loss nor a gradient. (Network outputs there
must be finite, as those of `HyGenNetwork` are.)

In a run of several processes a mean divides by what all of them hold (`per_process`): the mean of
their gradients is then the gradient of one process with the whole batch, whatever the lengths of
the episodes that each of them drew.

`steps="stored"` is how the authors' code normalises: its cross-entropies (and the KL term) sum
over all stored steps, and the cross-entropies then divide by the number of valid ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional

LossSteps = Literal["valid", "stored"]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x [B, T, ...] over the entries of the steps in mask [B, T] bool; 0 if there are none."""
    full = mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim())).expand_as(x)
    return torch.where(full, x, 0).sum() / _at_least_one(per_process(full.sum()[None])[0])


def per_process(counts: Tensor) -> Tensor:
    """counts [N] of this process's batch -> their mean over the processes of the run, [N] or longer.

    Where the processes' N differ, the shorter ones count zeros at the end. One process: unchanged.
    """
    if (
        not distributed.is_available()
        or not distributed.is_initialized()
        or distributed.get_world_size() == 1
    ):
        return counts
    longest = torch.tensor(len(counts), device=counts.device)
    distributed.all_reduce(longest, distributed.ReduceOp.MAX)
    total = functional.pad(counts, (0, int(longest) - len(counts)))
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def _at_least_one(count: Tensor) -> Tensor:
    """A divisor: count, or 1 where nothing was counted."""
    return torch.where(count > 0, count, 1)


def relaxed_skill(logits: Tensor) -> Tensor:
    """A Gumbel-softmax sample of logits [..., Z] -> [..., Z], rows sum to 1."""
    return functional.gumbel_softmax(logits, dim=-1)


def action_cross_entropy(logits: Tensor, actions: Tensor) -> Tensor:
    """Cross-entropy of the actions taken, without reduction: [..., K], [...] int64 -> [...]."""
    return -logits.log_softmax(dim=-1).gather(-1, actions.unsqueeze(-1))[..., 0]


def return_weights(reward: Tensor, mask: Tensor, return_weight: float) -> Tensor:
    """How many times each episode counts: in proportion to exp(return_weight * z), 1 on average.

    reward [B, T], mask [B, T] bool -> [B]; z is an episode's return less the mean of the batch, that of
    all processes, in standard deviations. (Reward-weighted regression, Peters and Schaal 2007.)
    """
    returns = torch.where(mask, reward, 0).sum(dim=1)
    everyone = _of_all_processes(returns)
    spread = everyone.std(correction=0).clamp_min(1e-5)
    scores, own = (return_weight * (x - everyone.mean()) / spread for x in (everyone, returns))
    return (own - scores.logsumexp(dim=0)).exp() * len(everyone)


def _of_all_processes(x: Tensor) -> Tensor:
    """x [N] of every process of the run, one after the other; of one process x itself."""
    if not distributed.is_available() or not distributed.is_initialized():
        return x
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, x.tolist())
    return x.new_tensor([number for part in parts for number in part])


def _weighted(nats: Tensor, weight: Tensor | None) -> Tensor:
    """nats [B, T, A], each episode's times its weight [B]."""
    return nats if weight is None else nats * weight[:, None, None]


@dataclass
class SkillVAELoss:
    """Stage one: loss = cross_entropy / steps + beta * kl; the terms as scalars.

    cross_entropy: the mean over time steps of each step's mean. kl: of skill to uniform.
    """

    loss: Tensor
    cross_entropy: Tensor
    kl: Tensor


def skill_vae_loss(
    action_logits: Tensor,
    actions: Tensor,
    skill: Tensor,
    mask: Tensor,
    beta: float = 1e-3,
    steps: LossSteps = "valid",
    weight: Tensor | None = None,
) -> SkillVAELoss:
    """Reconstruct the actions from relaxed skills, and keep the skills near uniform (HyGen, stage one).

    action_logits [B, T, A, K], actions [B, T, A] int64, skill [B, T, A, Z] relaxed one-hot,
    mask [B, T] bool. T counts the steps with a reward, one fewer than stored. The cross-entropy
    is averaged per time step over valid episodes and agents, then over the time steps. weight [B]:
    how many times the cross-entropy of each episode counts (None: once).
    """
    counted = mask if steps == "valid" else torch.ones_like(mask)
    nats = action_cross_entropy(torch.where(counted[:, :, None, None], action_logits, 0), actions)
    nats = _weighted(torch.where(counted.unsqueeze(-1), nats, 0), weight)
    divergence = skill * (skill.clamp_min(1e-30).log() + math.log(skill.shape[-1]))
    n_valid = per_process(mask.sum(dim=0))
    per_step = nats.mean(dim=2).sum(dim=0) / _at_least_one(n_valid[: mask.shape[1]])
    cross_entropy = per_step.sum() / (n_valid > 0).sum().clamp(min=1)
    kl = masked_mean(divergence, counted)
    return SkillVAELoss(cross_entropy + beta * kl, cross_entropy, kl)


@dataclass
class ValueTargets:
    """What values are learned from.

    labels [B, T, A] int64: what was chosen, skills or actions. reward [B, T] float, terminated and
    truncated [B, T] bool, mask [B, T] bool. available [B, T, A, Z] bool: what can be chosen; None: all.
    """

    labels: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    available: Tensor | None = None


@dataclass
class ValueLoss:
    """loss = td + conservative_weight * conservative, and what led to it.

    q_tot, greedy_q_tot, target_q_tot [B, T]: mixed values of the labels, of the greedy choices, and
    of the greedy choices by the target networks. td_targets [B, T - 1].
    """

    loss: Tensor
    td: Tensor
    conservative: Tensor
    q_tot: Tensor
    greedy_q_tot: Tensor
    target_q_tot: Tensor
    td_targets: Tensor


def value_loss(
    q: Tensor,
    target_q: Tensor,
    targets: ValueTargets,
    mix: Callable[[Tensor], Tensor],
    target_mix: Callable[[Tensor], Tensor],
    gamma: float,
    td_lambda: float = 0.0,
    conservative_weight: float = 0.0,
) -> ValueLoss:
    """TD error with double-Q on mixed values, and the conservative term (HyGen, stage two).

    q, target_q [B, T, A, Z]: values of skills or actions by the online and the target network.
    mix, target_mix: from values of agents [B, T, A] to those of the team [B, T].
    """
    chosen, greedy, target = double_q(q, target_q, targets.labels, targets.available)
    q_tot, greedy_q_tot, target_q_tot = mix(chosen), mix(greedy), target_mix(target)
    td_targets = lambda_returns(target_q_tot.detach(), targets, gamma, td_lambda)
    valid = targets.mask[:, :-1]
    error = torch.where(valid, q_tot[:, :-1] - td_targets, 0)
    td = masked_mean(error**2, valid)
    conservative = masked_mean(greedy_q_tot - q_tot, targets.mask)
    loss = td + conservative_weight * conservative
    return ValueLoss(loss, td, conservative, q_tot, greedy_q_tot, target_q_tot, td_targets)


def double_q(
    q: Tensor, target_q: Tensor, labels: Tensor, available: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Values [B, T, A] of the labels, of the greedy choice, and of that choice by the target network.

    q, target_q [B, T, A, Z], labels [B, T, A] int64. The online network chooses among available
    [B, T, A, Z] bool (None: all); no gradient flows through target_q.
    """
    allowed = q.detach() if available is None else q.detach().masked_fill(~available, -torch.inf)
    best = allowed.argmax(dim=-1, keepdim=True)
    chosen = q.gather(-1, labels.unsqueeze(-1))[..., 0]
    return chosen, q.gather(-1, best)[..., 0], target_q.detach().gather(-1, best)[..., 0]


def lambda_returns(values: Tensor, targets: ValueTargets, gamma: float, td_lambda: float) -> Tensor:
    """Targets [B, T - 1] of the steps with a reward, from values [B, T] of the states by the target networks.

    G_t = r_t + gamma * ((1 - lambda) V_{t+1} + lambda G_{t+1}): lambda 0 is the one-step target,
    lambda 1 the return as it was played. An episode that only the time limit ended bootstraps from
    the state behind it; one that really ended does not. The last stored step has no reward and no target.
    """
    ended = (targets.terminated & ~targets.truncated)[:, :-1]
    future = values[:, 1:]
    if td_lambda > 0:
        future = future.clone()
        for t in range(future.shape[1] - 2, -1, -1):
            later = targets.reward[:, t + 1] + gamma * torch.where(ended[:, t + 1], 0, future[:, t + 1])
            goes_on = targets.mask[:, t + 1]  # else the state behind step t is the last of its episode
            future[:, t] = torch.where(goes_on, future[:, t].lerp(later, td_lambda), future[:, t])
    return targets.reward[:, :-1] + gamma * torch.where(ended, 0, future)


def usage_balance(logits: Tensor, mask: Tensor) -> Tensor:
    """KL (nats) of the skills' mean use to uniform: 0 where all are used alike, log Z where one is.

    logits [B, T, A, Z] of an agent's skill at each step, mask [B, T] bool. Unlike the KL of each
    skill's distribution it leaves the single choices as certain as they want to be.
    """
    counted = torch.where(mask[:, :, None, None], logits, 0).softmax(dim=-1)
    use = torch.stack([masked_mean(share, mask) for share in counted.unbind(-1)])
    return (use * use.clamp_min(1e-30).log()).sum() + math.log(len(use))


def skill_distillation(
    skill_logits: Tensor,
    labels: Tensor,
    mask: Tensor,
    steps: LossSteps = "valid",
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each agent's own prediction [B, T, A, Z] against labels [B, T, A].

    weight [B]: how many times each episode counts (None: once).
    """
    if steps == "valid":
        skill_logits = torch.where(mask[:, :, None, None], skill_logits, 0)
        return masked_mean(_weighted(action_cross_entropy(skill_logits, labels), weight), mask)
    nats = _weighted(action_cross_entropy(skill_logits, labels), weight)
    return nats.sum() / _at_least_one(per_process(mask.sum()[None])[0] * nats.shape[-1])


# On-policy


def generalised_advantages(
    reward: Tensor,
    value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Advantages [B, T] of the steps of a chunk (GAE, Schulman et al. 2016).

    reward [B, T], terminated and truncated [B, T] bool, value [B, T + 1] of the states before each
    step and after the last. Nothing is carried over the end of a battle. A battle that only the time
    limit ended is not taken for a defeat: the value of its last seen state stands for what would
    follow, because the state behind it has made room for the next battle.
    """
    ended = terminated & ~truncated
    following = torch.where(truncated, value[:, :-1], value[:, 1:])
    errors = reward + gamma * torch.where(ended, 0, following) - value[:, :-1]
    advantages = torch.empty_like(reward)
    later = torch.zeros_like(reward[:, 0])
    for t in reversed(range(reward.shape[1])):
        later = errors[:, t] + gamma * gae_lambda * torch.where(terminated[:, t], 0, later)
        advantages[:, t] = later
    return advantages


@dataclass
class PolicyGradientLoss:
    """loss = policy - entropy_weight * entropy, and how far the policy has moved; scalars.

    entropy: in nats. kl: from the policy that played to this one (Schulman's estimate k3).
    clipped: share (0..1) of the actions whose ratio lies outside 1 +- clip.
    """

    loss: Tensor
    policy: Tensor
    entropy: Tensor
    kl: Tensor
    clipped: Tensor


def clipped_policy_loss(
    log_probs: Tensor,
    actions: Tensor,
    old_log_probs: Tensor,
    advantage: Tensor,
    acts: Tensor,
    clip: float,
    entropy_weight: float,
) -> PolicyGradientLoss:
    """The clipped objective of PPO (Schulman et al. 2017), of all agents of a team (MAPPO).

    log_probs [B, T, A, K] of all actions (-inf where not available), actions [B, T, A] int64,
    old_log_probs [B, T, A] of the policy that played, advantage [B, T, 1] of the team or [B, T, A] of each
    agent, acts [B, T, A] bool: agents that had a choice; the means run over these.
    """
    count = _at_least_one(per_process(acts.sum()[None])[0])

    def mean(x: Tensor) -> Tensor:
        return torch.where(acts, x, 0).sum() / count

    moved = log_probs.gather(-1, actions.unsqueeze(-1))[..., 0] - old_log_probs
    moved = torch.where(acts, moved, 0)
    ratio = moved.exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    possible = log_probs.clamp_min(torch.finfo(log_probs.dtype).min)
    policy, entropy = -mean(gain), -mean((possible.exp() * possible).sum(dim=-1))
    with torch.no_grad():
        kl, clipped = mean(ratio - 1 - moved), mean(((ratio - 1).abs() > clip).to(ratio.dtype))
    return PolicyGradientLoss(policy - entropy_weight * entropy, policy, entropy, kl, clipped)


# Implicit values and contrast


def expectile_loss(error: Tensor, mask: Tensor, expectile: float) -> Tensor:
    """Mean of |expectile - (error < 0)| error^2 over valid steps (implicit Q-learning, Kostrikov 2022).

    error [B, T]: target minus value, mask [B, T] bool. expectile 0.5 is half the squared error; nearer
    to 1 the value follows the best of what was done.
    """
    error = torch.where(mask, error, 0)
    return masked_mean((expectile - (error < 0).to(error.dtype)).abs() * error**2, mask)


def contrastive_loss(positive: Tensor, negatives: Tensor) -> Tensor:
    """Mean cross-entropy of telling the positive from all negatives (InfoNCE, van den Oord et al. 2018).

    positive [N]: each anchor's score with its own, negatives [N, M]: with what is not.
    """
    scores = torch.cat([positive.unsqueeze(-1), negatives], dim=-1)
    return -scores.log_softmax(dim=-1)[:, 0].mean()
