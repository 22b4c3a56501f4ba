"""The ring of episodes that the current policy played, one per task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from hygen_lightning.data.files import replacing
from hygen_lightning.data.storage import TENSOR_NAMES, pack, unpack
from hygen_lightning.specs import Episodes, TaskSpec, UserError

_FIRST_ROWS = 64


class ReplayRing:
    """Keeps the last `capacity_episodes` played episodes of one task, packed, on the CPU.

    Memory grows with the number of episodes kept, up to the capacity.
    """

    def __init__(self, task: TaskSpec, capacity_episodes: int = 2000) -> None:
        if capacity_episodes < 1:
            raise UserError(f"replay capacity is {capacity_episodes} episodes; give at least 1")
        self.task, self.capacity_episodes = task, capacity_episodes
        self.added_episodes = 0
        """Episodes ever added; the next one goes to row `added_episodes % capacity_episodes`."""
        self._packed: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return min(self.added_episodes, self.capacity_episodes)

    def add(self, episodes: Episodes) -> None:
        """Append episodes [B, T, ...] of this task, T at most the limit + 1; the oldest give way."""
        if episodes.task != self.task.name:
            raise ValueError(f"episodes of {episodes.task} for the ring of {self.task.name}")
        n_steps = self.task.episode_limit_env_steps + 1
        if episodes.n_steps > n_steps:
            raise ValueError(f"{episodes.n_steps} steps, but {self.task.name} stores at most {n_steps}")
        skipped = max(len(episodes) - self.capacity_episodes, 0)
        rows = torch.arange(self.added_episodes + skipped, self.added_episodes + len(episodes))
        fresh = pack(episodes[skipped:])
        self._grow(fresh, min(self.added_episodes + len(episodes), self.capacity_episodes))
        for name, tensor in fresh.items():
            stored, places = self._packed[name], rows % self.capacity_episodes
            stored[places, : episodes.n_steps] = tensor
            stored[places, episodes.n_steps :] = 0
        self.added_episodes += len(episodes)

    def sample(self, n: int, generator: Generator) -> Episodes:
        """n different episodes, uniformly drawn, trimmed. ValueError if the ring holds fewer."""
        if not 1 <= n <= len(self):
            raise ValueError(f"{n} episodes asked for, the ring of {self.task.name} holds {len(self)}")
        rows = torch.randperm(len(self), generator=generator)[:n]
        return unpack(self.task.name, self._packed, rows)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain Python only; the tensors share memory with the ring."""
        return {
            "task": self.task.name,
            "capacity_episodes": self.capacity_episodes,
            "added_episodes": self.added_episodes,
            "episodes": {name: tensor[: len(self)] for name, tensor in self._packed.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the ring that wrote `state`; UserError if that one had another task or capacity."""
        for name, own in (("task", self.task.name), ("capacity_episodes", self.capacity_episodes)):
            if state[name] != own:
                raise UserError(
                    f"the saved replay ring has {name} {state[name]}, this run {own}; use the same"
                )
        self.added_episodes = state["added_episodes"]
        self._packed = {name: tensor.clone() for name, tensor in state["episodes"].items()}

    def save(self, path: Path) -> None:
        """Write the ring to one file; an interrupted write leaves the previous file as it was."""
        with replacing(Path(path)) as temporary:
            state = self.state_dict()
            state["episodes"] = {name: tensor.clone() for name, tensor in state["episodes"].items()}
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Become the ring that `save` wrote, bit for bit. UserError if the file is not one."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.load_state_dict(state)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{path}: not a readable replay ring ({reason}); give the run's own file"
            ) from error

    def _grow(self, like: dict[str, Tensor], n_rows: int) -> None:
        """Make room for n_rows episodes, doubling what there is so that adding stays cheap."""
        have = self._packed["filled"].shape[0] if self._packed else 0
        if have >= n_rows:
            return
        rows = min(max(n_rows, 2 * have, _FIRST_ROWS), self.capacity_episodes)
        n_steps = self.task.episode_limit_env_steps + 1
        for name in TENSOR_NAMES:
            room = like[name].new_zeros((rows, n_steps, *like[name].shape[2:]))
            if have:
                room[:have] = self._packed[name]
            self._packed[name] = room
