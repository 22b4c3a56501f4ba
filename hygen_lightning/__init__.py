"""HyGen: one policy for many battles, learned from recordings and live play.

    from hygen_lightning import HyGen, HybridDataModule, OnlineRollouts, BattleEvaluation

specs        the shared vocabulary: shape letters, TaskSpec, EntityLayout, Episodes
tasks        battles, navigation and task sets by name; tasks of users
data         recorded episodes, replay buffers, the DataModule that mixes them
envs         batched environments: the embedded simulator, StarCraft II, PettingZoo
policy       what a rollout knows of a model
models       networks: tensors in, tensors out
losses       pure functions
algorithms   one LightningModule per file
rollouts     policy x environment -> episodes; evaluation; the Lightning callbacks
checkpoint   a policy from a checkpoint file
run          a run's folder, checkpoints, logging and stops
report       statistics, tables, plots, battle pictures
calibration  how near the simulator is to StarCraft II
benchmark    how fast all of this is
cli          the commands: python -m hygen_lightning --help
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

PUBLIC = {
    "BC": "algorithms",
    "HyGen": "algorithms",
    "MAPPO": "algorithms",
    "MultiTaskAlgorithm": "algorithms.base",
    "QMIX": "algorithms",
    "ValueLearning": "algorithms.value_learning",
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
