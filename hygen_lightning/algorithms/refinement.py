"""Stage two on-policy: HyGen's decoder and its choice of skills go on learning from their own battles."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from hygen_lightning.losses import (
    clipped_policy_loss,
    generalised_advantages,
    masked_mean,
)
from hygen_lightning.models import windows
from hygen_lightning.models.layers import Packing, one_hot
from hygen_lightning.models.pooled import PooledCritic
from hygen_lightning.specs import ChunkPlan, Episodes, OnPolicyEpisodes, UserError, zero_outside
from hygen_lightning.specs.chunk_plan import PARTS

if TYPE_CHECKING:
    from hygen_lightning.algorithms.hygen import HyGen
    from hygen_lightning.models.hygen_network import HyGenNetwork

REWARD_SCALE = 0.1
"""Rewards are multiplied by it: returns of battles, up to 20, become values of about one."""

Allocation = Literal["equal", "defeats"]
"""How many battles of a chunk each task plays: as many, or by its share of defeats in the last chunk."""


class Refinement(nn.Module):
    """The clipped objective of MAPPO for two choices: of a skill, where one begins, and of an action.

    Both share the team's advantage. The critic sees the state and the time; recordings teach it in
    stage one already. distinct: weight at which the advantage of an action also counts how well the
    trajectory encoder, which learns it from the same battles, tells the agent's skill from what happened
    (as the discriminator of Eysenbach et al. 2019, DIAYN, from whole windows), less what it tells of that
    skill on average. random_skills: probability (0..0.99) with which a choice of a skill is uniform, so that
    none is given up.
    """

    def __init__(
        self, model: HyGen, clip: float, entropy: float, distinct: float, random_skills: float
    ) -> None:
        super().__init__()
        self.objective = partial(clipped_policy_loss, clip=clip, entropy_weight=entropy)
        self.distinct, self.random_skills = distinct, random_skills
        self.gamma, self.gae_lambda, self.skill_steps = model.gamma, model.td_lambda, model.skill_steps
        self.critic = PooledCritic(model.widths)

    @torch.no_grad()
    def prepare(self, model: HyGen, episodes: Episodes, skills: Tensor) -> OnPolicyEpisodes:
        """Battles with all that `loss` needs: probabilities of what was chosen, advantages, value targets."""
        episodes = episodes.to(model.device)
        skills = skills[:, : episodes.n_steps].to(model.device).clamp(min=0)
        value, mask = self.values(episodes), episodes.mask
        advantage = torch.zeros_like(value)
        advantage[:, :-1] = generalised_advantages(
            episodes.reward[:, :-1] * REWARD_SCALE,
            value,
            episodes.terminated[:, :-1],
            episodes.truncated[:, :-1],
            self.gamma,
            self.gae_lambda,
        )
        counted, target = advantage[mask], advantage + value
        advantage = ((advantage - counted.mean()) / (counted.std() + 1e-5)).unsqueeze(-1)
        of_actions = advantage.expand(skills.shape)
        if self.distinct > 0:
            told = _of_choice(self._recognised(model.acting, episodes), skills)
            of_actions = of_actions + self.distinct * _above_its_skill(told, skills, _decides(episodes))
        action_log_probs, skill_log_probs = self._log_probs(model, model.acting, episodes, skills)
        return OnPolicyEpisodes(
            **{f.name: getattr(episodes, f.name) for f in fields(Episodes)},
            skills=skills,
            log_probs=_of_choice(action_log_probs, episodes.actions),
            skill_log_probs=_of_choice(skill_log_probs, skills),
            advantage=zero_outside(of_actions, mask),
            skill_advantage=zero_outside(advantage, mask),
            value_target=target,
        )

    def loss(self, model: HyGen, battles: OnPolicyEpisodes) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped objectives of actions and of skills, and the critic's squared error."""
        mask = battles.mask
        action_log_probs, skill_log_probs = self._log_probs(model, model.network, battles, battles.skills)
        alive = _decides(battles)
        steps = torch.arange(battles.n_steps, device=mask.device)
        decides = alive & windows.begins(steps, self.skill_steps)[:, None]
        actions = self.objective(
            action_log_probs, battles.actions, battles.log_probs, battles.advantage, alive
        )
        skills = self.objective(
            skill_log_probs, battles.skills, battles.skill_log_probs, battles.skill_advantage, decides
        )
        error = masked_mean((self.values(battles) - battles.value_target).square(), mask)
        metrics = {
            "policy_loss": actions.policy.detach(),
            "skill_policy_loss": skills.policy.detach(),
            "value_loss": error.detach(),
            "entropy": actions.entropy.detach(),
            "skill_entropy": skills.entropy.detach(),
            "kl": actions.kl,
            "clipped": actions.clipped,
        }
        loss = actions.loss + skills.loss + error
        if self.distinct > 0:
            told = _of_choice(self._recognised(model.network, battles), battles.skills)
            recognition = -masked_mean(told, alive)
            loss, metrics = loss + recognition, metrics | {"recognition_loss": recognition.detach()}
        return loss, metrics

    def _recognised(self, network: HyGenNetwork, episodes: Episodes) -> Tensor:
        """Log probabilities [B, T, A, Z] of skills, as the trajectory encoder sees them in what was done."""
        state, filled = zero_outside(episodes.state, episodes.filled), episodes.filled
        logits = network.skill_logits(episodes.task.layout, state, episodes.actions, filled)
        logits = windows.pool(logits, episodes.mask, self.skill_steps)
        return windows.hold(logits, episodes.n_steps, self.skill_steps).log_softmax(-1)

    def critic_loss(self, episodes: Episodes) -> Tensor:
        """Squared error of the values against the discounted returns of episodes as they went."""
        returns = torch.zeros_like(episodes.reward)
        later = torch.zeros_like(episodes.reward[:, 0])
        for t in reversed(range(episodes.n_steps)):
            later = episodes.reward[:, t] * REWARD_SCALE + self.gamma * later
            returns[:, t] = later
        return masked_mean((self.values(episodes) - returns).square(), episodes.mask)

    def values(self, episodes: Episodes) -> Tensor:
        """[B, T]: of the states, zeros where not filled."""
        packing = Packing.of(episodes.filled, episodes.state)
        steps = torch.arange(episodes.n_steps, device=episodes.state.device)
        time = (steps / episodes.task.episode_limit_env_steps).expand(episodes.filled.shape)
        value = self.critic(episodes.task.layout, packing.pack(episodes.state), packing.pack(time))
        return packing.unpack(value)

    def _log_probs(
        self, model: HyGen, network: HyGenNetwork, episodes: Episodes, skills: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of all actions [B, T, A, K], given skills [B, T, A], and of all skills [B, T, A, Z]."""
        layout, seen = episodes.task.layout, (episodes.obs, episodes.last_actions)
        scores = model.skill_scores(*network.observe(layout, *seen, episodes.filled))
        given = one_hot(skills, network.n_skills, episodes.obs.dtype)
        logits = network.decode(layout, *seen, given, episodes.filled)
        possible = episodes.avail_actions | ~episodes.avail_actions.any(dim=-1, keepdim=True)
        return logits.masked_fill(~possible, -torch.inf).log_softmax(-1), self.skill_log_probs(scores)

    def skill_log_probs(self, scores: Tensor) -> Tensor:
        """Log probabilities [..., Z] by which skills of these scores [..., Z] are drawn."""
        log_probs = scores.log_softmax(-1)
        if self.random_skills == 0:
            return log_probs
        by_chance = torch.full_like(log_probs, math.log(self.random_skills / scores.shape[-1]))
        return torch.logaddexp(log_probs + math.log1p(-self.random_skills), by_chance)


def plan_of(
    battles: int,
    allocation: Allocation,
    candidate_battles: int,
    epochs: int,
    minibatches: int,
    prior_weight: float,
) -> ChunkPlan | None:
    """The plan that these options of HyGen make; None without battles.

    UserError where there is nothing to refine, where a task may get fewer battles than there are
    minibatches, and where there are too few to follow defeats.
    """
    if battles == 0:
        if candidate_battles > 0:
            raise UserError(
                f"--model.refine_skill_battles is {candidate_battles}, but nothing is refined: give a "
                "--model.refine_battles above 0, or 0 here"
            )
        return None
    if prior_weight == 0:
        raise UserError(
            "--model.refine_battles refines stage one's policy: give a --model.prior_weight above 0"
        )
    plan = ChunkPlan(battles, 0, epochs, minibatches, allocation == "defeats", candidate_battles)
    if plan.by_defeats and battles < PARTS:
        raise UserError(
            f"--model.refine_allocation defeats needs --model.refine_battles {PARTS} or more, not {battles}"
        )
    if plan.least_battles < minibatches:
        raise UserError(
            f"--model.refine_allocation {allocation}: a task may get {plan.least_battles} of "
            f"--model.refine_battles {battles}, fewer than --model.refine_minibatches {minibatches}; "
            "give more battles"
        )
    return plan


def _decides(episodes: Episodes) -> Tensor:
    """[B, T, A]: who has more than one action to choose from."""
    return episodes.mask.unsqueeze(-1) & (episodes.avail_actions.sum(dim=-1) > 1)


def _above_its_skill(told: Tensor, skills: Tensor, counted: Tensor) -> Tensor:
    """told [B, T, A] less the mean of its skill where counted [B, T, A] bool; skills [B, T, A] int64."""
    above = told.clone()
    for skill in skills.unique():
        here = skills == skill
        above[here] -= told[here & counted].mean().nan_to_num()
    return above


def _of_choice(log_probs: Tensor, chosen: Tensor) -> Tensor:
    """log_probs [..., N], chosen [...] int64 -> [...]."""
    return log_probs.gather(-1, chosen.unsqueeze(-1))[..., 0]
