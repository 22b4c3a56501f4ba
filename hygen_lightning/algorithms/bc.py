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


FULL_RETURN = 20.0
"""Returns are told to the network in this unit: what SMAC gives for a battle that is won outright."""


class BC(MultiTaskAlgorithm):
    """BC-t of the ODIS repository: cross-entropy of the taken actions, from recordings only.

    With `returns` it is BC-r: each agent is told the return that is still to come, in learning that of
    the recording, in playing the best one of the recordings less what has come already.

    Args:
        widths: entity features of the task family; follows from the tasks
        width: embedding width of every token
        n_heads: attention heads, each of the embedding width
        depth: transformer blocks
        id_bits: bits of the binary agent number; 4 bits number 15 agents, 0 leaves numbers out
        lr: learning rate of Adam
        lr_schedule: constant, or linear or a cosine that falls to 2 % of it over the run
        ema_decay: decay per optimiser step of the mean of the weights, which plays; 0: none
        returns: tell the network the return to come (BC-r)
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
        returns: bool = False,
        play: Literal["greedy", "sampled"] = "greedy",
        compile: bool = False,
    ) -> None:
        super().__init__(widths, lr, lr_schedule, ema_decay, compile)
        self.play, self.returns = play, returns
        self.network = ActionDecoder(self.widths, 0, width, n_heads, depth, id_bits, int(returns))
        self.keep_average()

    @property
    def offline_phase_steps(self) -> int:
        return sys.maxsize

    def stage_name(self) -> str:
        return "behaviour cloning"

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy over valid steps and agents (the dead choose no-op, which is certain)."""
        steps = episodes.map(lambda x: x[:, :-1])
        last_actions = episodes.last_actions[:, :-1]
        told = self._told(return_to_go(episodes)[:, :-1], steps.obs.shape[2])
        logits = self.network(
            episodes.task.layout, steps.obs, last_actions, filled=steps.filled, extra_own=told
        )
        mask = episodes.mask[:, :-1]
        loss = masked_mean(action_cross_entropy(logits, steps.actions), mask)
        return loss, {"action_accuracy": action_accuracy(logits, steps, mask)}

    def _told(self, to_come: Tensor, n_agents: int) -> Tensor | None:
        """Returns to come [...] as a further number of each agent's own [..., A, 1]; None if untold."""
        if not self.returns:
            return None
        return (to_come / FULL_RETURN)[..., None, None].expand(*to_come.shape, n_agents, 1)

    def asked_return(self, task: TaskSpec) -> float:
        """The best return of the task's recordings, or of any task's where it has none."""
        best = {name: held.best_return for name, held in self.data_statistics.items()}
        return best.get(task.name, max(best.values(), default=FULL_RETURN))

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> tuple[Tensor, Tensor]:
        """Zeros: the network's [B, A, D], and the return that has come so far [B]."""
        hidden: Tensor = self.acting.initial_hidden(num_envs, task.n_allies)
        return hidden, hidden.new_zeros(num_envs)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The most likely available action, or one drawn by its probability (torch's global generator)."""
        avail, (hidden, come) = observation.avail_actions, hidden
        come = come + last_reward.to(come)
        told = self._told(self.asked_return(task) - come, task.n_allies)
        logits, hidden = self.acting.act(
            task.layout, observation.obs, last_actions, hidden, extra_own=told, avail_actions=avail
        )
        hidden = hidden, come
        logits = logits.masked_fill(~avail, -torch.inf)
        if self.play == "sampled":
            return PolicyOutput(Categorical(logits=logits).sample(), hidden)
        return PolicyOutput(logits.argmax(dim=-1), hidden)


def return_to_go(episodes: Episodes) -> Tensor:
    """The sum of the rewards from each step on [B, T]."""
    rewards = torch.where(episodes.mask, episodes.reward, 0)
    return rewards.flip(1).cumsum(1).flip(1)
