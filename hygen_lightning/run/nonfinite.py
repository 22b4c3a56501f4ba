"""NaN or infinity in a loss or a gradient: stop with a dump to look at, or skip the batch."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback
from torch import Tensor

from hygen_lightning.run.checkpoint import save_atomically
from hygen_lightning.seeding import noise_states, restore_noise
from hygen_lightning.specs import HybridBatch, RunError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from torch.optim import Optimizer

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.specs import Chunk, Episodes


class NonFiniteGuard(Callback):
    """Watches the loss and the gradient of every update; all ranks decide together.

    A step whose loss or gradient is NaN or infinite ends the run with exit code 1 and one line:
    what, which task, which step. The batch, the weights and the random state that led to it lie
    in `nonfinite-step<step>-rank<rank>.pt` of the run folder (torch.load, weights_only).

    Args:
        skip: leave such a batch out instead: no parameter and no moment of the optimiser changes,
            the step counts, and train/mean/skipped_batches counts it
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.skipped_batches = 0
        self._batch = HybridBatch({}, {})
        self._noise: dict[str, Tensor] = {}
        self._loss = torch.zeros(())

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: MultiTaskAlgorithm, batch: Any, batch_idx: int
    ) -> None:
        self._batch, self._noise = batch, noise_states()

    def on_before_backward(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, loss: Tensor) -> None:
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: MultiTaskAlgorithm, optimizer: Optimizer
    ) -> None:
        # Without a limit this scales nothing; it is the one public call for the total norm.
        norm = torch.nn.utils.clip_grad_norm_(pl_module.parameters(), float("inf"))
        pl_module.log_step({"train/mean/gradient_norm": norm.detach()})
        watched = self._loss
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            watched = watched + norm.to(watched.device)  # a loss scaler skips infinite gradients itself
        bad = not bool(watched.isfinite())
        if trainer.strategy.reduce_boolean_decision(bad, all=False):
            self._answer(trainer, pl_module)
        if self.skip:
            pl_module.log_step({"train/mean/skipped_batches": torch.tensor(float(self.skipped_batches))})

    def _answer(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        """Skip the batch, or end the run on all ranks."""
        if self.skip:
            self.skipped_batches += 1
            for parameter in pl_module.parameters():
                parameter.grad = None
            return
        mine = self._culprit(pl_module)
        dump = (
            Path(trainer.default_root_dir)
            / f"nonfinite-step{trainer.global_step}-rank{trainer.global_rank}.pt"
        )
        with contextlib.suppress(OSError):
            save_atomically(self._dump(trainer, pl_module, mine), dump)
        found = [(what, path) for what, path in _gathered(trainer, (mine, str(dump))) if what is not None]
        what, path = found[0] if found else ("the gradient is not finite", str(dump))
        if not trainer.is_global_zero:  # Lightning kills rank 0 when another rank complains
            raise SystemExit(0)
        raise RunError(
            f"step {trainer.global_step}: {what}; see {path} (batch, weights, random state). Lower the "
            "learning rate, mend the data, or go on without such batches: --resume auto --nonfinite.skip true"
        )

    def _culprit(self, pl_module: MultiTaskAlgorithm) -> str | None:
        """The first task of this rank's batch whose loss or gradient is not finite, in words.

        Every task is computed on every rank: their losses share counts with the other ranks'.
        """
        parameters = [p for p in pl_module.parameters() if p.requires_grad]
        gpus = [torch.cuda.current_device()] if "cuda" in self._noise else []
        found = []
        with torch.random.fork_rng(gpus), torch.enable_grad():
            restore_noise(self._noise)
            for task, loss, _ in pl_module.losses(self._batch):
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                if not bool(loss.isfinite()):
                    found.append(f"the loss of {task} is {loss.item()}")
                elif not all(bool(g.isfinite().all()) for g in gradients if g is not None):
                    found.append(f"the gradient of the loss of {task} is not finite")
        return found[0] if found else None

    def _dump(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, what: str | None) -> dict[str, Any]:
        batch = self._batch.to("cpu")
        return {
            "what": what,
            "step": trainer.global_step,
            "episodes": {task: _tensors(episodes) for task, episodes in batch.episodes.items()},
            "chunks": {task: _tensors(chunk) for task, chunk in batch.chunks.items()},
            "offline_share": batch.offline_share,
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "generators": self._noise,
            "weights": {name: value.cpu() for name, value in pl_module.state_dict().items()},
            "entity_widths": asdict(pl_module.widths),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"skipped_batches": self.skipped_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped_batches = state_dict["skipped_batches"]


def _tensors(part: Episodes | Chunk) -> dict[str, Tensor]:
    """The tensors of a part of a batch, by name."""
    return {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}


def _gathered(trainer: Trainer, mine: Any) -> list[Any]:
    """What every rank says, rank 0 first."""
    if trainer.world_size == 1:
        return [mine]
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, mine)
    return everyone
