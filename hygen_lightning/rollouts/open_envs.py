"""The environments that a callback keeps between its rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hygen_lightning.envs import environment_class, make_env

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.specs import TaskSpec


class OpenEnvs:
    """Environments of one kind, made on first use and kept.

    Of a kind that holds few battles, because each costs a process of its own, only the latest is kept.
    """

    def __init__(self, name: str) -> None:
        """UserError for an unknown kind, and for one that this machine cannot play."""
        environment_class(name).check_installed()
        self.name = name
        self._open: dict[tuple[str, int], BattleEnv] = {}
        self._checked: set[str] = set()

    def of(self, task: TaskSpec, n_battles: int, device: torch.device) -> BattleEnv:
        """Battles of this task: `n_battles`, or as many as the environment can hold."""
        key = (task.name, n_battles)
        if key not in self._open:
            if environment_class(self.name).most_at_once() is not None:
                self.close()
            self._open[key] = make_env(self.name, task, n_battles, device)
        return self._open[key]

    def check(self, tasks: Sequence[TaskSpec]) -> None:
        """UserError, before anything is learned, where one of these tasks cannot be played."""
        new = [task for task in tasks if task.name not in self._checked]
        environment_class(self.name).check_tasks(new)
        self._checked.update(task.name for task in new)

    def close(self) -> None:
        """Close them all; they are made anew when they are needed again."""
        for env in self._open.values():
            env.close()
        self._open = {}
