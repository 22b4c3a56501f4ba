"""All that a rollout knows of a policy: it acts on observations and carries a hidden state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hygen_lightning.specs import Observation, TaskSpec

AgentInputs = Literal["obs", "obs+last_action", "obs+agent_id", "obs+last_action+agent_id"]
"""What an agent of PyMARL sees; the parts stand in this order."""


@dataclass
class PolicyOutput:
    """actions [B, A] int64 (without exploration), the next hidden state, skills [B, A] int64 or None.

    log_probs [B, A] float: of the actions, where they were drawn by their probability; else None.
    """

    actions: Tensor
    hidden: Any
    skills: Tensor | None = None
    log_probs: Tensor | None = None


class Policy(Protocol):
    """Plays any task of its family, whatever the numbers of units."""

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Any:
        """Hidden state before the first step: a tree (dict, tuple) of tensors [B, ...] or None."""
        ...

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B environments.

        last_actions [B, A] int64: of the step before, -1 at the first. last_reward [B] float32: of
        the step before, 0 at the first. hidden: as the last call, or `initial_hidden`, returned it.
        """
        ...


class SamplingPolicy(Policy, Protocol):
    """A policy that can also draw its actions by their probability, which on-policy learners need."""

    def sample(
        self,
        task: TaskSpec,
        observation: Observation,
        last_actions: Tensor,
        last_reward: Tensor,
        hidden: Any,
        generator: torch.Generator | None = None,
    ) -> PolicyOutput:
        """As `act`, with actions drawn from `generator` (None: torch's own) and their `log_probs`."""
        ...
