"""What must never be lost: checkpoints that a killed run goes on from as if nothing had happened."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, Timer

from hygen_lightning.data.files import replacing
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.run.best import Best
from hygen_lightning.seeding import generator_states, restore_generators, seed_rank
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

SPARE_BYTES = 2**20
"""With less space left than this, a write that fails is put down to a full disk."""


class RunCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which a run goes on exactly, and `best.ckpt`, chosen on seen tasks.

    Both lie in `<run>/checkpoints`, where no other callback may write. Beside `last.ckpt`, each rank
    keeps one file with its replay buffers, its streams of episodes and its random generators. A
    checkpoint names the files that belong to it; both are written under a temporary name and
    renamed, the rank's file first, and older ones go when both are there.

    It is written before the first batch of a step is drawn: rollouts, validation and metrics of
    the step before are done, nothing is in flight.

    SIGTERM, Ctrl-C and, under SLURM, SIGUSR1 let the step finish, save, and end the run with exit
    code 128 + signal; `--resume auto` goes on from there. `max_time` counts from every start.

    Args:
        every_n_steps: optimiser steps between two writes of last.ckpt
        save_replay: keep the replay buffers too; without them a resumed run starts with empty ones, learns
            from recordings until they have filled again, and differs from an uninterrupted one
        monitor: metric that chooses best.ckpt, the larger the better
        tolerance: later weights replace earlier ones also where they score less than the best by at most so
            many standard errors of the difference, which chance explains (where `<monitor>_error` is logged;
            else where they score the same); 0: only where they score more
    """

    def __init__(
        self,
        every_n_steps: int = 500,
        save_replay: bool = True,
        monitor: str = "val/mean/seen_score",
        tolerance: float = 1.0,
    ) -> None:
        if every_n_steps < 1:
            raise UserError(f"--checkpoint.every_n_steps is {every_n_steps}; give at least 1")
        if not 0 <= tolerance < float("inf"):
            raise UserError(f"--checkpoint.tolerance is {tolerance}; give standard errors, 0 or more")
        self.every_n_steps, self.save_replay = every_n_steps, save_replay
        self.monitor, self.tolerance = monitor, tolerance
        self.best = Best()
        self.saved_step = -1
        """Optimiser step of last.ckpt on the disk; -1 where there is none."""
        self._step_at_hand = -1
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

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """UserError if a ModelCheckpoint of the user's writes to the run's own folder."""
        for other in trainer.checkpoint_callbacks:
            theirs = other.dirpath if isinstance(other, ModelCheckpoint) else None
            if theirs is not None and Path(theirs).resolve() == self.folder.resolve():
                raise UserError(
                    f"a ModelCheckpoint writes to {self.folder}, where the run keeps its last.ckpt and "
                    "best.ckpt; give it another dirpath, or none"
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop.listen()
        if self._restored is not None:
            restore_generators(self._restored["generators"])
            self._restored = None
            self.saved_step = self._step_at_hand = trainer.global_step
        else:
            self.saved_step = self._step_at_hand = -1
            seed_rank(trainer.datamodule.seed, trainer.global_rank)
        trainer.datamodule.before_draw = lambda: self._before_draw(trainer)

    def _before_draw(self, trainer: Trainer) -> None:
        """Save if it is due or asked for, except before the run's last batch: `on_train_end` saves it."""
        begins_step = trainer.global_step != self._step_at_hand
        self._step_at_hand = trainer.global_step
        if not begins_step or trainer.is_last_batch or trainer.fast_dev_run:
            return
        stop = trainer.strategy.reduce_boolean_decision(self._stop.signal is not None, all=False)
        due = trainer.global_step % self.every_n_steps == 0 and trainer.global_step > 0
        if due or stop:
            self._save_last(trainer)
        if stop:
            self._leave(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != "fit" or trainer.sanity_checking or score is None or trainer.fast_dev_run:
            return
        error = float(trainer.callback_metrics.get(f"{self.monitor}_error", 0.0))
        found = self.best.after(float(score), error, trainer.global_step, self.tolerance)
        if found is not None and pl_module.policy_has_learned:
            before, self.best = self.best, found
            if not self._save(trainer, self.best_path, weights_only=True):
                self.best = before

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.datamodule.before_draw = None
        if not trainer.fast_dev_run:
            self._save_last(trainer)
        self._stop.ignore()
        if trainer.strategy.reduce_boolean_decision(self._stop.signal is not None, all=False):
            self._leave(trainer)

    def _leave(self, trainer: Trainer) -> None:
        """End the run. Other ranks end with 0: Lightning kills rank 0 when one of them complains."""
        if not trainer.is_global_zero:
            raise SystemExit(0)
        if self.saved_step == trainer.global_step:
            where = f"saved step {trainer.global_step} in {self.last_path}"
        else:
            where = f"step {trainer.global_step} could not be saved"
        hint = (
            "; go on with the same command and --resume auto" if self.saved_step >= 0 else ", nor any before"
        )
        print(f"asked to stop: {where}{hint}", flush=True)
        raise SystemExit(self._stop.exit_code)

    # What is written

    def _save_last(self, trainer: Trainer) -> None:
        if self.saved_step == trainer.global_step:
            return
        for logger in trainer.loggers:
            logger.save()
        mine = self._rank_file(trainer.global_step, trainer.global_rank)
        replay_buffers = trainer.datamodule.replay_buffers if self.save_replay else {}
        content = {
            "generators": generator_states(),
            "data": trainer.datamodule.rank_state(),
            "rollouts": {} if _rollouts(trainer) is None else _rollouts(trainer).rank_state(),
            "replay_buffers": {task: buffer.state_dict() for task, buffer in replay_buffers.items()},
        }
        wrote = written_or_reported(content, mine, before=self.last_path)
        if trainer.strategy.reduce_boolean_decision(wrote) and self._save(trainer, self.last_path):
            self.saved_step = trainer.global_step
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
            "best": asdict(self.best),
            "trained_on": sorted(trainer.datamodule.seen),
        }

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
        self.saved_step = about["step"]
        trainer.datamodule.load_rank_state(content["data"])
        rollouts = _rollouts(trainer)
        if rollouts is not None and content["rollouts"]:
            rollouts.load_rank_state(content["rollouts"])
        self._load_replay_buffers(trainer, content)
        self._restored = content
        before = {"score": about.get("best_score"), "step": about.get("best_step")}  # the old format
        self.best = Best(**about.get("best", before))
        checkpoint["callbacks"].pop(Timer.__qualname__, None)
        if trainer.is_global_zero:
            for stray in self.folder.rglob(".*.tmp"):
                stray.unlink(missing_ok=True)

    def _load_replay_buffers(self, trainer: Trainer, content: dict[str, Any]) -> None:
        for task, buffer in content["replay_buffers"].items():
            trainer.datamodule.replay_buffers[task].load_state_dict(buffer)
        played = content["rollouts"].get("played_episodes", 0)
        if not content["replay_buffers"] and played and trainer.is_global_zero:
            print(
                "the checkpoint holds no replay (save_replay was false): they start empty, the episodes "
                f"of {played} battles are lost, and the run will differ from an uninterrupted one",
                flush=True,
            )


def _read_rank_file(checkpoint: Path, step: int, rank: int) -> dict[str, Any]:
    """What one rank saved beside a checkpoint; UserError if it is missing or damaged."""
    path = checkpoint.parent / "ranks" / f"step{step}-rank{rank}.pt"
    if not path.is_file():
        raise UserError(
            f"{checkpoint} belongs with {path}, which is missing; "
            "give the last.ckpt of a run, in its whole checkpoints folder"
        )
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{path} is damaged; it belongs with {checkpoint}") from error
    return content


def _rollouts(trainer: Trainer) -> Any:
    """The callback that plays, or None."""
    return next((c for c in trainer.callbacks if isinstance(c, OnlineRollouts)), None)


# Writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a reader finds the old file or the new one.

    A full disk or a write error is one line on the terminal; `written` says how the last write went.
    """

    written = True

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.written = written_or_reported(checkpoint, Path(path), before=Path(path))


def written_or_reported(content: dict[str, Any], path: Path, before: Path) -> bool:
    """Write a file whole, or leave what is there and say why; whether it was written.

    before: the checkpoint that a run goes on from if this one fails.
    """
    try:
        save_atomically(content, path)
    except OSError as error:
        reason = error.strerror or str(error)
        left = "the checkpoint before it is still good" if before.exists() else "there is none before it"
        print(f"could not write {path}: {reason}; {left}", flush=True)
        return False
    return True


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save under a temporary name, then rename; OSError leaves the old file untouched."""
    with replacing(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's own writer hides what the system said
            if shutil.disk_usage(path.parent).free < SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise OSError(errno.EIO, str(error).strip().split("\n", 1)[0]) from error


# Requests to stop


class StopRequest:
    """Notes the first signal that asks this process to stop; the same one again stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def listen(self) -> None:
        """Take over the signals; SLURM's warning before a time limit is SIGUSR1."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.signal = None
        signals = [signal.SIGTERM, signal.SIGINT]
        if "SLURM_JOB_ID" in os.environ:
            signals.append(signal.SIGUSR1)
        self._handlers = {number: signal.signal(number, self._note) for number in signals}

    def ignore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once and loses it\n")
        at_once = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, at_once)

    @property
    def exit_code(self) -> int:
        """What shells report of a process that a signal ended: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGTERM)
