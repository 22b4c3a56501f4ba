"""MAPPO on entities: the online learner, one recurrent policy for all tasks of a family."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hygen_lightning.algorithms.base import LRSchedule, MultiTaskAlgorithm
from hygen_lightning.checkpoint import weights_of
from hygen_lightning.losses import clipped_policy_loss, generalised_advantages, masked_mean
from hygen_lightning.models.pooled import PooledActor, PooledCritic
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import Chunk, ChunkPlan, EntityWidths, TaskSpec, UserError

if TYPE_CHECKING:
    from hygen_lightning.specs import Observation


class MAPPO(MultiTaskAlgorithm):
    """MAPPO (Yu et al. 2022) with networks over pooled entities; it needs no recordings.

    It plays `num_envs` endless battles of every task, `chunk_env_steps` steps at a time, and learns
    from each chunk in `epochs` passes of `minibatches` optimiser steps. All agents share one policy
    and the team's advantage; the critic sees the state and the clock.

    Args:
        widths: entity features of the task family; follows from the tasks
        width: width of the policy's hidden state
        entity_width: embedding width of an observed entity
        critic_width: width of the critic's layers; its entities have half of it
        lr: learning rate of Adam
        lr_schedule: constant, or linear or a cosine that falls to 2 % of it over the run
        ema_decay: decay per optimiser step of the mean of the weights, which plays; 0: none
        gamma: discount per environment step
        gae_lambda: 0 learns from the next step's value, 1 from whole returns (GAE)
        clip: how far (0..1) the probability ratio of an action may move before its gain is cut
        entropy: weight of the policy's entropy at the start
        entropy_end: weight of the policy's entropy at the end of the run; linear between
        value_weight: weight of the critic's loss
        reward_scale: rewards are multiplied by it; battles' returns are up to 20
        num_envs: battles of every task side by side, per rank
        chunk_env_steps: environment steps of a chunk
        epochs: passes over a chunk
        minibatches: optimiser steps of a pass; each sees its part of the battles of every task
        init_from: checkpoint of MAPPO, with the same widths, that training starts from
    """

    network: nn.ModuleDict

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        width: int = 64,
        entity_width: int = 32,
        critic_width: int = 128,
        lr: float = 2e-3,
        lr_schedule: LRSchedule = "linear",
        ema_decay: float = 0.0,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        entropy: float = 0.02,
        entropy_end: float = 0.002,
        value_weight: float = 1.0,
        reward_scale: float = 0.1,
        num_envs: int = 256,
        chunk_env_steps: int = 32,
        epochs: int = 3,
        minibatches: int = 4,
        init_from: str | None = None,
    ) -> None:
        super().__init__(widths, lr, lr_schedule, ema_decay, compile=False)
        self.chunk_plan = ChunkPlan(num_envs, chunk_env_steps, epochs, minibatches)
        self._check_options()
        self.network = nn.ModuleDict(
            {
                "actor": PooledActor(self.widths, width, entity_width),
                "critic": PooledCritic(self.widths, critic_width, critic_width // 2),
            }
        )
        if init_from is not None:
            self.network.load_state_dict(weights_of(init_from, self.network, "init_from"))
            self.hparams["init_from"] = None  # a checkpoint of this model brings the weights itself
        self.keep_average()

    def _check_options(self) -> None:
        given = self.hparams
        for name in ("gamma", "gae_lambda"):
            if not 0 <= given[name] <= 1:
                raise UserError(f"--model.{name} is {given[name]}; give a number between 0 and 1")
        for name in ("clip", "reward_scale"):
            if given[name] <= 0:
                raise UserError(f"--model.{name} is {given[name]}; give a number above 0")
        self.check_minibatches("minibatches", "num_envs")

    @property
    def offline_phase_steps(self) -> int:
        return 0

    def stage_name(self) -> str:
        return "MAPPO"

    # Learning

    @torch.no_grad()
    def prepare(self, chunk: Chunk) -> Chunk:
        """Add advantages, of mean 0 and deviation 1 over the chunk, and the critic's targets."""
        plan = self.hparams
        value = self.network["critic"](chunk.task.layout, chunk.state, _time(chunk))
        advantage = generalised_advantages(
            chunk.reward * plan["reward_scale"],
            value,
            chunk.terminated,
            chunk.truncated,
            plan["gamma"],
            plan["gae_lambda"],
        )
        target = advantage + value[:, :-1]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-5)
        return replace(chunk, advantage=advantage, value_target=target)

    def chunk_loss(self, chunk: Chunk) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped objective with the entropy's weight of this step, and the critic's squared error."""
        layout, options = chunk.task.layout, self.hparams
        logits = self.network["actor"](
            layout, chunk.obs, chunk.last_actions, hidden=chunk.hidden, begins=chunk.begins
        )
        log_probs = logits.masked_fill(~chunk.avail_actions, -torch.inf).log_softmax(dim=-1)
        assert chunk.advantage is not None
        assert chunk.value_target is not None
        policy = clipped_policy_loss(
            log_probs,
            chunk.actions,
            chunk.log_probs,
            chunk.advantage,
            chunk.acts,
            options["clip"],
            self.entropy_weight(),
        )
        value = self.network["critic"](layout, chunk.state[:, :-1], _time(chunk)[:, :-1])
        error = masked_mean((value - chunk.value_target).square(), torch.ones_like(chunk.begins))
        metrics = {
            "policy_loss": policy.policy.detach(),
            "value_loss": error.detach(),
            "entropy": policy.entropy.detach(),
            "kl": policy.kl,
            "clipped": policy.clipped,
        }
        return policy.loss + options["value_weight"] * error, metrics

    def entropy_weight(self) -> float:
        """From `entropy` to `entropy_end` over the run."""
        begin, end = self.hparams["entropy"], self.hparams["entropy_end"]
        weight: float = begin + (end - begin) * min(max(self.stage_share(self.global_step), 0.0), 1.0)
        return weight

    # Acting

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Tensor:
        hidden: Tensor = self.acting["actor"].initial_hidden(num_envs, task.n_allies)
        return hidden

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The most likely available action."""
        logits, hidden = _step(self.acting, task, observation, last_actions, hidden)
        return PolicyOutput(logits.argmax(dim=-1), hidden)

    def sample(
        self,
        task: TaskSpec,
        observation: Observation,
        last_actions: Tensor,
        last_reward: Tensor,
        hidden: Any,
        generator: torch.Generator | None = None,
    ) -> PolicyOutput:
        """Actions drawn by their probability, from the weights that learn; see `SamplingPolicy`."""
        logits, hidden = _step(self.network, task, observation, last_actions, hidden)
        log_probs = logits.log_softmax(dim=-1)
        noise = torch.empty(log_probs.shape).exponential_(generator=generator).to(log_probs.device)
        actions = (log_probs - noise.log()).argmax(dim=-1)  # Gumbel: adding it draws by probability
        return PolicyOutput(actions, hidden, log_probs=log_probs.gather(-1, actions.unsqueeze(-1))[..., 0])


def _step(
    network: Any, task: TaskSpec, observation: Observation, last_actions: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits [B, A, K] of one step, -inf where an action is not available, and the next hidden state."""
    logits, hidden = network["actor"].act(task.layout, observation.obs, last_actions, hidden)
    return logits.masked_fill(~observation.avail_actions, -torch.inf), hidden


def _time(chunk: Chunk) -> Tensor:
    """[B, T + 1]: share of the time limit that has passed."""
    return chunk.clock.float() / chunk.task.episode_limit_env_steps
