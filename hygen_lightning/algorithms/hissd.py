"""HiSSD (Liu et al. 2025): common skills that plan, and skills of their own for each task, no battles."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hygen_lightning.algorithms.base import LRSchedule, action_accuracy
from hygen_lightning.algorithms.value_learning import ValueLearning
from hygen_lightning.losses import (
    ValueTargets,
    action_cross_entropy,
    contrastive_loss,
    expectile_loss,
    lambda_returns,
    masked_mean,
)
from hygen_lightning.models.hissd_network import HiSSDNetwork, Told
from hygen_lightning.models.layers import Packing, state_features
from hygen_lightning.models.mixers import MixerKind
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import EntityWidths, Episodes, HybridBatch, TaskSpec, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hygen_lightning.specs import Observation

MOST_WEIGHT = 100.0
"""Greatest weight of a step by its advantage."""


class HiSSD(ValueLearning):
    """Hierarchical and separate skill discovery (arXiv 2503.21200), from recordings only.

    A planner makes common skills of what an agent observes; they have to tell the next state, all the
    more where the team did better than its value says (values by expectiles, never asked about actions
    that were not taken). A task encoder makes the task-specific skill: alike among agents of a task, unlike
    those of the other training tasks. A decoder repeats the recorded actions, given both skills.

    Args:
        widths: entity features of the task family; follows from the tasks
        width: embedding width of every token
        n_heads: attention heads, each of the embedding width
        depth: transformer blocks
        id_bits: bits of the binary agent number; 4 bits number 15 agents, 0 leaves numbers out
        mixer: how the team's value follows from the agents': attention over the state, or their sum
        lr: learning rate of Adam
        lr_schedule: constant, or linear or a cosine that falls to 2 % of it over the run
        ema_decay: decay per optimiser step of the mean of the weights, which plays; 0: none
        beta: weight of the contrast between tasks; a run with one training task has none
        gamma: discount per environment step
        expectile: of the returns that the value follows; 0.5 is their mean, towards 1 their best
        advantage_weight: steps count exp(advantage_weight * advantage) times, at most 100, for the plan
        target_update_interval: optimiser steps between two copies into the target networks
    """

    network: HiSSDNetwork

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        width: int = 64,
        n_heads: int = 1,
        depth: int = 1,
        id_bits: int = 4,
        mixer: MixerKind = "attention",
        lr: float = 1e-4,
        lr_schedule: LRSchedule = "constant",
        ema_decay: float = 0.0,
        beta: float = 0.05,
        gamma: float = 0.99,
        expectile: float = 0.9,
        advantage_weight: float = 10.0,
        target_update_interval: int = 27,
    ) -> None:
        super().__init__(
            widths,
            lr,
            lr_schedule,
            ema_decay,
            compile=False,
            gamma=gamma,
            td_lambda=0.0,
            conservative="off",
            conservative_constant=0.0,
            alpha=0.0,
            target_update_interval=target_update_interval,
        )
        if not 0 < expectile < 1:
            raise UserError(
                f"--model.expectile is {expectile}; give a number between 0 and 1, 0.9 as published"
            )
        self.beta, self.expectile, self.advantage_weight = beta, expectile, advantage_weight
        self.network = HiSSDNetwork(self.widths, width, n_heads, depth, id_bits, mixer)
        self.keep_average()
        self.keep_target()
        self._of_tasks: dict[str, Tensor] = {}
        """Contrastive embeddings [M, D] of each task of the batch at hand, by the target network."""

    def value_networks(self) -> dict[str, nn.Module]:
        net = self.network
        return {"value": net.value, "mixer": net.mixer, "task_encoder": net.task_encoder}

    @property
    def offline_phase_steps(self) -> int:
        return sys.maxsize

    def stage_name(self) -> str:
        return "skills and actions"

    # Losses

    def losses(self, batch: HybridBatch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """As of every algorithm; each task is contrasted with the others of the batch."""
        if len(batch.episodes) > 1:
            self._of_tasks = {name: self._target_embeddings(x) for name, x in batch.episodes.items()}
        yield from super().losses(batch)
        self._of_tasks = {}

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        layout, mask = episodes.task.layout, episodes.mask[:, :-1]
        steps, last_actions = episodes.map(lambda x: x[:, :-1]), episodes.last_actions[:, :-1]
        told = self.network(layout, steps.obs, last_actions, mask)
        imitation = masked_mean(action_cross_entropy(told.logits, steps.actions), mask)
        values, advantage, metrics = self._values(episodes)
        weight = (self.advantage_weight * advantage).exp().clamp(max=MOST_WEIGHT)
        error = self._prediction_error(episodes, told)
        plan = masked_mean(weight * error, mask)
        loss = imitation + values + plan
        others = [x for name, x in self._of_tasks.items() if name != episodes.task.name]
        if others:
            contrast = self._contrast(told, mask, torch.cat(others))
            loss = loss + self.beta * contrast
            metrics["contrastive_loss"] = contrast.detach()
        return loss, metrics | {
            "cross_entropy": imitation.detach(),
            "prediction_error": masked_mean(error.detach(), mask),
            "plan_weight": masked_mean(weight, mask),
            "action_accuracy": action_accuracy(told.logits, steps, mask),
        }

    def _values(self, episodes: Episodes) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Loss of the team's value, the advantage [B, T - 1] of what was done, and what to log."""
        layout, filled, mask = episodes.task.layout, episodes.filled, episodes.mask
        seen = layout, episodes.obs, episodes.last_actions, filled
        value = self.network.mixer.weights(layout, episodes.state, filled)(self.network.value(*seen))
        with torch.no_grad():
            mix = self.target["mixer"].weights(layout, episodes.state, filled)  # type: ignore[operator]
            later = mix(self.target["value"](*seen))
            targets = ValueTargets(
                episodes.actions, episodes.reward, episodes.terminated, episodes.truncated, mask
            )
            returns = lambda_returns(later, targets, self.gamma, 0.0)
        advantage = torch.where(mask[:, :-1], returns - value[:, :-1], 0)
        loss = expectile_loss(advantage, mask[:, :-1], self.expectile)
        return loss, advantage.detach(), {"value_loss": loss.detach(), "v_tot": value.detach()[mask].mean()}

    def _prediction_error(self, episodes: Episodes, told: Told) -> Tensor:
        """Mean squared errors of the next state's allies and of its enemies, added: [B, T - 1]."""
        layout, packing = episodes.task.layout, told.packing
        state, actions = packing.pack(episodes.state[:, 1:]), packing.pack(episodes.actions[:, :-1])
        truth = state_features(layout, state, actions)
        allies, enemies = self.network.predictor(told.plans, layout, packing)
        error = (allies - truth.allies).square().mean(dim=(1, 2))
        return packing.unpack(error + (enemies - truth.enemies).square().mean(dim=(1, 2)))

    def _contrast(self, told: Told, mask: Tensor, negatives: Tensor) -> Tensor:
        """At a step of each episode drawn at random, one agent's embedding against another's of the same
        episode and step, and against negatives [M, D] of other tasks."""
        encoder, own = self.network.task_encoder, told.packing.unpack(told.own)
        n_episodes, n_agents = len(own), own.shape[2]
        draws = torch.rand(n_episodes).to(mask.device)
        step = (draws * mask.sum(dim=1)).long()
        pair = torch.randperm(n_agents)[[0, -1]].tolist()  # the same one twice where there is no other
        anchor, positive = encoder.contrast(own[torch.arange(n_episodes), step][:, pair]).unbind(dim=1)
        asked = anchor @ encoder.similarity
        return contrastive_loss((asked * positive.detach()).sum(dim=-1), asked @ negatives.T)

    @torch.no_grad()
    def _target_embeddings(self, episodes: Episodes) -> Tensor:
        """Contrastive embeddings of one agent at all valid steps [M, D], by the target network."""
        encoder: Any = self.target["task_encoder"]
        packing = Packing.of(episodes.mask, episodes.obs)
        obs, last_actions = packing.pack(episodes.obs), packing.pack(episodes.last_actions)
        agent = int(torch.randint(obs.shape[1], ()))
        embeddings: Tensor = encoder.contrast(encoder(episodes.task.layout, obs, last_actions)[:, agent])
        return embeddings

    # Acting

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> tuple[Tensor, Tensor]:
        """Zeros: the planner's and the decoder's [B, A, D]."""
        hidden: tuple[Tensor, Tensor] = self.acting.initial_hidden(task.layout, num_envs)
        return hidden

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The most likely available action."""
        logits, hidden = self.acting.act_step(task.layout, observation.obs, last_actions, hidden)
        return PolicyOutput(logits.masked_fill(~observation.avail_actions, -torch.inf).argmax(dim=-1), hidden)
