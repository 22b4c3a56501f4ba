"""Policy x environment -> episodes: many battles of one task, played together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleLostError
from hygen_lightning.specs import Episodes, Observation, UserError

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv, TimeStep
    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import TaskSpec


_MOST_LOST = 3
"""How often in a row an environment may lose its battles."""
_OF_A_STEP = ("reward", "terminated", "truncated")
"""What a step brings; the final observation of an episode has none of it."""


@dataclass
class Rollout:
    """B battles that were played to their end.

    success [B] bool, returns [B] float64 (sum of rewards, the same whatever the padding), skills
    [B, T, A] int64 where the policy chooses skills (-1 after the end), else None.
    """

    episodes: Episodes
    success: Tensor
    returns: Tensor
    skills: Tensor | None = None

    @classmethod
    def cat(cls, parts: Sequence[Rollout]) -> Rollout:
        """One batch of several of the same task."""
        skills = [part.skills for part in parts if part.skills is not None]
        longest = max((s.shape[1] for s in skills), default=0)
        return cls(
            Episodes.cat([part.episodes for part in parts]),
            torch.cat([part.success for part in parts]),
            torch.cat([part.returns for part in parts]),
            torch.cat([_extended(s, longest) for s in skills]) if skills else None,
        )

    @property
    def lengths(self) -> Tensor:
        """[B] int64: environment steps played (stored steps less the final one)."""
        return self.episodes.length - 1

    def survivors(self) -> tuple[Tensor, Tensor]:
        """Units in play at the end: allies [B], enemies [B]."""
        return self.episodes.task.survivors(self.episodes.final_state)


def _extended(skills: Tensor, n_steps: int) -> Tensor:
    """skills [B, T, A] with -1 appended up to n_steps."""
    return torch.nn.functional.pad(skills, (0, 0, 0, n_steps - skills.shape[1]), value=-1)


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
    available action drawn uniformly from `generator` instead of the policy's own. For the
    first `opening` [B] steps of a battle it always does, so that battles start from many places.
    """
    share = torch.as_tensor(epsilon).expand(len(seeds))
    opening = torch.zeros(len(seeds), dtype=torch.int64) if opening is None else opening
    parts = []
    for some, epsilon, steps in zip(*(x.split(env.num_envs) for x in (seeds, share, opening))):
        here = env if len(some) == env.num_envs else env.only(torch.arange(len(some)))
        if here is None:
            raise ValueError(f"{env.name}: {len(some)} battles in an environment that plays {env.num_envs}")
        parts.append(_play_until_whole(here, policy, some, epsilon, steps, generator))
    return parts[0] if len(parts) == 1 else Rollout.cat(parts)


def _play_until_whole(env: BattleEnv, *how: Any) -> Rollout:
    """`_play_at_once`, again while the environment loses its battles: they are no defeats."""
    for _ in range(_MOST_LOST):
        try:
            return _play_at_once(env, *how)
        except BattleLostError as error:
            print(f"{error}; its battles begin anew", file=sys.stderr, flush=True)
            reason = str(error)
    raise UserError(f"{reason}, {_MOST_LOST} times in a row")


def _play_at_once(
    env: BattleEnv,
    policy: Policy,
    seeds: Tensor,
    epsilon: Tensor,
    opening: Tensor,
    generator: torch.Generator | None,
) -> Rollout:
    """`play` for exactly the battles that `env` holds. wander [B]: share of random actions."""
    task, num_envs = env.task, env.num_envs
    observation = env.reset(seeds)
    device = observation.obs.device
    now = _Battles(
        rows=torch.arange(num_envs, device=device),
        env=env,
        observation=observation,
        hidden=policy.initial_hidden(task, num_envs),
        last_actions=torch.full((num_envs, task.n_allies), -1, device=device),
        last_reward=torch.zeros(num_envs, device=device),
        open=torch.ones(num_envs, dtype=torch.bool, device=device),
    )
    steps: list[dict[str, Tensor]] = []
    success = torch.zeros(num_envs, dtype=torch.bool, device=device)
    while True:
        output = policy.act(task, now.observation, now.last_actions, now.last_reward, now.hidden)
        share = torch.where(opening > len(steps), 1.0, epsilon)
        actions = _explore(output.actions, now.observation.avail_actions, share[now.rows.cpu()], generator)
        row = _row(now, actions, output.skills)
        steps.append(row)
        if not bool(now.open.any()) or len(steps) > task.episode_limit_env_steps:
            break
        step = now.env.step(actions)
        _settle(row, step)
        success[now.rows] |= step.success & now.open
        # An episode's final observation is stored too, so a battle leaves one row after its last step.
        over = ~now.open
        now.open = now.open & ~step.terminated
        now.observation, now.hidden = step.observation, output.hidden
        now.last_actions, now.last_reward = actions, step.reward
        if 2 * int(over.sum()) >= len(over):
            now = now.without(over)
    return _collect(task, num_envs, steps, success)


@dataclass
class _Battles:
    """The b of B battles that are still played, and all that is known of them between two steps.

    rows [b] int64: which of the B. last_actions [b, A] int64, last_reward [b]. open [b] bool: not over.
    """

    rows: Tensor
    env: BattleEnv
    observation: Observation
    hidden: Any
    last_actions: Tensor
    last_reward: Tensor
    open: Tensor

    def without(self, over: Tensor) -> _Battles:
        """The battles that are not over [b] bool; all of them where none can leave."""
        stay = (~over).nonzero()[:, 0]
        env = self.env.only(stay)
        if env is None:
            return self
        return _Battles(
            self.rows[stay],
            env,
            self.observation[stay],
            _picked(self.hidden, stay),
            self.last_actions[stay],
            self.last_reward[stay],
            self.open[stay],
        )


def _picked(tree: Any, rows: Tensor) -> Any:
    """A tree (dict, tuple) of tensors [b, ...] or None, at these rows."""
    if isinstance(tree, dict):
        return {name: _picked(part, rows) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_picked(part, rows) for part in tree)
    return tree if tree is None else tree[rows]


def _explore(chosen: Tensor, avail: Tensor, share: Tensor, generator: torch.Generator | None) -> Tensor:
    """chosen [B, A], avail [B, A, K], share [B] of random actions -> actions [B, A]."""
    if not bool((share > 0).any()):
        return chosen
    wanders = torch.rand(chosen.shape, generator=generator) < share.unsqueeze(1)
    random = torch.multinomial(avail.flatten(0, 1).float().cpu(), 1, generator=generator).view(chosen.shape)
    return torch.where(wanders.to(chosen.device), random.to(chosen.device), chosen)


def _row(now: _Battles, actions: Tensor, skills: Tensor | None) -> dict[str, Tensor]:
    """What a step shows and what is done in it, and which battles it is of: tensors [b, ...]."""
    observation = now.observation
    row = {
        "obs": observation.obs,
        "state": observation.state,
        "avail_actions": observation.avail_actions,
        "actions": actions,
    }
    if skills is not None:
        row["skills"] = skills
    zeros = torch.zeros(len(actions), device=actions.device)
    return row | {
        "reward": zeros,
        "terminated": zeros.bool(),
        "truncated": zeros.bool(),
        "open": now.open.clone(),
        "rows": now.rows,
    }


def _settle(row: dict[str, Tensor], step: TimeStep) -> None:
    """Write what a step brought into the row that led to it."""
    row.update(reward=step.reward, terminated=step.terminated, truncated=step.truncated)


def _collect(task: TaskSpec, num_envs: int, steps: list[dict[str, Tensor]], success: Tensor) -> Rollout:
    """Stack rows over time and clear what lies behind each episode's end."""
    rows = [step.pop("rows").cpu() for step in steps]
    stacked = {name: _stacked([step[name] for step in steps], rows, num_envs) for name in steps[0]}
    was_open = stacked.pop("open")
    filled = was_open.clone()
    filled[:, 1:] |= was_open[:, :-1]
    skills = stacked.pop("skills", None)
    if skills is not None:
        skills = torch.where(filled.unsqueeze(-1), skills, -1)
    kept = {name: was_open if name in _OF_A_STEP else filled for name in stacked}
    cleared = {name: _cleared(x, kept[name]) for name, x in stacked.items()}
    episodes = Episodes(task=task, filled=filled, **cleared)
    return Rollout(episodes.trimmed(), success.cpu(), episodes.reward.double().sum(1), skills)


def _stacked(parts: list[Tensor], rows: list[Tensor], num_envs: int) -> Tensor:
    """Per step a part [b, ...] of the battles rows [b] -> [B, T, ...] on the CPU, zeros elsewhere."""
    stacked = parts[0].new_zeros((num_envs, len(parts), *parts[0].shape[1:]), device="cpu")
    whole = torch.cat(parts).cpu().split([len(part) for part in parts])
    for step, (part, here) in enumerate(zip(whole, rows)):
        stacked[here, step] = part
    return stacked


def _cleared(x: Tensor, keep: Tensor) -> Tensor:
    """x [B, T, ...] with zeros where keep [B, T] is False."""
    return torch.where(keep.view(*keep.shape, *[1] * (x.dim() - 2)), x, torch.zeros_like(x))
