"""What must never be lost: checkpoints that a killed run goes on from as if nothing had happened."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from hygen_lightning.data.files import replacing
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.run.generators import generator_states, restore_generators, seed_rank
from hygen_lightning.run.metrics_table import forget_rows_after
from hygen_lightning.run.stopping import StopRequest
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a reader finds the old file or the new one.

    A full disk or a write error is one line on the terminal; `written` says how the last write went.
    """

    written = True

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.written = written_or_reported(checkpoint, Path(path))


def written_or_reported(content: dict[str, Any], path: Path) -> bool:
    """Write a file whole, or leave the previous one and say why; whether it was written."""
    try:
        save_atomically(content, path)
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"could not write {path}: {reason}; the checkpoint before it is still good", flush=True)
        return False
    return True


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save under a temporary name, then rename; OSError leaves the old file untouched."""
    with replacing(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's own writer hides what the system said
            raise OSError(errno.EIO, str(error).strip().split("\n", 1)[0]) from error


class RunCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which a run goes on exactly, and `best.ckpt`, chosen on seen tasks.

    Beside `last.ckpt`, each rank keeps one file with its replay buffers, its streams of episodes and its
    random generators. A checkpoint names the files that belong to it; both are written under a
    temporary name and renamed, the rank's file first, and older ones go when both are there.

    SIGTERM, Ctrl-C and, under SLURM, SIGUSR1 let the step finish, save, and end the run with exit
    code 128 + signal; `--resume auto` goes on from there.

    Args:
        every_n_steps: optimiser steps between two writes of last.ckpt
        save_replay: keep the replay buffers too; without them a resumed run starts with empty ones, learns
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
        self._stop = StopRequest()
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
        self._stop.listen()
        if self._restored is not None:
            restore_generators(self._restored["generators"])
            self._restored = None
            self._saved_step = trainer.global_step
        else:
            seed_rank(trainer.datamodule.seed, trainer.global_rank)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """All of the step before is done and logged; the batch at hand will be drawn again."""
        # Lightning counts its logged steps wrongly after some restarts; they are our steps.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        stop = trainer.strategy.reduce_boolean_decision(self._stop.signal is not None, all=False)
        due = trainer.global_step % self.every_n_steps == 0 and trainer.global_step > 0
        if due or stop:
            self._save_last(trainer, trainer.datamodule.state_before_draw)
        if stop:
            self._leave(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != "fit" or trainer.sanity_checking or score is None:
            return
        if float(score) > self.best_score and pl_module.policy_has_learned:
            before = self.best_score, self.best_step
            self.best_score, self.best_step = float(score), trainer.global_step
            if not self._save(trainer, self.best_path, weights_only=True):
                self.best_score, self.best_step = before

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_last(trainer, trainer.datamodule.rank_state())
        self._stop.ignore()
        if trainer.strategy.reduce_boolean_decision(self._stop.signal is not None, all=False):
            self._leave(trainer)

    def _leave(self, trainer: Trainer) -> None:
        """End the run. Other ranks end with 0: Lightning kills rank 0 when one of them complains."""
        if not trainer.is_global_zero:
            raise SystemExit(0)
        print(
            f"asked to stop: saved step {trainer.global_step} in {self.last_path}; "
            "go on with the same command and --resume auto",
            flush=True,
        )
        raise SystemExit(self._stop.exit_code)

    # What is written

    def _save_last(self, trainer: Trainer, data_state: dict[str, Any]) -> None:
        if self._saved_step == trainer.global_step:
            return
        for logger in trainer.loggers:
            logger.save()
        mine = self._rank_file(trainer.global_step, trainer.global_rank)
        replay_buffers = trainer.datamodule.replay_buffers if self.save_replay else {}
        content = {
            "generators": generator_states(),
            "data": data_state,
            "rollouts": _rollouts(trainer).rank_state(),
            "replay_buffers": {task: buffer.state_dict() for task, buffer in replay_buffers.items()},
        }
        all_wrote = trainer.strategy.reduce_boolean_decision(written_or_reported(content, mine))
        if all_wrote and self._save(trainer, self.last_path):
            self._saved_step = trainer.global_step
            self._keep_only(mine, trainer.global_rank)
        else:
            mine.unlink(missing_ok=True)

    def _save(self, trainer: Trainer, path: Path, weights_only: bool = False) -> bool:
        """Rank 0 writes a checkpoint; whether it could, the same answer on every rank."""
        trainer.save_checkpoint(path, weights_only=weights_only)
        return bool(trainer.strategy.broadcast(getattr(trainer.strategy.checkpoint_io, "written", True)))

    def _rank_file(self, step: int, rank: int) -> Path:
        return self.folder / "ranks" / f"step{step}-rank{rank}.pt"

    def _keep_only(self, kept: Path, rank: int) -> None:
        """Drop this rank's files that the checkpoint on disk no longer names."""
        for path in kept.parent.glob(f"step*-rank{rank}.pt"):
            if path != kept:
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
        # The batch at hand is not part of the checkpoint, though Lightning has counted it as ready.
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (batches["total"], batches["current"]):
            count["ready"] = count["started"]

    # What is read

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit":
            return
        about = checkpoint["run_checkpoint"]
        if about["world_size"] != trainer.world_size:
            raise UserError(
                f"the checkpoint is of a run on {about['world_size']} processes, this one has "
                f"{trainer.world_size}; go on with as many"
            )
        if about["trained_on"] != sorted(trainer.datamodule.seen):
            tasks = ", ".join(sorted(trainer.datamodule.seen))
            raise UserError(
                f"the checkpoint is of training on {', '.join(about['trained_on'])}, this run is on {tasks}; "
                "give the options that the run was started with"
            )
        content = _read_rank_file(Path(str(trainer.ckpt_path)), about["step"], trainer.global_rank)
        trainer.datamodule.load_rank_state(content["data"])
        _rollouts(trainer).load_rank_state(content["rollouts"])
        self._load_replay_buffers(trainer, content["replay_buffers"])
        self._restored = content
        if about["step"] < trainer.max_steps:
            _reopen(checkpoint["loops"]["fit_loop"])
        self.best_score, self.best_step = about["best_score"], about["best_step"]
        if trainer.is_global_zero:
            forget_rows_after(Path(trainer.default_root_dir), about["step"])
            for stray in self.folder.rglob(".*.tmp"):
                stray.unlink(missing_ok=True)

    def _load_replay_buffers(self, trainer: Trainer, replay_buffers: dict[str, Any]) -> None:
        for task, buffer in replay_buffers.items():
            trainer.datamodule.replay_buffers[task].load_state_dict(buffer)
        played = _rollouts(trainer).played_episodes
        if not replay_buffers and played and trainer.is_global_zero:
            print(
                "the checkpoint holds no replay (save_replay was false): they start empty, the episodes "
                f"of {played} battles are lost, and the run will differ from an uninterrupted one",
                flush=True,
            )


def _reopen(fit_loop: dict[str, Any]) -> None:
    """Let Lightning's counters say that the run's one epoch is not over, though its last step is."""
    fit_loop["epoch_loop.batch_progress"]["is_last_batch"] = False
    for count in (fit_loop["epoch_progress"]["total"], fit_loop["epoch_progress"]["current"]):
        count.update(ready=1, started=1, processed=0, completed=0)


def _read_rank_file(checkpoint: Path, step: int, rank: int) -> dict[str, Any]:
    """What one rank saved beside a checkpoint; UserError if it is missing or damaged."""
    path = checkpoint.parent / "ranks" / f"step{step}-rank{rank}.pt"
    if not path.is_file():
        raise UserError(f"{checkpoint} belongs with {path}, which is missing; copy the whole folder")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{path} is damaged; it belongs with {checkpoint}") from error
    return content


def _rollouts(trainer: Trainer) -> OnlineRollouts:
    return next(c for c in trainer.callbacks if isinstance(c, OnlineRollouts))
