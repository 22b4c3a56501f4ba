"""Made-up but valid episodes for tests that need data and no battle."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.specs import Episodes, TaskSpec
from hygen_lightning.tasks import BattleTask, load_task


def make_episodes(
    task: TaskSpec | str, n: int, seed: int = 0, wins: float = 0.5, lengths: Tensor | None = None
) -> Episodes:
    """n random episodes of a task, padded to its limit + 1, that pass every check on load.

    wins: share of won battles (the first ones). lengths [n]: stored steps, 2..limit + 1; random
    if None, the last episode running to the limit. Dead allies may only choose no-op; the rest is
    noise. Undecided battles exist only at the limit.
    """
    spec = load_task(task) if isinstance(task, str) else task
    generator = torch.Generator().manual_seed(seed)
    layout, n_steps = spec.layout, spec.episode_limit_env_steps + 1
    if lengths is None:
        lengths = torch.randint(2, n_steps + 1, (n,), generator=generator)
        lengths[-1] = n_steps
    steps = torch.arange(n_steps)
    filled = steps < lengths[:, None]
    terminated = steps == lengths[:, None] - 2
    avail = torch.rand(n, n_steps, spec.n_allies, layout.n_actions, generator=generator) < 0.5
    avail[..., 1] = True
    scores = torch.rand(avail.shape, generator=generator).masked_fill(~avail, -1.0)
    success = torch.arange(n) < round(wins * n)
    reward = torch.rand(n, n_steps, generator=generator) * (steps < lengths[:, None] - 1)
    if not isinstance(spec, BattleTask):
        reward = (terminated & success[:, None]).float()
    episodes = Episodes(
        task=spec,
        obs=torch.randn(n, n_steps, spec.n_allies, layout.obs_dim, generator=generator),
        state=_states(spec, lengths, success, generator),
        actions=scores.argmax(dim=-1),
        avail_actions=avail,
        reward=reward,
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        filled=filled,
    )
    episodes = episodes.map(lambda x: x * filled.reshape(n, n_steps, *[1] * (x.ndim - 2)))
    episodes.truncated = episodes.terminated & spec.timed_out(episodes)[:, None]
    return episodes


def _states(spec: TaskSpec, lengths: Tensor, success: Tensor, generator: torch.Generator) -> Tensor:
    """[n, T, state_dim] noise with healths in 0.1..1 and, at the end, one side's healths at zero."""
    n, n_steps = len(lengths), spec.episode_limit_env_steps + 1
    state = torch.randn(n, n_steps, spec.layout.state_dim, generator=generator)
    if not isinstance(spec, BattleTask):
        return state
    allies, enemies, _ = spec.layout.split_state(state)
    rows, last = torch.arange(n), lengths - 1
    timed_out = (lengths == n_steps) & ~success
    for units, dead in ((allies, ~success & ~timed_out), (enemies, success)):
        units[..., 0] = 0.1 + 0.9 * torch.rand(units.shape[:-1], generator=generator)
        units[rows[dead], last[dead], :, 0] = 0.0
    return state


def step_bytes(task: TaskSpec) -> int:
    """Bytes of one packed step: floats, actions as int16, flags."""
    n_allies, layout = task.n_allies, task.layout
    floats = n_allies * layout.obs_dim + layout.state_dim + 1
    return 4 * floats + 2 * n_allies + n_allies * layout.n_actions + 3
