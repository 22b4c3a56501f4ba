"""Endless battles: a policy that learns on-policy plays chunks of steps, and finished battles begin anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hygen_lightning.envs.base import check_sizes
from hygen_lightning.seeding import stream_generator
from hygen_lightning.specs import Chunk, Observation, UserError, map_tree

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.policy import SamplingPolicy
    from hygen_lightning.specs import TimeStep


class EndlessBattles:
    """B battles of one environment that are restarted as they end; all randomness follows from `names`.

    names: what the streams of battles and of actions are called, for example (seed, rank, task).
    """

    def __init__(self, env: BattleEnv, seed: int, *names: object) -> None:
        self.env = env
        self._seeds = stream_generator(seed, *names, "endless battles")
        self._actions = stream_generator(seed, *names, "sampled actions")
        self._now: _Now | None = None

    def play(self, policy: SamplingPolicy, env_steps: int) -> Chunk:
        """The next `env_steps` steps of every battle, actions drawn by the policy's probabilities."""
        with torch.no_grad():
            now = self._begun(policy) if self._now is None else self._now
            hidden, steps = now.hidden, []
            for _ in range(env_steps):
                output = policy.sample(
                    self.env.task,
                    now.observation,
                    now.last_actions,
                    now.last_reward,
                    now.hidden,
                    self._actions,
                )
                clock = self.env.clock.clone()
                step = self.env.step(output.actions, self._draw_seeds())
                steps.append(_row(now, output.actions, output.log_probs, step, clock))
                now = now.after(step, output.actions, output.hidden, self._initial(policy))
            self._now = now
        rows = {name: torch.stack([step[name] for step in steps], dim=1) for name in steps[0]}
        rows["state"] = torch.cat([rows["state"], now.observation.state.unsqueeze(1)], dim=1)
        rows["clock"] = torch.cat([rows["clock"], self.env.clock.unsqueeze(1)], dim=1)
        return Chunk(task=self.env.task, hidden=hidden, **rows)

    def _begun(self, policy: SamplingPolicy) -> _Now:
        task, n = self.env.task, self.env.num_envs
        observation = self.env.reset(self._draw_seeds())
        check_sizes(self.env, observation)
        device = observation.obs.device
        return _Now(
            observation,
            self._initial(policy),
            torch.full((n, task.n_allies), -1, device=device),
            torch.zeros(n, device=device),
            torch.ones(n, dtype=torch.bool, device=device),
        )

    def _initial(self, policy: SamplingPolicy) -> Any:
        return policy.initial_hidden(self.env.task, self.env.num_envs)

    def _draw_seeds(self) -> Tensor:
        return torch.randint(2**62, (self.env.num_envs,), generator=self._seeds)

    # What a stopped run needs to go on

    def state_dict(self) -> dict[str, Any]:
        """Generators, battles and what the policy remembers of them; where an environment cannot save its
        battles, they begin anew when the run goes on."""
        battles = None if self._now is None else self._saved_battles()
        now = None if self._now is None or battles is None else dict(vars(self._now))
        if now is not None:
            now["observation"] = vars(now["observation"])
        return {
            "seeds": self._seeds.get_state(),
            "actions": self._actions.get_state(),
            "now": now,
            "battles": battles,
        }

    def _saved_battles(self) -> dict[str, Tensor] | None:
        try:
            return self.env.state_dict()
        except UserError:  # no environment but the game's own could
            return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self._seeds.set_state(state["seeds"])
        self._actions.set_state(state["actions"])
        if state["now"] is None:
            return
        self.env.load_state_dict(state["battles"])
        device = self.env.clock.device
        moved = map_tree(lambda x: x.to(device), state["now"])
        self._now = _Now(**{**moved, "observation": Observation(**moved["observation"])})


@dataclass
class _Now:
    """All that is known of the battles between two steps; fields as in `hygen_lightning.rollouts.runner`.

    begins [B] bool: a battle begins with the next step."""

    observation: Observation
    hidden: Any
    last_actions: Tensor
    last_reward: Tensor
    begins: Tensor

    def after(self, step: TimeStep, actions: Tensor, hidden: Any, initial: Any) -> _Now:
        """One step later: nothing is remembered of battles that ended."""
        over = step.terminated

        def forget(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(over.view(-1, *[1] * (old.dim() - 1)), new, old)

        return _Now(
            step.observation,
            map_tree(forget, initial, hidden),
            torch.where(over.unsqueeze(1), -1, actions),
            torch.where(over, 0, step.reward),
            over,
        )


def _row(
    now: _Now, actions: Tensor, log_probs: Tensor | None, step: TimeStep, clock: Tensor
) -> dict[str, Tensor]:
    """What one step showed, what was done in it and what it brought: [B, ...] each."""
    assert log_probs is not None, "a sampled action has a probability"
    return {
        **vars(now.observation),
        "last_actions": now.last_actions,
        "actions": actions,
        "log_probs": log_probs,
        "reward": step.reward,
        "begins": now.begins,
        "terminated": step.terminated,
        "truncated": step.truncated,
        "success": step.success,
        "clock": clock,
    }
