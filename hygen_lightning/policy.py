"""All that a rollout knows of a policy: it acts on what the battles show, and remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.envs.base import BattleView
    from hygen_lightning.specs import TaskSpec


@dataclass
class Decision:
    """actions [B, A] int64 (without exploration), memory for the next step, skills [B, A] int64 or None."""

    actions: Tensor
    memory: Any
    skills: Tensor | None = None


class Policy(Protocol):
    """Plays any task of its family, whatever the numbers of units."""

    def initial_memory(self, task: TaskSpec, n_battles: int) -> Any:
        """Memory before the first step: a tree (dict, tuple) of tensors [B, ...] or None."""
        ...

    def act(self, task: TaskSpec, view: BattleView, last_actions: Tensor, memory: Any) -> Decision:
        """One step of B battles. last_actions [B, A] int64, -1 before the first step."""
        ...
