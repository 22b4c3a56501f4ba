"""QMIX on entities: values of the available actions, mixed by attention over the state or by a sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hygen_lightning.algorithms.base import LRSchedule
from hygen_lightning.algorithms.value_learning import Conservative, ValueLearning
from hygen_lightning.models.agents import ActionDecoder, AgentKind
from hygen_lightning.models.mixers import MixerKind, make_mixer
from hygen_lightning.models.pooled import PooledActor
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import EntityWidths, Episodes, TaskSpec

if TYPE_CHECKING:
    from hygen_lightning.specs import Observation


class QMIX(ValueLearning):
    """QMIX (Rashid et al. 2018) with the entity networks of HyGen, online from the first step.

    The action decoder without skills is read as action values; an agent plays its best available
    action. With mixer sum it is VDN (Sunehag et al. 2018). With recordings, no online battles and the
    conservative term it is UPDeT-m and UPDeT-l of the ODIS repository. With agent pooled an agent is,
    as in the paper, a small network with a GRU, here over pooled entities.

    Args:
        widths: entity features of the task family; follows from the tasks
        agent: network of an agent: transformer over entities, or pooled (small and fast)
        width: width of the agent's hidden state and of the mixer's tokens
        n_heads: attention heads of the transformer, each of its width
        depth: blocks of the transformer
        id_bits: bits of the transformer's binary agent number; 4 bits number 15 agents, 0 leaves it out
        mixer: how the team's value follows from the agents': attention over the state, or their sum
        lr: learning rate of Adam
        lr_schedule: constant, or linear or a cosine that falls to 2 % of it over the run
        ema_decay: decay per optimiser step of the mean of the weights, which plays; 0: none
        gamma: discount per environment step
        td_lambda: 0 learns from the next step's value, above it from lambda-returns, up to 1: whole
            returns as they were played
        conservative: weight c of the conservative term: off, constant, or the offline share
        conservative_constant: c when conservative is constant
        alpha: factor of the conservative term
        target_update_interval: optimiser steps between two copies into the target networks
        compile: run the transformer blocks through torch.compile
    """

    network: nn.ModuleDict

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        agent: AgentKind = "transformer",
        width: int = 64,
        n_heads: int = 1,
        depth: int = 1,
        id_bits: int = 4,
        mixer: MixerKind = "attention",
        lr: float = 5e-4,
        lr_schedule: LRSchedule = "constant",
        ema_decay: float = 0.0,
        gamma: float = 0.99,
        td_lambda: float = 0.6,
        conservative: Conservative = "off",
        conservative_constant: float = 1.0,
        alpha: float = 5.0,
        target_update_interval: int = 200,
        compile: bool = False,
    ) -> None:
        super().__init__(
            widths,
            lr,
            lr_schedule,
            ema_decay,
            compile,
            gamma,
            td_lambda,
            conservative,
            conservative_constant,
            alpha,
            target_update_interval,
        )
        network = (
            PooledActor(self.widths, width)
            if agent == "pooled"
            else ActionDecoder(self.widths, 0, width, n_heads, depth, id_bits)
        )
        self.network = nn.ModuleDict({"agent": network, "mixer": make_mixer(mixer, self.widths, width)})
        self.keep_average()
        self.keep_target()

    def value_networks(self) -> dict[str, nn.Module]:
        return dict(self.network.items())

    @property
    def offline_phase_steps(self) -> int:
        return 0

    def stage_name(self) -> str:
        return "values of actions"

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """TD loss of the actions taken; the greedy choice is among the available ones."""
        with torch.no_grad():
            target_q = self._values(self.target["agent"], episodes)
        q = self._values(self.network["agent"], episodes)
        parts, metrics = self.value_loss(
            q, target_q, episodes.actions, episodes, offline_share, episodes.avail_actions
        )
        return parts.loss, metrics

    def _values(self, agent: nn.Module, episodes: Episodes) -> Tensor:
        """Values [B, T, A, K] of all actions."""
        values: Tensor = agent(
            episodes.task.layout, episodes.obs, episodes.last_actions, filled=episodes.filled
        )
        return values

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Tensor:
        hidden: Tensor = self.acting["agent"].initial_hidden(num_envs, task.n_allies)
        return hidden

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The available action of the highest value."""
        avail = observation.avail_actions
        q, hidden = self.acting["agent"].act(
            task.layout, observation.obs, last_actions, hidden, avail_actions=avail
        )
        return PolicyOutput(q.masked_fill(~avail, -torch.inf).argmax(dim=-1), hidden)
