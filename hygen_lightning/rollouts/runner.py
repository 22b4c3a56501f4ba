"""Policy x environment -> episodes: many battles of one task, played together.

observation -> Policy.act -> actions, some of them random -> BattleEnv.step -> observation ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from hygen_lightning.envs.base import check_sizes
from hygen_lightning.specs import (
    EPISODE_TENSORS,
    Episodes,
    Observation,
    TensorStruct,
    TimeStep,
    UserError,
    zero_outside,
)

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.policy import Policy, PolicyOutput
    from hygen_lightning.specs import TaskSpec

_MOST_LOST = 3
"""How often an environment may lose a battle."""
_BROUGHT = ("reward", "terminated", "truncated")
"""What a step brings; the final observation of an episode has none of it."""


@dataclass
class Rollout:
    """B battles that were played to their end.

    success [B] bool. returns [B] float64: sums of rewards. explored [B] int64: actions that were
    drawn at random. skills [B, T, A] int64 where the policy chooses
    skills (-1 after the end), else None. lost: battles that the environment lost; they were dropped
    and played again.
    """

    episodes: Episodes
    success: Tensor
    returns: Tensor
    explored: Tensor
    skills: Tensor | None = None
    lost: int = 0

    def __getitem__(self, rows: Tensor) -> Rollout:
        """The battles rows [b] int64 or [B] bool."""
        tensors = self.success[rows], self.returns[rows], self.explored[rows]
        skills = None if self.skills is None else self.skills[rows]
        return Rollout(self.episodes[rows], *tensors, skills, self.lost)

    @classmethod
    def cat(cls, parts: Sequence[Rollout]) -> Rollout:
        """One batch of several of the same task."""
        skills = [part.skills for part in parts if part.skills is not None]
        longest = max((s.shape[1] for s in skills), default=0)
        pads = [(0, 0, 0, longest - s.shape[1]) for s in skills]
        return cls(
            Episodes.cat([part.episodes for part in parts]),
            torch.cat([part.success for part in parts]),
            torch.cat([part.returns for part in parts]),
            torch.cat([part.explored for part in parts]),
            torch.cat([torch.nn.functional.pad(s, p, value=-1) for s, p in zip(skills, pads)])
            if skills
            else None,
            sum(part.lost for part in parts),
        )

    @property
    def lengths(self) -> Tensor:
        """[B] int64: environment steps played (stored steps less the final one)."""
        return self.episodes.length - 1

    @property
    def random_share(self) -> float:
        """Share (0..1) of all actions that was drawn at random."""
        return int(self.explored.sum()) / (int(self.lengths.sum()) * self.episodes.task.n_allies)

    def survivors(self) -> tuple[Tensor, Tensor]:
        """Units in play at the end: allies [B], enemies [B]."""
        return self.episodes.task.survivors(self.episodes.final_state)


Share = TypeVar("Share", float, Tensor)


def bounded_variance(mean: Share, battles: int) -> Share:
    """Variance of the mean of so many battles, each of which counts between 0 and 1, from that mean (0..1).

    That of one is at most m (1 - m). A win and a defeat are added to the battles for m, so that it is above
    0 where all were won or lost.
    """
    m = (mean * battles + 1) / (battles + 2)
    return m * (1 - m) / battles


@torch.no_grad()
def play(
    env: BattleEnv,
    policy: Policy,
    seeds: Tensor,
    epsilon: float | Tensor = 0.0,
    opening: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Play one battle per seed to its end, as many at once as `env` holds.

    seeds [B] int64. With probability `epsilon` (0..1, one for all or [B]) an agent takes an
    available action drawn uniformly from `generator` instead of the policy's own; in the first
    `opening` [B] int64 environment steps of a battle it always does.
    """
    opening = torch.zeros(len(seeds), dtype=torch.int64) if opening is None else opening
    explore = _Exploration(torch.as_tensor(epsilon).expand(len(seeds)), opening, generator)
    parts = []
    for rows in torch.arange(len(seeds)).split(env.num_envs):
        parts.append(_play_until_whole(env, policy, seeds[rows], explore[rows]))
    return parts[0] if len(parts) == 1 else Rollout.cat(parts)


def _play_until_whole(env: BattleEnv, policy: Policy, seeds: Tensor, explore: _Exploration) -> Rollout:
    """Play battles at once, and those that the environment lost again: they are no defeats."""
    parts: list[Rollout] = []
    places: list[Tensor] = []
    rows = torch.arange(len(seeds))
    for _ in range(_MOST_LOST):
        here = env if len(rows) == env.num_envs else env.only(torch.arange(len(rows)))
        if here is None:
            raise ValueError(f"{env.name}: {len(rows)} battles in an environment that plays {env.num_envs}")
        played, lost = _play_at_once(here, policy, seeds[rows], explore[rows])
        if not lost.any():
            parts, places = [*parts, played], [*places, rows]
            return played if len(parts) == 1 else Rollout.cat(parts)[torch.cat(places).argsort()]
        told = f"{env.name}: {int(lost.sum())} of {len(lost)} battles on {env.task.name} were lost"
        print(f"{told}; they are dropped and played again", file=sys.stderr, flush=True)
        kept = replace(played[~lost], lost=int(lost.sum()))
        parts, places, rows = [*parts, kept], [*places, rows[~lost]], rows[lost]
    raise UserError(f"{env.name}: a battle on {env.task.name} was lost {_MOST_LOST} times")


def _play_at_once(
    env: BattleEnv, policy: Policy, seeds: Tensor, explore: _Exploration
) -> tuple[Rollout, Tensor]:
    """Exactly the battles that `env` holds, and which of them [B] bool it lost."""
    task = env.task
    steps: list[dict[str, Tensor]] = []
    now = _Battles.begun(env, policy, seeds)
    success = torch.zeros(env.num_envs, dtype=torch.bool, device=now.open.device)
    lost = success.clone()
    while True:
        output = policy.act(task, now.observation, now.last_actions, now.last_reward, now.hidden)
        actions, random = explore(output.actions, now.observation.avail_actions, now.rows, len(steps))
        going_on = bool(now.open.any())
        step = now.env.step(actions) if going_on else _nothing(now)
        steps.append(_row(now, actions, random, output, step))
        if not going_on:
            return _collect(task, env.num_envs, steps, success), lost.cpu()
        if len(steps) > task.episode_limit_env_steps:
            raise UserError(f"{env.name}: a battle goes on after the {len(steps) - 1} steps of {task.name}")
        success[now.rows] |= step.success & now.open
        if step.lost is not None:
            lost[now.rows] |= step.lost
        now = now.after(step, actions, output.hidden)


@dataclass
class _Exploration(TensorStruct):
    """When an agent acts at random: epsilon [B] float, and the first opening [B] int64 steps."""

    epsilon: Tensor
    opening: Tensor
    generator: torch.Generator | None

    def __call__(self, chosen: Tensor, avail: Tensor, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """chosen [b, A], avail [b, A, K] of the battles rows [b] -> actions and which are random [b, A]."""
        share = torch.where(self.opening > step, 1.0, self.epsilon)[rows.cpu()]
        if not bool((share > 0).any()):
            return chosen, torch.zeros_like(chosen, dtype=torch.bool)
        random = torch.rand(chosen.shape, generator=self.generator) < share.unsqueeze(1)
        drawn = torch.multinomial(avail.flatten(0, 1).float().cpu(), 1, generator=self.generator)
        random, drawn = random.to(chosen.device), drawn.view(chosen.shape).to(chosen.device)
        return torch.where(random, drawn, chosen), random


@dataclass
class _Battles(TensorStruct):
    """The b of B battles that are still played, and all that is known of them between two steps.

    rows [b] int64: which of the B. last_actions [b, A] int64, last_reward [b]. open [b] bool: not over.
    """

    env: BattleEnv
    observation: Observation
    hidden: Any
    rows: Tensor
    last_actions: Tensor
    last_reward: Tensor
    open: Tensor

    @classmethod
    def begun(cls, env: BattleEnv, policy: Policy, seeds: Tensor) -> _Battles:
        """All battles of an environment before their first step."""
        observation = env.reset(seeds)
        check_sizes(env, observation)
        device = observation.obs.device
        return cls(
            env,
            observation,
            policy.initial_hidden(env.task, env.num_envs),
            rows=torch.arange(env.num_envs, device=device),
            last_actions=torch.full((env.num_envs, env.task.n_allies), -1, device=device),
            last_reward=torch.zeros(env.num_envs, device=device),
            open=torch.ones(env.num_envs, dtype=torch.bool, device=device),
        )

    def after(self, step: TimeStep, actions: Tensor, hidden: Any) -> _Battles:
        """One step later. A battle leaves one step after its last, which stores its final observation."""
        left = replace(
            self,
            observation=step.observation,
            hidden=hidden,
            last_actions=actions,
            last_reward=step.reward,
            open=self.open & ~step.terminated,
        )
        return left._only(self.open) if 2 * int((~self.open).sum()) >= len(self.open) else left

    def _only(self, stay: Tensor) -> _Battles:
        """The battles of stay [b] bool; all of them where none can leave."""
        rows = stay.nonzero()[:, 0]
        env = self.env.only(rows)
        if env is None:
            return self
        picked, hidden = self.observation[rows], _picked(self.hidden, rows)
        return replace(self[rows], env=env, observation=picked, hidden=hidden)


def _picked(tree: Any, rows: Tensor) -> Any:
    """A tree (dict, tuple) of tensors [b, ...] or None, at these rows."""
    if isinstance(tree, dict):
        return {name: _picked(part, rows) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_picked(part, rows) for part in tree)
    return tree if tree is None else tree[rows]


def _nothing(now: _Battles) -> TimeStep:
    """What comes after the end: no reward, and nothing ends."""
    nobody = torch.zeros_like(now.open)
    return TimeStep(now.observation, torch.zeros_like(now.last_reward), nobody, nobody, nobody)


def _row(
    now: _Battles, actions: Tensor, random: Tensor, output: PolicyOutput, step: TimeStep
) -> dict[str, Tensor]:
    """What a step showed, what was done in it and what it brought, of the battles `rows`: [b, ...] each."""
    row = {**vars(now.observation), "actions": actions, "random": random, "open": now.open, "rows": now.rows}
    if output.skills is not None:
        row["skills"] = output.skills
    return row | {name: getattr(step, name) for name in _BROUGHT}


def _collect(task: TaskSpec, num_envs: int, steps: list[dict[str, Tensor]], success: Tensor) -> Rollout:
    """Stack rows over time and clear what lies behind each episode's end."""
    rows = [step.pop("rows").cpu() for step in steps]
    stacked = {name: _stacked([step[name] for step in steps], rows, num_envs) for name in steps[0]}
    acted = stacked["open"]
    filled = acted.clone()
    filled[:, 1:] |= acted[:, :-1]
    kept = {
        name: zero_outside(stacked[name], acted if name in _BROUGHT else filled)
        for name in EPISODE_TENSORS
        if name != "filled"
    }
    episodes = Episodes(task=task, filled=filled, **kept)
    returns = episodes.reward.double().sum(dim=1)
    explored = zero_outside(stacked["random"], acted).flatten(1).sum(dim=1)
    skills = torch.where(filled.unsqueeze(-1), stacked["skills"], -1) if "skills" in stacked else None
    return Rollout(episodes.trimmed(), success.cpu(), returns, explored, skills)


def _stacked(parts: list[Tensor], rows: list[Tensor], num_envs: int) -> Tensor:
    """Per step a part [b, ...] of the battles rows [b] -> [B, T, ...] on the CPU, zeros elsewhere."""
    stacked = parts[0].new_zeros((num_envs, len(parts), *parts[0].shape[1:]), device="cpu")
    whole = torch.cat(parts).cpu().split([len(part) for part in parts])
    for step, (part, here) in enumerate(zip(whole, rows)):
        stacked[here, step] = part
    return stacked
