"""How HyGen acts by skills that last, and who may choose them: itself, exploration, one fixed skill, ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hygen_lightning.models import windows
from hygen_lightning.models.hygen_network import SkillChoice
from hygen_lightning.policy import PolicyOutput

if TYPE_CHECKING:
    from hygen_lightning.algorithms.hygen import HyGen
    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import Observation, TaskSpec

FIXED_SKILL = "skill "
"""`skill 3`: all units use it, always."""
HEAD_START = 8.0
"""Added to the value of the skill that stage two begins with: where skills are not drawn by chance, its odds
against any other rise e^8-fold."""


def best_action(logits: Tensor) -> Tensor:
    """logits [B, A, K], -inf where unavailable -> the best action of each agent [B, A]."""
    return logits.argmax(dim=-1)


def sampled_action(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """As `best_action`, drawn by probability; one seed, the same draws on every device."""

    def draw(logits: Tensor) -> Tensor:
        shares = logits.softmax(dim=-1).flatten(0, 1).cpu()
        return torch.multinomial(shares, 1, generator=generator).view(logits.shape[:2]).to(logits.device)

    return draw


class SkillPolicy:
    """A HyGen model whose skills are chosen by `choose` and whose actions by `draw`; a `Policy`."""

    def __init__(
        self, model: HyGen, choose: SkillChoice, draw: Callable[[Tensor], Tensor] = best_action
    ) -> None:
        self.model, self.choose, self.draw = model, choose, draw

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Any:
        """See `hygen_lightning.policy.Policy`."""
        return self.model.initial_hidden(task, num_envs)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """The chosen skill, kept for the model's `skill_steps`, then an action by the decoder's logits."""
        model, avail = self.model, observation.avail_actions
        kept: tuple[Tensor, ...] = ()

        def lasting(q: Tensor, local_logits: Tensor) -> Tensor:
            nonlocal kept
            skill = self.choose(q, local_logits)
            if model.skill_steps != 1:
                before, age = hidden[2:]
                skill = torch.where(windows.begins(age, model.skill_steps)[:, None], skill, before.long())
                kept = skill.to(before.dtype), age + 1
            return skill

        step = model.acting.act_step(
            task.layout, observation.obs, last_actions, hidden[:2], avail_actions=avail, choose=lasting
        )
        logits = step.action_logits.masked_fill(~avail, -torch.inf)
        return PolicyOutput(self.draw(logits), (*step.hidden, *kept), step.skill)


def fixed(skill: int) -> SkillChoice:
    """Everybody uses this one."""
    return lambda q, local_logits: torch.full(q.shape[:-1], skill, device=q.device)


def predicted(q: Tensor, local_logits: Tensor) -> Tensor:
    """What the agent's own prediction holds most likely."""
    return local_logits.argmax(dim=-1)


def by_chance(n_skills: int, generator: torch.Generator) -> SkillChoice:
    """Each skill with the same chance."""
    return lambda q, local_logits: torch.randint(n_skills, q.shape[:-1], generator=generator).to(q.device)


def exploring(choose: SkillChoice, epsilon: float, n_skills: int, generator: torch.Generator) -> SkillChoice:
    """By `choose`, but with probability epsilon (0..1) by chance."""
    chance = by_chance(n_skills, generator)

    def explore(q: Tensor, local_logits: Tensor) -> Tensor:
        random = torch.rand(q.shape[:-1], generator=generator) < epsilon
        return torch.where(random.to(q.device), chance(q, local_logits), choose(q, local_logits))

    return explore


def choices(model: HyGen, generator: torch.Generator) -> dict[str, SkillChoice]:
    """Everybody who may choose: the learned policy, the agents' predictions, chance, and each skill alone."""
    n_skills = model.network.n_skills
    alone = {f"{FIXED_SKILL}{skill}": fixed(skill) for skill in range(n_skills)}
    return {
        "learned": model.choose,
        "predicted": predicted,
        "random": by_chance(n_skills, generator),
        **alone,
    }


def candidates(model: HyGen) -> dict[str, Policy]:
    """Those that stage two may begin with: the learned choice, then each skill alone."""
    chosen = choices(model, torch.Generator())
    names = ["learned", *(name for name in chosen if name.startswith(FIXED_SKILL))]
    return {name: SkillPolicy(model, chosen[name]) for name in names}


@torch.no_grad()
def prefer(model: HyGen, candidate: str) -> None:
    """Add `HEAD_START` to the value of the skill of this candidate, in the network and its average."""
    if candidate.startswith(FIXED_SKILL):
        for network in {model.network, model.acting}:
            network.q_head.bias[int(candidate.removeprefix(FIXED_SKILL))] += HEAD_START


def skill_use(skills: Tensor, mask: Tensor, n_skills: int) -> dict[str, Tensor]:
    """skills [B, T, A] int64, mask [B, T] -> share of valid steps spent in each skill."""
    counts = torch.bincount(skills[mask].flatten(), minlength=n_skills).float()
    shares = counts / counts.sum().clamp(min=1)
    return {f"skill{index}_use": share for index, share in enumerate(shares.unbind())}
