"""Environments of several tasks that are made on first use and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hygen_lightning.envs import environment_class, environment_for, make_env_for_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.specs import TaskSpec


class OpenEnvs:
    """Environments of one kind, made on first use and kept.

    Where the kind limits the battles at once (`BattleEnv.most_at_once`), the checked tasks share them
    evenly, and environments used longest ago are closed to make room.
    """

    def __init__(self, name: str | None) -> None:
        """name: of the kind; None until the first tasks choose it. UserError for an unknown kind, and for
        one that this machine cannot play."""
        if name is not None:
            environment_class(name).check_installed()
        self.name = name
        self._open: dict[tuple[str, int], BattleEnv] = {}  # the one used last is the last one
        self._checked: set[str] = set()

    def chosen(self, tasks: Sequence[TaskSpec]) -> str:
        """Name of the kind, which is these tasks' own where none was given."""
        if self.name is None:
            self.name = environment_for(tasks)
            environment_class(self.name).check_installed()
        return self.name

    def check(self, tasks: Sequence[TaskSpec]) -> None:
        """UserError, before anything is learned, where one of these tasks cannot be played."""
        new = [task for task in tasks if task.name not in self._checked]
        environment_class(self.chosen(tasks)).check_tasks(new)
        self._checked.update(task.name for task in new)

    def of(self, task: TaskSpec, num_envs: int, device: torch.device) -> BattleEnv:
        """Battles of this task: `num_envs`, or as many as can be held at once."""
        name = self.chosen([task])
        most = environment_class(name).most_at_once()
        held = num_envs if most is None else min(num_envs, max(most // max(len(self._checked), 1), 1))
        env = self._open.pop((task.name, held), None)
        if env is None:
            while most is not None and self._open and self._num_envs() + held > most:
                self._open.pop(next(iter(self._open))).close()
            env = make_env_for_policy(name, task, held, device)
        self._open[task.name, held] = env
        return env

    def close(self) -> None:
        """Close them all; they are made anew when they are needed again."""
        for env in self._open.values():
            env.close()
        self._open = {}

    def _num_envs(self) -> int:
        return sum(env.num_envs for env in self._open.values())
