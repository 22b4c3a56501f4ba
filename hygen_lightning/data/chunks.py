"""What an on-policy algorithm has just played, cut into the minibatches of its next optimiser steps."""

from __future__ import annotations

from typing import Any

import torch

from hygen_lightning.specs import Chunk, OnPolicyEpisodes, TaskSpec

_KINDS: dict[str, Any] = {"Chunk": Chunk, "OnPolicyEpisodes": OnPolicyEpisodes}


class ChunkBuffer:
    """One chunk of a task's battles, or whole ones, drawn in `epochs` passes of `minibatches`: in each pass
    every battle once."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self._chunk: Chunk | OnPolicyEpisodes | None = None
        self._rows: list[torch.Tensor] = []

    def __len__(self) -> int:
        """Minibatches that are left of the chunk."""
        return len(self._rows)

    def put(
        self, chunk: Chunk | OnPolicyEpisodes, epochs: int, minibatches: int, generator: torch.Generator
    ) -> None:
        """Take a chunk in place of the last one. minibatches: at most the chunk's battles."""
        self._chunk = chunk
        self._rows = []
        for _ in range(epochs):
            self._rows += torch.randperm(len(chunk), generator=generator).tensor_split(minibatches)

    def draw(self) -> Chunk | OnPolicyEpisodes:
        """The next minibatch."""
        if self._chunk is None or not self._rows:
            raise ValueError(f"{self.task.name}: no minibatch is left; play a chunk first")
        return self._chunk[self._rows.pop(0).to(self._chunk.obs.device)]

    # What a stopped run needs to go on

    def state_dict(self) -> dict[str, Any]:
        """The chunk while it is learned from; nothing where all of it has been."""
        if self._chunk is None or not self._rows:
            return {"kind": "", "chunk": None, "rows": []}
        tensors = {name: value for name, value in vars(self._chunk).items() if name != "task"}
        return {"kind": type(self._chunk).__name__, "chunk": tensors, "rows": self._rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        kind, tensors = _KINDS.get(state["kind"]), state["chunk"]
        self._chunk = None if kind is None else kind(task=self.task, **tensors)
        self._rows = list(state["rows"])
