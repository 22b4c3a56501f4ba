"""HyGen: skills from recordings, then a policy over skills from recordings and live battles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hygen_lightning.algorithms.base import LRSchedule, action_accuracy
from hygen_lightning.algorithms.refinement import Allocation, Refinement, plan_of
from hygen_lightning.algorithms.skills import (
    SkillPolicy,
    candidates,
    exploring,
    prefer,
    sampled_action,
    skill_use,
)
from hygen_lightning.algorithms.value_learning import Conservative, ValueLearning
from hygen_lightning.checkpoint import weights_of
from hygen_lightning.losses import (
    LossSteps,
    relaxed_skill,
    return_weights,
    skill_distillation,
    skill_vae_loss,
    usage_balance,
)
from hygen_lightning.models import windows
from hygen_lightning.models.agents import AgentKind, SkillInput
from hygen_lightning.models.hygen_network import HyGenNetwork
from hygen_lightning.models.mixers import MixerKind
from hygen_lightning.models.trajectory_encoder import TemporalKind
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import EntityWidths, Episodes, OnPolicyEpisodes, TaskSpec, UserError

if TYPE_CHECKING:
    from hygen_lightning.policy import Policy
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
        skill_steps: environment steps for which a skill is kept, 1 as published; 0: the whole battle
        agent: observation encoder and decoder: transformers over entities (published), or pooled, small
            recurrent networks that cost a tenth
        skill_input: where the decoder reads the skill: bias of its head (published), or token, the
            agent's own, from which it can choose targets too
        width: embedding width of every token
        n_heads: attention heads, each of the embedding width
        depth: transformer blocks in observation encoder and action decoder
        id_bits: bits of the binary agent number; 4 bits number 15 agents, 0 leaves numbers out
        trajectory_encoder: how the trajectory encoder sees time; step is the authors' code
        mixer: how the team's value follows from the agents': attention over the state, or their sum
        pretrain_steps: optimiser steps of stage one
        lr: learning rate of Adam in both stages
        lr_schedule: constant, or linear or a cosine that falls to 2 % of it over each stage
        ema_decay: decay per optimiser step of the mean of the weights, which plays and, at the
            switch, starts stage two; 0: the weights themselves do, as the authors'
        beta: weight of the skill prior (KL of each skill to uniform) in stage one
        return_weight: an episode counts in proportion to exp(return_weight * z) in stage one's loss, also
            while it refines; z is its return less the mean of the batch's episodes of the task, in
            standard deviations; 0, as published: all alike
        balance: weight of the KL of the skills' mean use to uniform in stage one; 0 as published
        prior_weight: w in the choice of skills, argmax(Q + w log p), p being the agent's own prediction;
            above 0 stage one distils the prediction already, values start at zero, and the policy of
            stage one counts for best.ckpt; 0 as published
        prior_steps: optimiser steps of stage two over which w falls to 0, linearly; 0: it stays
        gamma: discount per environment step
        td_lambda: 0 learns from the next step's value, above it from lambda-returns, up to 1: whole
            returns as they were played
        conservative: weight c of the conservative term: off, constant, or the offline share
        conservative_constant: c when conservative is constant
        alpha: factor of the conservative term
        phi: factor of the skill distillation
        target_update_interval: optimiser steps between two copies into the target networks
        refine_battles: battles of every task that stage two plays at once, by sampled choices, to go on
            learning the decoder and the choice of skills from them on-policy; 0, as published: it
            learns values of skills from the replay buffer. It starts from a prior_weight above 0
        refine_allocation: equal, or defeats: tasks with more defeats in the last chunk play more of the next;
            `refine_battles` is the mean over tasks, and a quarter of it the least
        refine_skill_battles: battles of every task, before the first chunk, in which all agents use skill k
            throughout, for each k: stage two begins with the skill that wins most, if it wins more than
            the choice of stage one by a standard error; 0: with that choice
        refine_epochs: passes over these battles
        refine_minibatches: optimiser steps of a pass
        refine_clip: how far (0..1) a probability ratio may move before its gain is cut
        refine_entropy: weight of the entropies of actions and skills
        refine_distinct: weight, in the advantage of an action, of the log probability that the trajectory
            encoder tells the agent's skill from what it did; 0: off
        refine_random_skills: probability (0..0.99) with which a choice of a skill is drawn uniformly while
            it refines, so that all of them go on learning
        teacher_weight: weight of stage one's loss on recordings while it refines, times the offline share
        loss_steps: steps that cross-entropies sum over: valid ones, or all stored as the authors do
        skills_from: checkpoint whose networks stage two starts from (use pretrain_steps 0)
        compile: run the transformer blocks through torch.compile
    """

    network: HyGenNetwork
    prior: Tensor

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        n_skills: int = 5,
        skill_steps: int = 1,
        agent: AgentKind = "transformer",
        skill_input: SkillInput = "bias",
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
        return_weight: float = 0.0,
        balance: float = 0.0,
        prior_weight: float = 0.0,
        prior_steps: int = 0,
        gamma: float = 0.99,
        td_lambda: float = 0.0,
        conservative: Conservative = "share",
        conservative_constant: float = 1.0,
        alpha: float = 5.0,
        phi: float = 5.0,
        target_update_interval: int = 50,
        refine_battles: int = 0,
        refine_allocation: Allocation = "equal",
        refine_skill_battles: int = 0,
        refine_epochs: int = 3,
        refine_minibatches: int = 4,
        refine_clip: float = 0.2,
        refine_entropy: float = 0.01,
        refine_distinct: float = 0.0,
        refine_random_skills: float = 0.0,
        teacher_weight: float = 1.0,
        loss_steps: LossSteps = "valid",
        skills_from: str | None = None,
        compile: bool = False,
    ) -> None:
        learning = lr, lr_schedule, ema_decay, compile, gamma, td_lambda
        values = conservative, conservative_constant, alpha, target_update_interval
        super().__init__(widths, *learning, *values)
        if pretrain_steps < 0:
            raise UserError(f"--model.pretrain_steps is {pretrain_steps}; give 0 or more optimiser steps")
        sizes = n_skills, width, n_heads, depth, id_bits
        self.network = HyGenNetwork(self.widths, *sizes, trajectory_encoder, mixer, skill_input, agent)
        self.pretrain_steps, self.beta, self.phi = pretrain_steps, beta, phi
        self.skill_steps, self.balance, self.return_weight = skill_steps, balance, return_weight
        self.prior_weight, self.prior_steps = prior_weight, prior_steps
        if prior_weight > 0:
            self.register_buffer("prior", torch.tensor(float(prior_weight)))
            nn.init.zeros_(self.network.q_head.weight)
            nn.init.zeros_(self.network.q_head.bias)
        self.loss_steps: LossSteps = loss_steps
        self.teacher_weight = teacher_weight
        if refine_battles > 0:
            self.check_minibatches("refine_minibatches", "refine_battles")
            self.refinement = Refinement(
                self, refine_clip, refine_entropy, refine_distinct, refine_random_skills
            )
        passes = refine_epochs, refine_minibatches
        plays = refine_battles, refine_allocation, refine_skill_battles
        self.chunk_plan = plan_of(*plays, *passes, prior_weight)
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
        """Without a prior, stage one leaves the choice of skills untrained."""
        return self.value_steps() >= (0 if self.prior_weight > 0 else 1)

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
        if self.prior_weight > 0 and self.prior_steps > 0:
            left = 1 - max(self.value_steps(), 0) / self.prior_steps
            self.prior.fill_(self.prior_weight * max(left, 0.0))

    def _switch_to_stage_two(self) -> None:
        """The networks as they play, and a fresh Adam: no moments of stage one survive."""
        self.network.load_state_dict(self.acting.state_dict())
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.state.clear()

    def on_after_backward(self) -> None:
        """Stage two leaves trajectory encoder, skill head and decoder as they are, unless it refines them."""
        if self.in_stage_two and self.chunk_plan is None:
            net = self.network
            for frozen in (net.trajectory_encoder, net.skill_head, net.action_decoder):
                frozen.zero_grad()

    # Losses

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        if self.in_stage_two and self.chunk_plan is None:
            return self.policy_loss(episodes, offline_share)
        loss, metrics = self.skill_loss(episodes)
        if self.in_stage_two:
            return self.teacher_weight * offline_share * loss, metrics
        if self.chunk_plan is not None:
            loss = loss + self.refinement.critic_loss(episodes)
        return loss, metrics

    def chunk_loss(self, chunk: OnPolicyEpisodes) -> tuple[Tensor, dict[str, Tensor]]:
        return self.refinement.loss(self, chunk)

    def prepare_battles(self, episodes: Episodes, skills: Tensor) -> OnPolicyEpisodes:
        return self.refinement.prepare(self, episodes, skills)

    def skill_loss(self, episodes: Episodes) -> tuple[Tensor, dict[str, Tensor]]:
        """Stage one: the recorded actions, told by relaxed skills."""
        layout, net = episodes.task.layout, self.network
        steps, mask = episodes.map(lambda x: x[:, :-1]), episodes.mask[:, :-1]
        last_actions = episodes.last_actions[:, :-1]
        logits = net.skill_logits(layout, episodes.state, episodes.actions, episodes.filled)[:, :-1]
        logits = windows.pool(logits, mask, self.skill_steps)
        skill = self._hold(relaxed_skill(logits), mask)
        action_logits = net.decode(layout, steps.obs, last_actions, skill, steps.filled)
        weight = return_weights(steps.reward, mask, self.return_weight) if self.return_weight > 0 else None
        parts = skill_vae_loss(action_logits, steps.actions, skill, mask, self.beta, self.loss_steps, weight)
        loss, logits = parts.loss, self._hold(logits, mask)
        metrics = {
            "cross_entropy": parts.cross_entropy.detach(),
            "skill_kl": parts.kl.detach(),
            "action_accuracy": action_accuracy(action_logits, steps, mask),
        }
        if self.balance > 0:
            unbalance = usage_balance(logits, mask)
            loss = loss + self.balance * unbalance
            metrics["balance_kl"] = unbalance.detach()
        labels = logits.argmax(dim=-1)
        if self.prior_weight > 0:
            local_logits = net.predict_skills(layout, steps.obs, last_actions, steps.filled)
            distillation, told = self._distillation(local_logits, labels, mask, weight)
            loss, metrics = loss + self.phi * distillation, metrics | told
        return loss, metrics | skill_use(labels, mask, logits.shape[-1])

    def policy_loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Stage two: double-Q over skills, conservative term, distillation."""
        layout, net, filled, mask = episodes.task.layout, self.network, episodes.filled, episodes.mask
        with torch.no_grad():
            logits = net.skill_logits(layout, episodes.state, episodes.actions, filled)
            labels = self._hold(windows.pool(logits, mask, self.skill_steps).argmax(dim=-1), mask)
            target_q = self.target["q_head"](
                self.target["encoder"](layout, episodes.obs, episodes.last_actions, filled)
            )
        q, local_logits = net.observe(layout, episodes.obs, episodes.last_actions, filled)
        distillation, told = self._distillation(local_logits, labels, mask)
        chosen, window = self.choose(q.detach(), local_logits.detach()), 1
        if self.skill_steps != 1:
            window = self.skill_steps or episodes.n_steps
            episodes, at = windows.decisions(episodes, self.skill_steps, self.gamma)
            rows = torch.arange(len(at), device=at.device).unsqueeze(1)
            q, target_q, labels, chosen = (x[rows, at] for x in (q, target_q, labels, chosen))
        parts, metrics = self.value_loss(
            q, target_q, labels, episodes, offline_share, window_env_steps=window
        )
        metrics |= told | skill_use(chosen, episodes.mask, q.shape[-1])
        return parts.loss + self.phi * distillation, metrics

    def _hold(self, values: Tensor, mask: Tensor) -> Tensor:
        """Each window's values [B, W, ...] at its steps [B, T, ...], T of mask [B, T]."""
        return windows.hold(values, mask.shape[1], self.skill_steps)

    def _distillation(
        self, local_logits: Tensor, labels: Tensor, mask: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the agents' own predictions [B, T, A, Z] of the labels [B, T, A], and what to log of it."""
        distillation = skill_distillation(local_logits, labels, mask, self.loss_steps, weight)
        return distillation, {
            "distillation_loss": distillation.detach(),
            "distillation_accuracy": (local_logits.argmax(-1) == labels)[mask].float().mean(),
        }

    # Acting

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> tuple[Tensor, ...]:
        """Of the networks, [B, A, D] each; where skills last, also the skill kept [B, A] and its age [B].

        All are floats, so that whoever runs an exported policy begins with zeros of one kind.
        """
        hidden: tuple[Tensor, ...] = self.acting.initial_hidden(task.layout, num_envs)
        if self.skill_steps == 1:
            return hidden
        skill = hidden[0].new_zeros(hidden[0].shape[:2])
        return *hidden, skill, skill[:, 0]

    def skill_scores(self, q: Tensor, local_logits: Tensor) -> Tensor:
        """What skills are chosen by [..., Z]: their values Q, with a prior Q + w log p."""
        return q + self.prior * local_logits.log_softmax(dim=-1) if self.prior_weight > 0 else q

    def choose(self, q: Tensor, local_logits: Tensor) -> Tensor:
        """The `SkillChoice` of the learned policy: the best score."""
        return self.skill_scores(q, local_logits).argmax(dim=-1)

    def sampling(self, generator: torch.Generator) -> Policy:
        draw, by = sampled_action(generator), self.refinement.skill_log_probs
        return SkillPolicy(self, lambda q, logits: draw(by(self.skill_scores(q, logits))), draw)

    def candidates(self) -> dict[str, Policy]:
        return candidates(self)

    def begin_with(self, candidate: str) -> None:
        prefer(self, candidate)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The chosen skill, kept for `skill_steps`, then the decoder's best available action."""
        return SkillPolicy(self, self.choose).act(task, observation, last_actions, last_reward, hidden)

    def exploring(self, epsilon: float, generator: torch.Generator) -> Policy:
        return SkillPolicy(self, exploring(self.choose, epsilon, self.network.n_skills, generator))
