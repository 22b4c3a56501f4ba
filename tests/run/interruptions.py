"""Callbacks that end a run in the ways that real runs end."""

from __future__ import annotations

import os
import signal

from lightning.pytorch import Callback, LightningModule, Trainer


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
