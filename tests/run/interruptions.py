"""Callbacks that end a run in the ways that real runs end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from hygen_lightning.algorithms import HyGen
from hygen_lightning.run.run import claimed
from hygen_lightning.specs import HybridBatch, UserError


class StopAt(Callback):
    """Ctrl-C of old: an exception in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


class SignalAt(Callback):
    """A signal to this process in the middle of a step."""

    def __init__(self, step: int, number: int = int(signal.SIGTERM)) -> None:
        self.step, self.number = step, number

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


class AnotherGoesOn(Callback):
    """Somebody else who wants the folder of a run in its second step."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step == 1:
            (folder,) = (self.root / "tiny").iterdir()
            try:
                with claimed(folder):
                    print("taken")
            except UserError as error:
                print("refused:", str(error).removeprefix(f"{folder}: "))


class SignalInTheLastBattles(Callback):
    """SIGTERM while the test plays."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


class CtrlCTwice(Callback):
    """A user who does not wait for the step to end."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)


class StopsEarly(Callback):
    """What EarlyStopping and a time limit do: no step after this many."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


class WantsPsutil(Callback):
    """Looks for its package as late as Lightning's DeviceStatsMonitor does."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        raise ModuleNotFoundError("Requirement 'psutil' not met")


class RankReport(Callback):
    """What each rank did, in `rank<r>.pt` of the run folder: draws, schedules, battles, parameters."""

    def __init__(self) -> None:
        self.steps: list[dict[str, object]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: HybridBatch, batch_idx: int
    ) -> None:
        replay_buffers = trainer.datamodule.replay_buffers.values()
        self.steps.append(
            {
                "step": trainer.global_step,
                "states": {task: episodes.state.clone() for task, episodes in batch.episodes.items()},
                "offline_share": dict(batch.offline_share),
                "noise": torch.get_rng_state(),
                "replay": [
                    buffer.state_dict()["steps"].get("obs", torch.empty(0)).clone()
                    for buffer in replay_buffers
                ],
                "replay_episodes": [len(buffer) for buffer in replay_buffers],
            }
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        content = {"steps": self.steps, "weights": pl_module.state_dict()}
        torch.save(content, f"{trainer.default_root_dir}/rank{trainer.global_rank}.pt")


class SpoilRankOne(Callback):
    """The second process gets a NaN in its loss at one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_start(self, trainer: Trainer, pl_module: HyGen) -> None:
        true_loss = pl_module.loss

        def loss(*args: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            value, metrics = true_loss(*args)
            spoilt = trainer.global_rank == 1 and trainer.global_step == self.step
            return (value * torch.nan if spoilt else value), metrics

        pl_module.loss = loss
