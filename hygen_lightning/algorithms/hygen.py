"""HyGen: skills from recordings, then a policy over skills from recordings and live battles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hygen_lightning.algorithms.base import LRSchedule, action_accuracy
from hygen_lightning.algorithms.value_learning import Conservative, ValueLearning
from hygen_lightning.checkpoint import weights_of
from hygen_lightning.losses import LossSteps, relaxed_skill, skill_distillation, skill_vae_loss
from hygen_lightning.models.agents import HiddenState, HyGenNetwork
from hygen_lightning.models.mixers import MixerKind
from hygen_lightning.models.trajectory_encoder import TemporalKind
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import EntityWidths, Episodes, TaskSpec, UserError

if TYPE_CHECKING:
    from hygen_lightning.specs import Observation

SKILLS, POLICY = "stage one: skills", "stage two: policy"


class HyGen(ValueLearning):
    """Both stages of HyGen (arXiv 2408.13567) in one run.

    Stage one, `pretrain_steps` optimiser steps: a trajectory encoder names the skill of each agent
    at each step, and an action decoder repeats the recorded actions from it. Stage two begins with a
    fresh optimiser, leaves both as they are, and learns values of skills by double-Q and mixing.

    Args:
        widths: entity features of the task family; follows from the tasks
        n_skills: skills that the policy chooses among
        width: embedding width of every token
        n_heads: attention heads, each of the embedding width
        depth: transformer blocks in observation encoder and action decoder
        id_bits: bits of the binary agent number; 4 bits number 15 agents, 0 leaves numbers out
        trajectory_encoder: how the trajectory encoder sees time; step is the authors' code
        mixer: how the team's value follows from the agents': attention over the state, or their sum
        pretrain_steps: optimiser steps of stage one
        lr: learning rate of Adam in both stages
        lr_schedule: constant, or a cosine that falls to 2 % of it over each stage
        ema_decay: decay per optimiser step of the mean of the weights, which plays and, at the
            switch, starts stage two; 0: the weights themselves do, as the authors'
        beta: weight of the skill prior (KL to uniform) in stage one
        gamma: discount per environment step
        td_lambda: 0 learns from the next step's value, above it from lambda-returns, up to 1: whole
            returns as they were played
        conservative: weight c of the conservative term: off, constant, or the offline share
        conservative_constant: c when conservative is constant
        alpha: factor of the conservative term
        phi: factor of the skill distillation
        target_update_interval: optimiser steps between two copies into the target networks
        loss_steps: steps that cross-entropies sum over: valid ones, or all stored as the authors do
        skills_from: checkpoint whose networks stage two starts from (use pretrain_steps 0)
        compile: run the transformer blocks through torch.compile
    """

    network: HyGenNetwork

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        n_skills: int = 5,
        width: int = 64,
        n_heads: int = 8,
        depth: int = 1,
        id_bits: int = 4,
        trajectory_encoder: TemporalKind = "step",
        mixer: MixerKind = "attention",
        pretrain_steps: int = 5000,
        lr: float = 5e-4,
        lr_schedule: LRSchedule = "constant",
        ema_decay: float = 0.0,
        beta: float = 1e-3,
        gamma: float = 0.99,
        td_lambda: float = 0.0,
        conservative: Conservative = "share",
        conservative_constant: float = 1.0,
        alpha: float = 5.0,
        phi: float = 5.0,
        target_update_interval: int = 50,
        loss_steps: LossSteps = "valid",
        skills_from: str | None = None,
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
        if pretrain_steps < 0:
            raise UserError(f"--model.pretrain_steps is {pretrain_steps}; give 0 or more optimiser steps")
        self.network = HyGenNetwork(
            self.widths, n_skills, width, n_heads, depth, id_bits, trajectory_encoder, mixer
        )
        self.pretrain_steps, self.beta, self.phi = pretrain_steps, beta, phi
        self.loss_steps: LossSteps = loss_steps
        if skills_from is not None:
            self.network.load_state_dict(weights_of(skills_from, self.network, "skills_from"))
            self.hparams["skills_from"] = None  # a checkpoint of this model brings the weights itself
        self.keep_average()
        self.keep_target()

    def value_networks(self) -> dict[str, nn.Module]:
        net = self.network
        return {"encoder": net.observation_encoder, "q_head": net.q_head, "mixer": net.mixer}

    # Stages

    @property
    def offline_phase_steps(self) -> int:
        return self.pretrain_steps

    @property
    def in_stage_two(self) -> bool:
        return self.global_step >= self.pretrain_steps

    @property
    def policy_has_learned(self) -> bool:
        """Stage one leaves the choice of skills untrained."""
        return self.global_step > self.pretrain_steps

    def value_steps(self) -> int:
        return self.global_step - self.pretrain_steps

    def stage_share(self, step: int) -> float:
        """Each stage has a schedule of its own."""
        if step < self.pretrain_steps:
            return step / self.pretrain_steps
        return (step - self.pretrain_steps) / max(self.trainer.max_steps - self.pretrain_steps, 1)

    def stage_name(self) -> str:
        return POLICY if self.in_stage_two else SKILLS

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.global_step == self.pretrain_steps:
            self._switch_to_stage_two()
        super().on_train_batch_start(batch, batch_idx)

    def _switch_to_stage_two(self) -> None:
        """The networks as they play, and a fresh Adam: no moments of stage one survive."""
        self.network.load_state_dict(self.acting.state_dict())
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.state.clear()

    def on_after_backward(self) -> None:
        """Stage two leaves the trajectory encoder, the skill head and the decoder as they are."""
        if self.in_stage_two:
            for frozen in (
                self.network.trajectory_encoder,
                self.network.skill_head,
                self.network.action_decoder,
            ):
                for parameter in frozen.parameters():
                    parameter.grad = None

    # Losses

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        if self.in_stage_two:
            return self.policy_loss(episodes, offline_share)
        return self.skill_loss(episodes)

    def skill_loss(self, episodes: Episodes) -> tuple[Tensor, dict[str, Tensor]]:
        """Stage one: the recorded actions, told by relaxed skills."""
        layout, net = episodes.task.layout, self.network
        logits = net.skill_logits(layout, episodes.state, episodes.actions, episodes.filled)
        acted = episodes.map(lambda x: x[:, :-1])
        skill = relaxed_skill(logits[:, :-1])
        action_logits = net.decode(layout, acted.obs, episodes.last_actions[:, :-1], skill, acted.filled)
        mask = episodes.mask[:, :-1]
        parts = skill_vae_loss(action_logits, acted.actions, skill, mask, self.beta, self.loss_steps)
        metrics = {
            "cross_entropy": parts.cross_entropy.detach(),
            "skill_kl": parts.kl.detach(),
            "action_accuracy": action_accuracy(action_logits, acted, mask),
        }
        return parts.loss, metrics | skill_use(logits[:, :-1].argmax(-1), mask, logits.shape[-1])

    def policy_loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Stage two: double-Q over skills, conservative term, distillation."""
        layout, net, filled = episodes.task.layout, self.network, episodes.filled
        with torch.no_grad():
            labels = net.skill_logits(layout, episodes.state, episodes.actions, filled).argmax(dim=-1)
            target_q = self.target["q_head"](
                self.target["encoder"](layout, episodes.obs, episodes.last_actions, filled)
            )
        q, local_logits = net.observe(layout, episodes.obs, episodes.last_actions, filled)
        parts, metrics = self.value_loss(q, target_q, labels, episodes, offline_share)
        mask = episodes.mask
        distillation = skill_distillation(local_logits, labels, mask, self.loss_steps)
        metrics |= {
            "distillation_loss": distillation.detach(),
            "distillation_accuracy": (local_logits.argmax(-1) == labels)[mask].float().mean(),
        }
        return parts.loss + self.phi * distillation, metrics | skill_use(q.argmax(-1), mask, q.shape[-1])

    # Acting

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> HiddenState:
        return self.acting.initial_hidden(task.layout, num_envs)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """Greedy skill, then the decoder's best available action."""
        avail = observation.avail_actions
        step = self.acting.act_step(task.layout, observation.obs, last_actions, hidden, avail_actions=avail)
        logits = step.action_logits.masked_fill(~avail, -torch.inf)
        return PolicyOutput(logits.argmax(dim=-1), step.hidden, step.skill)


def skill_use(skills: Tensor, mask: Tensor, n_skills: int) -> dict[str, Tensor]:
    """skills [B, T, A] int64, mask [B, T] -> share of valid steps spent in each skill."""
    counts = torch.bincount(skills[mask].flatten(), minlength=n_skills).float()
    shares = counts / counts.sum().clamp(min=1)
    return {f"skill{index}_use": share for index, share in enumerate(shares.unbind())}
