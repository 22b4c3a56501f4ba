"""The environments that a callback keeps between its rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hygen_lightning.envs import environment_class, make_env_for_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.specs import TaskSpec


class OpenEnvs:
    """Environments of one kind, made on first use and kept.

    Of a kind that holds few battles at once (each costs a process), the checked tasks share them
    evenly; where they are fewer than the tasks, those used longest ago are closed.
    """

    def __init__(self, name: str) -> None:
        """UserError for an unknown kind, and for one that this machine cannot play."""
        environment_class(name).check_installed()
        self.name = name
        self._open: dict[tuple[str, int], BattleEnv] = {}  # the one used last is the last one
        self._checked: set[str] = set()

    def check(self, tasks: Sequence[TaskSpec]) -> None:
        """UserError, before anything is learned, where one of these tasks cannot be played."""
        new = [task for task in tasks if task.name not in self._checked]
        environment_class(self.name).check_tasks(new)
        self._checked.update(task.name for task in new)

    def of(self, task: TaskSpec, num_envs: int, device: torch.device) -> BattleEnv:
        """Battles of this task: `num_envs`, or as many as can be held at once."""
        most = environment_class(self.name).most_at_once()
        held = num_envs if most is None else min(num_envs, max(most // max(len(self._checked), 1), 1))
        env = self._open.pop((task.name, held), None)
        if env is None:
            while most is not None and self._open and self._num_envs() + held > most:
                self._open.pop(next(iter(self._open))).close()
            env = make_env_for_policy(self.name, task, held, device)
        self._open[task.name, held] = env
        return env

    def close(self) -> None:
        """Close them all; they are made anew when they are needed again."""
        for env in self._open.values():
            env.close()
        self._open = {}

    def _num_envs(self) -> int:
        return sum(env.num_envs for env in self._open.values())
