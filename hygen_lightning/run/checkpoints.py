"""What must never be lost: checkpoints that a killed run goes on from as if nothing had happened."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hygen_lightning.data.files import replacing
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a reader finds the old file or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_atomically(checkpoint, path)
        except OSError as error:
            print(f"could not write {path}: {error}; the checkpoint before it is still good", flush=True)


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save under a temporary name, then rename; OSError leaves the old file untouched."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


class RunCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which a run goes on exactly, and `best.ckpt`, chosen on seen tasks.

    Beside `last.ckpt`, each rank keeps one file with its rings, its streams of episodes and its
    random generators. A checkpoint names the files that belong to it; both are written under a
    temporary name and renamed, the rank's file first.

    Args:
        every_n_steps: optimiser steps between two writes of last.ckpt
        save_replay: keep the rings too; without them a resumed run starts with empty rings, learns
            from recordings until they have filled again, and differs from an uninterrupted one
        monitor: metric that chooses best.ckpt, the larger the better
    """

    def __init__(
        self, every_n_steps: int = 500, save_replay: bool = True, monitor: str = "val/mean/seen_score"
    ) -> None:
        if every_n_steps < 1:
            raise UserError(f"--checkpoint.every_n_steps is {every_n_steps}; give at least 1")
        self.every_n_steps, self.save_replay, self.monitor = every_n_steps, save_replay, monitor
        self.best_score = -float("inf")
        self.best_step = -1
        self._saved_step = -1
        self._restored: dict[str, Any] | None = None
        self.folder = Path()

    @property
    def last_path(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        return self.folder / "best.ckpt"

    # When to write

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        root = trainer.strategy.broadcast(str(Path(trainer.default_root_dir) / "checkpoints"))
        self.folder = Path(root)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._restored is not None:
            _restore_generators(self._restored["generators"])
            self._restored = None
            self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """All of the step before is done and logged; the batch at hand will be drawn again."""
        # Lightning counts its logged steps wrongly after some restarts; they are our steps.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        if trainer.global_step % self.every_n_steps == 0 and trainer.global_step > 0:
            self._save_last(trainer, trainer.datamodule.state_before_draw)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != "fit" or trainer.sanity_checking or score is None:
            return
        if float(score) > self.best_score:
            self.best_score, self.best_step = float(score), trainer.global_step
            trainer.save_checkpoint(self.best_path, weights_only=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_last(trainer, trainer.datamodule.rank_state())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A polite request to stop (SIGTERM, preemption) comes between two steps."""
        if isinstance(exception, SIGTERMException):
            self._save_last(trainer, trainer.datamodule.rank_state())

    # What is written

    def _save_last(self, trainer: Trainer, data_state: dict[str, Any]) -> None:
        if self._saved_step == trainer.global_step:
            return
        self._saved_step = trainer.global_step
        for logger in trainer.loggers:
            logger.save()
        mine = self._rank_file(trainer.global_step, trainer.global_rank)
        rings = trainer.datamodule.rings if self.save_replay else {}
        content = {
            "generators": _generators(),
            "data": data_state,
            "rollouts": _rollouts(trainer).rank_state(),
            "rings": {task: ring.state_dict() for task, ring in rings.items()},
        }
        mine.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_atomically(content, mine)
        except OSError as error:
            print(f"could not write {mine}: {error}; the checkpoint before it is still good", flush=True)
        written = trainer.strategy.reduce_boolean_decision(mine.exists())
        if not written:
            return
        trainer.save_checkpoint(self.last_path)
        self._remove_old(trainer)

    def _rank_file(self, step: int, rank: int) -> Path:
        return self.folder / "ranks" / f"step{step}-rank{rank}.pt"

    def _remove_old(self, trainer: Trainer) -> None:
        """Drop this rank's files that the checkpoint on disk no longer names."""
        for path in self._rank_file(0, 0).parent.glob(f"step*-rank{trainer.global_rank}.pt"):
            if path != self._rank_file(trainer.global_step, trainer.global_rank):
                path.unlink(missing_ok=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run_checkpoint"] = {
            "step": trainer.global_step,
            "world_size": trainer.world_size,
            "best_score": self.best_score,
            "best_step": self.best_step,
            "trained_on": sorted(trainer.datamodule.seen),
        }

    # What is read

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit":
            return
        about = checkpoint["run_checkpoint"]
        self.best_score, self.best_step = about["best_score"], about["best_step"]
        if about["world_size"] != trainer.world_size:
            raise UserError(
                f"the checkpoint is of a run on {about['world_size']} processes, this one has {trainer.world_size}; "
                "go on with as many"
            )
        path = Path(trainer.ckpt_path).parent / "ranks" / f"step{about['step']}-rank{trainer.global_rank}.pt"
        if not path.is_file():
            raise UserError(
                f"{trainer.ckpt_path} belongs with {path}, which is missing; copy the whole folder"
            )
        self._restored = torch.load(path, map_location="cpu", weights_only=True)
        trainer.datamodule.load_rank_state(self._restored["data"])
        _rollouts(trainer).load_rank_state(self._restored["rollouts"])
        for task, ring in self._restored["rings"].items():
            trainer.datamodule.rings[task].load_state_dict(ring)


def _rollouts(trainer: Trainer) -> OnlineRollouts:
    return next(c for c in trainer.callbacks if isinstance(c, OnlineRollouts))


def _generators() -> dict[str, Any]:
    """State of every global random generator, as tensors and plain Python."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_generators(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
