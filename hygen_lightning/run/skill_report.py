"""What HyGen's skills carry: battles with each of them fixed, by chance, as predicted and as learned."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hygen_lightning.algorithms.skills import SkillPolicy, best_action, choices, sampled_action
from hygen_lightning.envs import make_env
from hygen_lightning.rollouts.runner import Rollout, play
from hygen_lightning.seeding import battle_seeds, stream_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hygen_lightning.algorithms.hygen import HyGen
    from hygen_lightning.specs import Episodes, TaskSpec

Way = Literal["greedy", "sampled", "noisy"]
WAYS: tuple[Way, ...] = ("greedy", "sampled", "noisy")
"""The best action, actions by their probability, the best action but for 5 % random ones."""
NOISE = 0.05
LEARNED, TRIED = "learned", "best tried"
CHANCE = 0.05
"""Skills carry something where equal ones would differ so much in fewer than this share of samples."""
ALIKE = 0.9
"""Skills of which two choose the same action in this share (0..1) of the steps act alike."""
_BATTLES_AT_ONCE = 256


@dataclass
class SkillReport:
    """Battles of one task.

    win_rates: who chooses the skills ("learned", "predicted", "random", "skill 0", ..., "best tried": the
    fixed skill that won most of the other half of the battles) -> way -> 0..1.
    agreement: share (0..1) of the choices of an action, in battles of the learned policy, that two skills
    make alike. use [Z]: share of agent steps in each skill there; use_by_step [T, Z]: of each time step.
    battle [T, A]: the skills of one such battle. p_value: chance that skills that are all alike would
    win as differently, in greedy battles.
    """

    task: str
    battles: int
    win_rates: dict[str, dict[Way, float]]
    agreement: float
    use: Tensor
    use_by_step: Tensor
    battle: Tensor
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {name: value for name, value in vars(self).items() if name != "task"}
        return {name: x.tolist() if isinstance(x, Tensor) else x for name, x in told.items()}


def measure_skills(
    model: HyGen, task: TaskSpec, battles: int, env: str, seed: int, ways: Sequence[Way] = ()
) -> SkillReport:
    """Play the same battles with every choice of skills, in every way (or these, the first is greedy)."""
    model, ways = model.eval(), ways or WAYS
    seeds = battle_seeds(battles, seed, "skills", task.name)
    chance = stream_generator(seed, "random skills", task.name)
    chosen = choices(model, chance)
    won: dict[Way, dict[str, Tensor]] = {way: {} for way in ways}
    learned: Rollout | None = None
    for who, choose in chosen.items():
        for way in ways:
            draws = stream_generator(seed, way, task.name, who)
            policy = SkillPolicy(model, choose, sampled_action(draws) if way == "sampled" else best_action)
            played = _play(policy, task, env, seeds, NOISE if way == "noisy" else 0.0, draws)
            won[way][who] = played.success.double()
            learned = played if learned is None else learned
    assert learned is not None  # the first choice is the learned one
    assert learned.skills is not None
    acted = learned.episodes.mask[:, :-1]
    skills = learned.skills[:, :-1]
    used = torch.nn.functional.one_hot(skills.clamp(min=0), model.network.n_skills).double()
    used = torch.where(acted[:, :, None, None], used, 0).sum(dim=2)
    by_step = used.sum(dim=0)
    win_rates = {who: {way: float(won[way][who].mean()) for way in ways} for who in chosen}
    win_rates[TRIED] = {way: best_tried([won[way][who] for who in _fixed(chosen)]) for way in ways}
    fixed = [win_rates[who][ways[0]] for who in _fixed(chosen)]
    return SkillReport(
        task=task.name,
        battles=battles,
        win_rates=win_rates,
        agreement=_agreement(model, learned.episodes[:64]),
        use=by_step.sum(dim=0) / by_step.sum(),
        use_by_step=by_step / by_step.sum(dim=1, keepdim=True),
        battle=skills[0, : int(learned.lengths[0])],
        p_value=homogeneity(fixed, battles),
    )


def _fixed(choices: Iterable[str]) -> list[str]:
    """Those that are one skill for all."""
    return [who for who in choices if who.startswith("skill ")]


def best_tried(won: Sequence[Tensor]) -> float:
    """Win rate (0..1) of the skill that won most of the other half of the battles: both halves are tried
    and played in turn, so that no battle counts in which the skill was chosen.

    won: of each fixed skill, [B] of 0 and 1, the same battles for all.
    """
    rates = torch.stack(list(won))
    halves = rates[:, ::2], rates[:, 1::2]
    played = [here[there.mean(dim=1).nan_to_num().argmax()] for here, there in (halves, halves[::-1])]
    return float(torch.cat(played).mean())


def homogeneity(win_rates: Sequence[float], battles: int) -> float:
    """P value of Pearson's chi-square test that win rates over `battles` each are all the same."""
    rates = torch.tensor(win_rates, dtype=torch.float64)
    mean = rates.mean()
    if len(rates) < 2 or mean in (0, 1):
        return 1.0
    statistic = battles * ((rates - mean) ** 2).sum() / (mean * (1 - mean))
    return float(torch.special.gammaincc(torch.tensor((len(rates) - 1) / 2).double(), statistic / 2))


def verdict_on(reports: Sequence[SkillReport]) -> str:
    """One line: whether the fixed skills win differently, beyond noise, on one of the tasks; if not, whether
    they act differently at all."""
    told = []
    for report in reports:
        fixed = [report.win_rates[who]["greedy"] for who in _fixed(report.win_rates)]
        told.append(f"{report.task} {100 * min(fixed):.0f} to {100 * max(fixed):.0f} %")
    wins = ", ".join(told)
    if min(report.p_value for report in reports) < CHANCE:
        return f"skills differ in what they win ({wins})"
    agreement = min(report.agreement for report in reports)
    acts = f"two of them choose the same action in {100 * agreement:.0f} % of the steps"
    if agreement < ALIKE:
        return f"skills act differently ({acts}) and win alike ({wins})"
    return f"skills carry nothing: every fixed skill wins alike ({wins}), {acts}; see docs/skills.md"


def _play(
    policy: SkillPolicy, task: TaskSpec, env: str, seeds: Tensor, noise: float, draws: torch.Generator
) -> Rollout:
    parts = []
    for some in seeds.split(_BATTLES_AT_ONCE):
        with closing(make_env(env, task, len(some))) as battles:
            parts.append(play(battles, policy, some, noise, generator=draws))
    return Rollout.cat(parts)


@torch.no_grad()
def _agreement(model: HyGen, episodes: Episodes) -> float:
    """Share of choices of an action that two skills make alike; 1 where there is one skill."""
    layout, n_skills = episodes.task.layout, model.network.n_skills
    best = []
    for skill in torch.eye(n_skills):
        held = skill.expand(*episodes.actions.shape, n_skills)
        logits = model.acting.decode(layout, episodes.obs, episodes.last_actions, held, episodes.filled)
        best.append(logits.masked_fill(~episodes.avail_actions, -torch.inf).argmax(dim=-1))
    choice = episodes.mask[:, :, None] & (episodes.avail_actions.sum(dim=-1) > 1)
    chosen = torch.stack(best)[:, choice]
    pairs = [(chosen[i] == chosen[j]).double().mean() for i in range(n_skills) for j in range(i)]
    return float(torch.stack(pairs).mean()) if pairs else 1.0
