"""One episode as a PettingZoo ParallelEnv, for learners that know that interface.

    env = parallel_env("3m")
    observations, infos = env.reset(seed=1)

Every agent observes {"observation": its vector, "action_mask": 1 where an action is available}.
For learners without masks, an action that is not available is replaced by the first available one
(in battles: stop, or no-op for the dead), and `infos[agent]["replaced"]` is True;
`unavailable="error"` refuses it.

The agents of an episode end together; in battles the dead stay and may only choose no-op. All agents
share the reward. An episode that only the time limit ended is truncated, any other terminated; the
last `infos` say "success" and "length" (environment steps). `state()` is the global state.
Needs the extra: pip install hygen_lightning[pettingzoo].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hygen_lightning.envs.base import environment_for, make_env
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

try:
    from gymnasium import spaces
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise UserError("PettingZoo is not installed: pip install 'hygen_lightning[pettingzoo]'") from error

if TYPE_CHECKING:
    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.specs import Observation

AgentObservation = dict[str, NDArray[Any]]


def parallel_env(
    task: str = "3m",
    env: str | None = None,
    device: str = "cpu",
    unavailable: Literal["replace", "error"] = "replace",
) -> BattleParallelEnv:
    """One episode of a task, in its own environment if none is named; UserError if either is unknown."""
    spec = load_task(task)
    return BattleParallelEnv(make_env(environment_for([spec], env), spec, 1, device), unavailable)


class BattleParallelEnv(ParallelEnv[str, AgentObservation, int]):
    """Wraps a `BattleEnv` of one episode; its agents are `ally_0`, `ally_1`, ...

    unavailable: what happens to an action that is not available: "replace" or "error".
    """

    def __init__(self, battle: BattleEnv, unavailable: Literal["replace", "error"] = "replace") -> None:
        if battle.num_envs != 1:
            raise ValueError(f"one episode expected, got an environment of {battle.num_envs}")
        self.metadata = {"name": f"{battle.name}_{battle.task.name}_v{battle.version}", "render_modes": []}
        self.render_mode = None
        self.battle, self.unavailable = battle, unavailable
        self.possible_agents = [f"ally_{index}" for index in range(battle.task.n_allies)]
        self.agents: list[str] = []
        layout = battle.task.layout
        self.observation_spaces = {
            agent: spaces.Dict(
                {
                    "observation": spaces.Box(-np.inf, np.inf, (layout.obs_dim,), np.float32),
                    "action_mask": spaces.Box(0, 1, (layout.n_actions,), np.int8),
                }
            )
            for agent in self.possible_agents
        }
        self.action_spaces = {agent: spaces.Discrete(layout.n_actions) for agent in self.possible_agents}
        self.state_space = spaces.Box(-np.inf, np.inf, (layout.state_dim,), np.float32)
        self._generator = torch.Generator()
        self._generator.seed()
        self._observation: Observation | None = None
        self._length = 0

    def observation_space(self, agent: str) -> spaces.Dict:
        """The observation space of an agent, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """K actions, the same object at every call."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, AgentObservation], dict[str, dict[str, Any]]]:
        """Start an episode. seed: all its randomness, and that of later episodes reset without a seed.

        options: none are known; they are accepted because the interface has them.
        """
        if seed is not None:
            self._generator.manual_seed(seed)
        episode_seed = torch.randint(2**62, (1,), generator=self._generator)
        self._observation = self.battle.reset(episode_seed)
        self.agents, self._length = list(self.possible_agents), 0
        return self._observations(self._observation), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[
        dict[str, AgentObservation],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """One environment step; UserError if an agent's action is missing (or refused as unavailable)."""
        acting, observation = self.agents, self._observation
        if observation is None or not acting:
            raise UserError("the episode is over or has not begun; call reset() before step()")
        wanted = [self._wanted(agent, actions) for agent in acting]
        taken = [self._available(agent, action, observation) for agent, action in zip(acting, wanted)]
        step = self.battle.step(torch.tensor([taken]))
        self._observation, self._length = step.observation, self._length + 1
        over, timed_out, reward = bool(step.terminated), bool(step.truncated), float(step.reward)
        info = {"success": bool(step.success), "length": self._length} if over else {}
        observations = self._observations(step.observation)
        self.agents = [] if over else acting
        return (
            observations,
            dict.fromkeys(acting, reward),
            dict.fromkeys(acting, over and not timed_out),
            dict.fromkeys(acting, timed_out),
            {agent: {**info, "replaced": w != t} for agent, w, t in zip(acting, wanted, taken)},
        )

    def state(self) -> NDArray[np.float32]:
        """The global state [state_dim]; UserError before the first reset."""
        if self._observation is None:
            raise UserError("there is no episode yet; call reset() before state()")
        return self._observation.state[0].cpu().numpy()

    def render(self) -> None:
        """Draws nothing: `python -m hygen_lightning render` makes pictures of battles."""

    def close(self) -> None:
        """Release what the environment holds."""
        self.battle.close()

    def _wanted(self, agent: str, actions: dict[str, int]) -> int:
        if agent not in actions:
            raise UserError(f"{agent} has no action; every agent acts until the episode is over")
        return int(actions[agent])

    def _available(self, agent: str, action: int, observation: Observation) -> int:
        """The action, or the first available one if it is not available."""
        available = (
            observation.avail_actions[0, self.possible_agents.index(agent)].nonzero().flatten().tolist()
        )
        if action in available:
            return action
        if self.unavailable == "error":
            raise UserError(f"{agent}: action {action} is not available; available are {available}")
        return int(available[0])

    def _observations(self, observation: Observation) -> dict[str, AgentObservation]:
        obs, masks = (
            observation.obs[0].cpu().numpy(),
            observation.avail_actions[0].to(torch.int8).cpu().numpy(),
        )
        return {
            agent: {"observation": obs[index].copy(), "action_mask": masks[index].copy()}
            for index, agent in enumerate(self.possible_agents)
        }
