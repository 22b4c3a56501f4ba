"""The replay buffer of episodes that the current policy played, one per task."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Generator

from hygen_lightning.data.storage import Packed, pack, unpack
from hygen_lightning.specs import EPISODE_TENSORS, Episodes, TaskSpec, UserError


class ReplayBuffer:
    """Keeps the last `capacity_episodes` played episodes of one task, packed, on the CPU.

    Memory grows with the steps of the episodes kept: padding takes none.
    """

    def __init__(self, task: TaskSpec, capacity_episodes: int = 2000) -> None:
        if capacity_episodes < 1:
            raise UserError(f"replay capacity is {capacity_episodes} episodes; give at least 1")
        self.task, self.capacity_episodes = task, capacity_episodes
        self.added_episodes = 0
        """Episodes ever added."""
        self._packed: deque[Packed] = deque(maxlen=capacity_episodes)

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, episodes: Episodes) -> None:
        """Append episodes [B, T, ...] of this task, T at most the limit + 1; the oldest give way."""
        if episodes.task.name != self.task.name:
            raise ValueError(f"episodes of {episodes.task.name} for the replay buffer of {self.task.name}")
        n_steps = self.task.episode_limit_env_steps + 1
        if episodes.n_steps > n_steps:
            raise ValueError(f"{episodes.n_steps} steps, but {self.task.name} stores at most {n_steps}")
        self._packed.extend(pack(episodes))
        self.added_episodes += len(episodes)

    def sample(self, n: int, generator: Generator) -> Episodes:
        """n different episodes, uniformly drawn, trimmed. ValueError if the replay buffer holds fewer."""
        if not 1 <= n <= len(self):
            raise ValueError(
                f"{n} episodes asked for, the replay buffer of {self.task.name} holds {len(self)}"
            )
        rows = torch.randperm(len(self), generator=generator)[:n].tolist()
        return unpack(self.task, [self._packed[row] for row in rows])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain Python only: lengths [n] int64, and the steps of all episodes in a row."""
        kept = self._packed
        steps = {name: torch.cat([e[name] for e in kept]) for name in EPISODE_TENSORS} if kept else {}
        return {
            "task": self.task.name,
            "capacity_episodes": self.capacity_episodes,
            "added_episodes": self.added_episodes,
            "lengths": torch.tensor([len(e["filled"]) for e in kept], dtype=torch.int64),
            "steps": steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the replay buffer that wrote `state`; UserError if that one had another task or capacity."""
        for name, own in (("task", self.task.name), ("capacity_episodes", self.capacity_episodes)):
            if state[name] != own:
                raise UserError(
                    f"the saved replay buffer has {name} {state[name]}, this run {own}; use the same"
                )
        self.added_episodes = state["added_episodes"]
        lengths = state["lengths"].tolist()
        steps = [state["steps"][name].split(lengths) for name in EPISODE_TENSORS if lengths]
        self._packed.clear()
        for episode in zip(*steps):  # each a copy of its own, so that it goes alone
            self._packed.append({name: x.clone() for name, x in zip(EPISODE_TENSORS, episode)})
