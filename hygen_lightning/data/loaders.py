"""The loaders that the DataModule gives to Lightning: batch numbers, and battle requests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.callbacks import Timer

from hygen_lightning.specs import BattleRequest, UserError


class BatchNumbers:
    """Numbers in the place of batches: as many as `max_steps` optimiser steps need, or without end.

    The DataModule draws the batch itself in `on_before_batch_transfer`, in the main process: a
    worker's copy of a replay buffer would never see new episodes. Lightning fetches ahead only
    numbers, so a state saved between two steps is what the next step starts from.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def __len__(self) -> int:
        if self.trainer.max_steps == -1:
            raise TypeError("a run that only a time ends has no number of batches")
        return max(self.trainer.max_steps * self.trainer.accumulate_grad_batches, 1)

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class BattleRequests:
    """The battle requests of one rank, in order. (Of a plain list Lightning would make many loaders.)"""

    def __init__(self, requests: list[BattleRequest]) -> None:
        self.requests = requests

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[BattleRequest]:
        return iter(self.requests)


def check_trainer(trainer: Any, fit: bool) -> None:
    """UserError for options of the Trainer that do not go with batches that are drawn, not read."""
    if trainer.precision not in ("32-true", "16-mixed", "bf16-mixed"):
        raise UserError(
            f"--trainer.precision {trainer.precision}: batches and battles are float32; "
            "give 32-true, 16-mixed or bf16-mixed"
        )
    if not fit or trainer.fast_dev_run:
        return
    for option, usual in (("limit_train_batches", 1.0), ("overfit_batches", 0.0)):
        value = getattr(trainer, option)
        if value != usual:
            raise UserError(
                f"--trainer.{option} {value}: batches are drawn, there is no fixed list of them to shorten; "
                "give a smaller --trainer.max_steps"
            )
    for option in ("val_check_interval", "log_every_n_steps"):
        value = getattr(trainer, option)
        least = int(option == "val_check_interval")
        if isinstance(value, int) and value < least:
            raise UserError(f"--trainer.{option} is {value}; it counts optimiser steps: give {least} or more")
    if trainer.max_steps == -1 and not any(isinstance(c, Timer) for c in trainer.callbacks):
        raise UserError(
            "how long shall training go on? Give --trainer.max_steps (optimiser steps) or max_time; "
            "an epoch has no end here"
        )
