"""Batched battles. One table of environments: name -> class."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from hygen_lightning.envs.base import BattleEnv, BattleEnvs
    from hygen_lightning.specs import TaskSpec

ENVIRONMENTS: dict[str, str] = {
    "simulator": "hygen_lightning.envs.simulator.env:SimulatorEnv",
    "smac": "hygen_lightning.envs.smac.env:SmacEnv",
}
"""Name -> "module:class", imported on first use."""


def environment_class(name: str) -> type[Any]:
    """The class behind a name; UserError with the known names if there is none."""
    if name not in ENVIRONMENTS:
        raise UserError(f"unknown environment {name!r}; known: {', '.join(sorted(ENVIRONMENTS))}")
    module, _, attribute = ENVIRONMENTS[name].partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def make_env(name: str, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> BattleEnv:
    """B battles of a task in the environment of this name, or as many as it can hold (`num_envs` says)."""
    kind: type[BattleEnv] = environment_class(name)
    most = kind.most_at_once()
    held = num_envs if most is None else min(num_envs, most)
    return kind(task, held, device=device)  # type: ignore[call-arg]


def make_env_for_policy(name: str, task: TaskSpec, num_envs: int, device: torch.device) -> BattleEnv:
    """As `make_env`: battles that a policy on this device sees there, stepped where that is fastest."""
    from hygen_lightning.envs.ferried import FerriedEnv

    where = environment_class(name).fastest_device(task, num_envs, device)
    env = make_env(name, task, num_envs, where)
    return env if where == device else FerriedEnv(env, device)


def make_envs(
    name: str, tasks: Sequence[TaskSpec], num_envs: Sequence[int], device: str | torch.device = "cpu"
) -> BattleEnvs:
    """Battles of several tasks, stepped together. num_envs: B of each task, which it has to hold."""
    most = environment_class(name).most_at_once()
    if most is not None and sum(num_envs) > most:
        raise UserError(f"{sum(num_envs)} battles at once; the environment {name!r} holds {most}")
    envs = [make_env(name, task, n, device) for task, n in zip(tasks, num_envs, strict=True)]
    return environment_class(name).together(envs)  # type: ignore[no-any-return]
