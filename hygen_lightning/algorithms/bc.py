"""Behaviour cloning: the action decoder without skills, trained to repeat the recorded actions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.distributions import Categorical

from hygen_lightning.algorithms.base import LRSchedule, MultiTaskAlgorithm, action_accuracy
from hygen_lightning.losses import action_cross_entropy, masked_mean
from hygen_lightning.models.agents import ActionDecoder
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import EntityWidths, Episodes, TaskSpec

if TYPE_CHECKING:
    from hygen_lightning.specs import Observation


class BC(MultiTaskAlgorithm):
    """BC-t of the ODIS repository: cross-entropy of the taken actions, from recordings only.

    Args:
        widths: entity features of the task family; follows from the tasks
        width: embedding width of every token
        n_heads: attention heads, each of the embedding width
        depth: transformer blocks
        id_bits: bits of the binary agent number; 4 bits number 15 agents, 0 leaves numbers out
        lr: learning rate of Adam
        lr_schedule: constant, or a cosine that falls to 2 % of it over the run
        ema_decay: decay per optimiser step of the mean of the weights, which plays; 0: none
        play: greedy (the most likely action), or sampled: actions as often as the clone gives them
            probability, so that a choice it cannot tell apart is not always made the same way; then
            a battle depends on all that was drawn before it, not on its seed alone
        compile: run the transformer blocks through torch.compile
    """

    network: ActionDecoder

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        width: int = 64,
        n_heads: int = 1,
        depth: int = 1,
        id_bits: int = 4,
        lr: float = 5e-4,
        lr_schedule: LRSchedule = "constant",
        ema_decay: float = 0.0,
        play: Literal["greedy", "sampled"] = "greedy",
        compile: bool = False,
    ) -> None:
        super().__init__(widths, lr, lr_schedule, ema_decay, compile)
        self.play = play
        self.network = ActionDecoder(self.widths, 0, width, n_heads, depth, id_bits)
        self.keep_average()

    @property
    def offline_phase_steps(self) -> int:
        return sys.maxsize

    def stage_name(self) -> str:
        return "behaviour cloning"

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy over valid steps and agents (the dead choose no-op, which is certain)."""
        acted = episodes.map(lambda x: x[:, :-1])
        last_actions = episodes.last_actions[:, :-1]
        logits = self.network(episodes.task.layout, acted.obs, last_actions, filled=acted.filled)
        mask = episodes.mask[:, :-1]
        loss = masked_mean(action_cross_entropy(logits, acted.actions), mask)
        return loss, {"action_accuracy": action_accuracy(logits, acted, mask)}

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Tensor:
        hidden: Tensor = self.acting.entities.initial_hidden(num_envs, task.n_allies)
        return hidden

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The most likely available action, or one drawn by its probability (torch's global generator)."""
        avail = observation.avail_actions
        logits, hidden = self.acting.act(
            task.layout, observation.obs, last_actions, hidden, avail_actions=avail
        )
        logits = logits.masked_fill(~avail, -torch.inf)
        if self.play == "sampled":
            return PolicyOutput(Categorical(logits=logits).sample(), hidden)
        return PolicyOutput(logits.argmax(dim=-1), hidden)
