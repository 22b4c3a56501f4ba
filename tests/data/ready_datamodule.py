"""A DataModule of 3m after `setup`, without a Trainer, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factories import make_episodes
from torch import Tensor

from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.specs import Episodes, HybridBatch

FIXED = {"share_schedule": "fixed"}


@dataclass
class StandInModule:
    """As much of an algorithm that learns from episodes as the DataModule asks for."""

    offline_phase_steps: int = 0
    chunk_plan: None = None

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        raise AssertionError("no optimiser step is taken")


@dataclass
class StandInTrainer:
    """As much of a Trainer as the DataModule asks for."""

    global_step: int = 0
    lightning_module: StandInModule = field(default_factory=StandInModule)
    global_rank: int = 0
    world_size: int = 1
    is_global_zero: bool = True
    precision: str = "32-true"
    fast_dev_run: bool = True
    max_steps: int = 100


def ready(recordings: Path, n_played: int = 64, stage_one: int = 0, **options: Any) -> HybridDataModule:
    """A DataModule of 3m after `setup`, with played episodes in its buffers."""
    given = {"train_tasks": ["3m"], "dataset_dir": str(recordings / "data"), "batch_size": 8, **options}
    if options.get("task_set"):
        del given["train_tasks"]
    data = HybridDataModule(**given)
    data.trainer = StandInTrainer(lightning_module=StandInModule(stage_one))
    data.setup("fit")
    for buffer in data.replay_buffers.values():
        if n_played:
            buffer.add(make_episodes(buffer.task, n_played, seed=9))
    return data


def at(data: HybridDataModule, step: int) -> HybridBatch:
    """The batch of this optimiser step."""
    data.trainer.global_step = step
    return data.next_batch()


def shares(data: HybridDataModule, *steps: int) -> list[float]:
    return [at(data, step).offline_share["3m"] for step in steps]


def first_states(batch: HybridBatch) -> list[float]:
    return batch.episodes["3m"].state[:, 0, 0].tolist()
