"""What acts, and what it learns from: all that rollouts and the DataModule know of an algorithm.

A policy acts on observations and carries a hidden state. A learner offers the methods of one or two of
`LearnsFromEpisodes`, `LearnsFromChunks` and `LearnsFromBattles`; there is nothing to derive from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hygen_lightning.specs import Chunk, Episodes, Observation, OnPolicyEpisodes, TaskSpec

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


# What a learner offers


@runtime_checkable
class LearnsFromEpisodes(Protocol):
    """It learns from whole episodes, recorded ones or played ones, whoever played them."""

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one task's episodes (a scalar) and what to log of it, by name.

        offline_share: the share (0..1) of them that is recorded; they come first."""
        ...


@runtime_checkable
class LearnsOnPolicy(Protocol):
    """It learns from what its own policy has just played: the part that chunks and battles share.

    How much is played, and how often it is learned from, says `MultiTaskAlgorithm.chunk_plan`."""

    def chunk_loss(self, chunk: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a minibatch of what `prepare` or `prepare_battles` gave for one task (a scalar), and
        what to log of it, by name."""
        ...


@runtime_checkable
class LearnsFromChunks(LearnsOnPolicy, SamplingPolicy, Protocol):
    """It learns from chunks of endless battles, in which it draws its actions by `sample`."""

    def prepare(self, chunk: Chunk) -> Chunk:
        """A chunk that has been played, with all that `chunk_loss` needs beside it."""
        ...


@runtime_checkable
class LearnsFromBattles(LearnsOnPolicy, Protocol):
    """It learns from whole battles, in which `sampling` draws its choices (`ChunkPlan.env_steps` 0)."""

    def sampling(self, generator: torch.Generator) -> Policy:
        """The policy that draws its choices by their probability."""
        ...

    def prepare_battles(self, episodes: Episodes, skills: Tensor) -> OnPolicyEpisodes:
        """Battles that have been played, with all that `chunk_loss` needs beside them.

        skills [B, T, A] int64: the choices, -1 after the end."""
        ...


@runtime_checkable
class SelectsCandidate(Protocol):
    """It can begin to learn on-policy with one of several policies."""

    def candidates(self) -> dict[str, Policy]:
        """By name; the one that it begins with otherwise comes first."""
        ...

    def begin_with(self, candidate: str) -> None:
        """Begin with the candidate of this name."""
        ...


@runtime_checkable
class ExploresSkills(Protocol):
    """It chooses among skills, and can choose them at random."""

    def exploring(self, epsilon: float, generator: torch.Generator) -> Policy:
        """The policy whose choices of a skill are random with probability epsilon (0..1)."""
        ...
