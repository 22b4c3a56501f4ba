"""The batched battle protocol: many battles of one task, or of several, stepped together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hygen_lightning.specs import Observation, TaskSpec, TimeStep


class BattleLostError(Exception):
    """An environment cannot go on with its battles, for no fault of who plays; `reset` begins anew."""


class BattleEnv(ABC):
    """B battles of one task on one device.

    A battle that is over stands still, its view unchanged but for its agents, who may only
    choose no-op; `reset` starts all battles anew. Battles with equal seeds and equal actions are
    equal, bit for bit on CPU, whatever batch they sit in (environments that cannot promise this
    set `reproducible = False`).
    """

    task: TaskSpec
    num_envs: int
    reproducible: bool = True
    name: str = "abstract"
    version: str = "0"

    @classmethod  # noqa: B027  (most environments need nothing else)
    def check_installed(cls) -> None:
        """UserError where something that this kind of environment needs is not on this machine."""

    @classmethod  # noqa: B027  (most environments play every task)
    def check_tasks(cls, tasks: Sequence[TaskSpec]) -> None:
        """UserError where this kind of environment cannot play one of these tasks."""

    @classmethod
    def most_at_once(cls) -> int | None:
        """How many battles one environment of this kind can hold; None for any number."""
        return None

    @classmethod
    def fastest_device(cls, task: TaskSpec, num_envs: int, device: torch.device) -> torch.device:
        """Where battles of this kind are stepped fastest for a policy on `device`: there or on the CPU."""
        return device

    @abstractmethod
    def reset(self, seeds: Tensor) -> Observation:
        """Start B battles. seeds [B] int64: the whole randomness of each battle."""

    @abstractmethod
    def step(self, actions: Tensor) -> TimeStep:
        """actions [B, A] int64, each available in the last observation."""

    def only(self, battles: Tensor) -> BattleEnv | None:
        """These battles [b] int64 alone, to be stepped on or reset; None where they cannot be parted."""
        return None

    @classmethod
    def together(cls, envs: Sequence[BattleEnv]) -> BattleEnvs:
        """These environments of this class, stepped at once: in one batch where it can do that."""
        return BattleEnvs(envs)

    def close(self) -> None:  # noqa: B027  (most environments hold nothing to close)
        """Let go of processes and files."""


class BattleEnvs:
    """Battles of several tasks, one environment for each; here they step one after another.

    Every battle is the one that its environment plays alone with the same seed and actions.
    """

    def __init__(self, envs: Sequence[BattleEnv]) -> None:
        self.envs = tuple(envs)

    def reset(self, seeds: Sequence[Tensor]) -> list[Observation]:
        """Start all battles. seeds: per task [B] int64."""
        return [env.reset(s) for env, s in zip(self.envs, seeds, strict=True)]

    def step(self, actions: Sequence[Tensor]) -> list[TimeStep]:
        """actions: per task [B, A] int64, each available in its last observation."""
        return [env.step(a) for env, a in zip(self.envs, actions, strict=True)]

    def close(self) -> None:
        """Let go of what the environments hold."""
        for env in self.envs:
            env.close()
