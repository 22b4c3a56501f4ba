"""Policy x environment -> episodes: many battles of one task, played together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hygen_lightning.envs.base import BattleLostError, BattleView
from hygen_lightning.specs import Episodes, UserError

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv, BattleStep
    from hygen_lightning.policy import Policy


_MOST_LOST = 3
"""How often in a row an environment may lose its battles."""
_OF_A_STEP = ("reward", "terminated", "truncated")
"""What a step brings; the final view of an episode has none of it."""


@dataclass
class Played:
    """B battles that were played to their end.

    won [B] bool, returns [B] float64 (sum of rewards, the same whatever the padding), skills
    [B, T, A] int64 where the policy chooses skills (-1 after the end), else None.
    """

    episodes: Episodes
    won: Tensor
    returns: Tensor
    skills: Tensor | None = None

    @classmethod
    def cat(cls, parts: Sequence[Played]) -> Played:
        """One batch of several of the same task."""
        skills = [part.skills for part in parts if part.skills is not None]
        longest = max((s.shape[1] for s in skills), default=0)
        return cls(
            Episodes.cat([part.episodes for part in parts]),
            torch.cat([part.won for part in parts]),
            torch.cat([part.returns for part in parts]),
            torch.cat([_extended(s, longest) for s in skills]) if skills else None,
        )

    @property
    def lengths(self) -> Tensor:
        """[B] int64: environment steps played (stored steps less the final one)."""
        return self.episodes.length - 1

    def survivors(self, layout) -> tuple[Tensor, Tensor]:
        """Units alive at the end: allies [B], enemies [B] (health is each unit's first number)."""
        final = self.episodes.state[torch.arange(len(self.won)), self.episodes.length - 1]
        allies, enemies, _ = layout.split_state(final)
        return (allies[..., 0] > 0).sum(-1), (enemies[..., 0] > 0).sum(-1)


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
) -> Played:
    """Play one battle per seed to its end, as many at once as `env` holds.

    seeds [B] int64. With probability `epsilon` (0..1, one for all or [B]) an agent takes an
    available action drawn uniformly from `generator` instead of the policy's own. For the
    first `opening` [B] steps of a battle it always does, so that battles start from many places.
    """
    share = torch.as_tensor(epsilon).expand(len(seeds))
    opening = torch.zeros(len(seeds), dtype=torch.int64) if opening is None else opening
    parts = []
    for some, wander, steps in zip(*(x.split(env.n_battles) for x in (seeds, share, opening))):
        here = env if len(some) == env.n_battles else env.only(torch.arange(len(some)))
        if here is None:
            raise ValueError(f"{env.name}: {len(some)} battles in an environment that plays {env.n_battles}")
        parts.append(_play_until_whole(here, policy, some, wander, steps, generator))
    return parts[0] if len(parts) == 1 else Played.cat(parts)


def _play_until_whole(env: BattleEnv, *how: Any) -> Played:
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
    wander: Tensor,
    opening: Tensor,
    generator: torch.Generator | None,
) -> Played:
    """`play` for exactly the battles that `env` holds. wander [B]: share of random actions."""
    task, n_battles = env.task, env.n_battles
    view = env.reset(seeds)
    device = view.obs.device
    now = _Battles(
        rows=torch.arange(n_battles, device=device),
        env=env,
        view=view,
        memory=policy.initial_memory(task, n_battles),
        last_actions=torch.full((n_battles, task.n_allies), -1, device=device),
        open=torch.ones(n_battles, dtype=torch.bool, device=device),
    )
    steps: list[dict[str, Tensor]] = []
    won = torch.zeros(n_battles, dtype=torch.bool, device=device)
    while True:
        decision = policy.act(task, now.view, now.last_actions, now.memory)
        share = torch.where(opening > len(steps), 1.0, wander)
        actions = _explore(decision.actions, now.view.avail_actions, share[now.rows.cpu()], generator)
        row = _row(now, actions, decision.skills)
        steps.append(row)
        if not bool(now.open.any()) or len(steps) > task.episode_limit_env_steps:
            break
        step = now.env.step(actions)
        _settle(row, step)
        won[now.rows] |= step.won & now.open
        # An episode's final view is stored too, so a battle leaves one row after its last step.
        over = ~now.open
        now.open = now.open & ~step.terminated
        now.view, now.memory, now.last_actions = step.view, decision.memory, actions
        if 2 * int(over.sum()) >= len(over):
            now = now.without(over)
    return _collect(task.name, n_battles, steps, won)


@dataclass
class _Battles:
    """The b of B battles that are still played, and all that is known of them between two steps.

    rows [b] int64: which of the B. last_actions [b, A] int64. open [b] bool: not over.
    """

    rows: Tensor
    env: BattleEnv
    view: BattleView
    memory: Any
    last_actions: Tensor
    open: Tensor

    def without(self, over: Tensor) -> _Battles:
        """The battles that are not over [b] bool; all of them where none can leave."""
        stay = (~over).nonzero()[:, 0]
        env = self.env.only(stay)
        if env is None:
            return self
        view = BattleView(*(x[stay] for x in (self.view.obs, self.view.state, self.view.avail_actions)))
        return _Battles(
            self.rows[stay],
            env,
            view,
            _picked(self.memory, stay),
            self.last_actions[stay],
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
    view = now.view
    row = {"obs": view.obs, "state": view.state, "avail_actions": view.avail_actions, "actions": actions}
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


def _settle(row: dict[str, Tensor], step: BattleStep) -> None:
    """Write what a step brought into the row that led to it."""
    row.update(reward=step.reward, terminated=step.terminated, truncated=step.truncated)


def _collect(task_name: str, n_battles: int, steps: list[dict[str, Tensor]], won: Tensor) -> Played:
    """Stack rows over time and clear what lies behind each episode's end."""
    rows = [step.pop("rows").cpu() for step in steps]
    stacked = {name: _stacked([step[name] for step in steps], rows, n_battles) for name in steps[0]}
    was_open = stacked.pop("open")
    filled = was_open.clone()
    filled[:, 1:] |= was_open[:, :-1]
    skills = stacked.pop("skills", None)
    if skills is not None:
        skills = torch.where(filled.unsqueeze(-1), skills, -1)
    kept = {name: was_open if name in _OF_A_STEP else filled for name in stacked}
    cleared = {name: _cleared(x, kept[name]) for name, x in stacked.items()}
    episodes = Episodes(task=task_name, filled=filled, **cleared)
    return Played(episodes.trimmed(), won.cpu(), episodes.reward.double().sum(1), skills)


def _stacked(parts: list[Tensor], rows: list[Tensor], n_battles: int) -> Tensor:
    """Per step a part [b, ...] of the battles rows [b] -> [B, T, ...] on the CPU, zeros elsewhere."""
    stacked = parts[0].new_zeros((n_battles, len(parts), *parts[0].shape[1:]), device="cpu")
    whole = torch.cat(parts).cpu().split([len(part) for part in parts])
    for step, (part, here) in enumerate(zip(whole, rows)):
        stacked[here, step] = part
    return stacked


def _cleared(x: Tensor, keep: Tensor) -> Tensor:
    """x [B, T, ...] with zeros where keep [B, T] is False."""
    return torch.where(keep.view(*keep.shape, *[1] * (x.dim() - 2)), x, torch.zeros_like(x))
