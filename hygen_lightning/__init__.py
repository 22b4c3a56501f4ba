"""HyGen: one policy for many battles, learned from recordings and live play.

    from hygen_lightning import HyGen, HybridDataModule, OnlineRollouts, BattleEvaluation

tasks       what a task is: the map table and the task sets
specs       the shared vocabulary: shape letters, TaskSpec, EntityLayout, Episodes
data        recorded episodes, replay of played ones, their mixing
envs        batched battles: the embedded simulator, StarCraft II
models      networks: tensors in, tensors out
losses      pure functions
policy      what a rollout knows of a model
rollouts    policy x environment -> episodes; evaluation; the Lightning callback
checkpoint  a checkpoint as a file: read whole, or one line that says what is wrong
algorithms  one LightningModule per file
report      statistics, tables, plots, battle pictures
cli         the commands: python -m hygen_lightning --help
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

PUBLIC = {
    "BC": "algorithms",
    "HyGen": "algorithms",
    "MultiTaskAlgorithm": "algorithms.base",
    "load_policy": "checkpoint",
    "HybridDataModule": "data.datamodule",
    "BattleEnv": "envs.base",
    "make_env": "envs",
    "register_env": "envs",
    "Policy": "policy",
    "PolicyOutput": "policy",
    "OnlineRollouts": "rollouts.callback",
    "BattleEvaluation": "rollouts.evaluation",
    "evaluate": "rollouts.evaluation",
    "named_policy": "rollouts.policies",
    "Rollout": "rollouts.runner",
    "play": "rollouts.runner",
    "scripted_recordings": "rollouts.recording",
    "EntityLayout": "specs",
    "EntityWidths": "specs",
    "Episodes": "specs",
    "Observation": "specs",
    "Side": "specs",
    "TaskSpec": "specs",
    "TimeStep": "specs",
    "UserError": "specs",
    "TaskSet": "tasks",
    "load_task": "tasks",
    "make_battle": "tasks",
    "register_task": "tasks",
    "register_task_set": "tasks",
}
"""Public name -> the module that defines it, imported on first use."""

__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'hygen_lightning' has no attribute {name!r}")
    return getattr(import_module(f"hygen_lightning.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
