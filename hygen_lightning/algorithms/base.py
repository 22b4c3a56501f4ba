"""The shared base of all algorithms: one update over all training tasks, and how it is logged."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from hygen_lightning.checkpoint import check_architecture, check_goes_on
from hygen_lightning.models.agents import EntityTransformer
from hygen_lightning.models.layers import agent_id_code
from hygen_lightning.policy import LearnsFromEpisodes, LearnsOnPolicy
from hygen_lightning.specs import (
    BattleRequest,
    ChunkPlan,
    DataStatistics,
    EntityWidths,
    Episodes,
    HybridBatch,
    TaskSpec,
    UserError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hygen_lightning.policy import PolicyOutput
    from hygen_lightning.specs import Observation


LRSchedule = Literal["constant", "linear", "cosine"]


RANGES = {
    "width": (1, 4096),
    "n_heads": (1, 256),
    "depth": (1, 64),
    "n_skills": (1, 1024),
    "id_bits": (0, 16),
    **dict.fromkeys(("skill_steps", "prior_steps"), (0, 10**9)),
    **dict.fromkeys(("entity_width", "critic_width"), (2, 4096)),
    **dict.fromkeys(("num_envs", "chunk_env_steps"), (1, 10**6)),
    **dict.fromkeys(("epochs", "minibatches"), (1, 1000)),
    **dict.fromkeys(("entropy", "entropy_end", "value_weight"), (0, 10**6)),
    **dict.fromkeys(("refine_battles", "refine_skill_battles"), (0, 10**6)),
    **dict.fromkeys(("refine_epochs", "refine_minibatches"), (1, 1000)),
    "refine_clip": (1e-6, 10**6),
    "refine_random_skills": (0, 0.99),
    **dict.fromkeys(("refine_entropy", "refine_distinct", "teacher_weight"), (0, 10**6)),
    **dict.fromkeys(("alpha", "beta", "phi", "conservative_constant", "balance", "prior_weight"), (0, 10**6)),
    **dict.fromkeys(("advantage_weight", "return_weight"), (0, 10**6)),
}
"""Least and greatest value of options that several algorithms have: sizes, and weights of losses."""


def lr_factor(schedule: LRSchedule, share: float) -> float:
    """Factor of the learning rate when `share` (0..1) of a stage has passed: from 1 to 0.02.

    linear: along a line. cosine: along half a cosine. constant: 1 all the time."""
    share = min(max(share, 0.0), 1.0)
    left = {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}
    return 0.02 + 0.98 * left[schedule]


def ema(mean: Tensor, weight: Tensor, n_averaged: Tensor, decay: float) -> Tensor:
    """The exponential mean after one more step; the decay rises from 0.1 to `decay` (Tarvainen 2017)."""
    kept = ((1 + n_averaged) / (10 + n_averaged)).clamp(max=decay)
    return weight.lerp(mean, kept.to(mean.dtype))


class MultiTaskAlgorithm(LightningModule, ABC):
    """Sums the losses of all tasks and takes one optimiser step; the trainer clips the gradient.

    A new algorithm is one file: it derives from this class, builds its networks from `widths`,
    calls `keep_average` once its `network` stands, and fills in `offline_phase_steps`,
    `initial_hidden`, `act`, and what it learns from: `loss` for episodes, or the methods of
    `LearnsFromChunks` or `LearnsFromBattles` and a `chunk_plan` (all in `hygen_lightning.policy`). What
    it takes as options are plain Python values: they are written into every checkpoint, which
    `load_policy` and `load_from_checkpoint` build the model from.
    """

    network: nn.Module
    average: AveragedModel
    chunk_plan: ChunkPlan | None = None
    """How chunks, or whole battles, are played and learned from; None: it does not learn on-policy."""

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        lr: float,
        lr_schedule: LRSchedule,
        ema_decay: float,
        compile: bool,
    ) -> None:
        super().__init__()
        if not isinstance(self, (LearnsFromEpisodes, LearnsOnPolicy)):
            raise TypeError(f"{type(self).__name__} learns from nothing: fill in `loss`, or `chunk_loss`")
        self.save_hyperparameters(ignore=["widths"], logger=False)
        self.widths = widths if isinstance(widths, EntityWidths) else EntityWidths(**widths)
        if lr <= 0:
            raise UserError(f"--model.lr is {lr}; a learning rate is above 0, for example 5e-4")
        if not 0 <= ema_decay < 1:
            raise UserError(f"--model.ema_decay is {ema_decay}; give 0 (no average) up to below 1")
        for name in RANGES.keys() & self.hparams.keys():
            (least, most), value = RANGES[name], self.hparams[name]
            if not least <= value <= most:
                raise UserError(f"--model.{name} is {value}; give {least} to {most}")
        self.lr, self.lr_schedule, self.ema_decay = lr, lr_schedule, ema_decay
        self.compile_network = compile
        self.data_statistics: dict[str, DataStatistics] = {}
        """What the recordings hold, by task; a policy may read it when it acts."""
        self._fits = False
        self.loaded_steps = 0
        """`global_step` of the last loaded checkpoint."""
        self.loaded_data: dict[str, Any] | None = None
        """quality and dataset_dir of the last loaded checkpoint's recordings."""

    def check_minibatches(self, minibatches: str, battles: str) -> None:
        """UserError if the option `minibatches` asks for more parts than `battles` gives battles."""
        asked, there = self.hparams[minibatches], self.hparams[battles]
        if asked > there:
            raise UserError(
                f"--model.{minibatches} is {asked}; give at most --model.{battles}, {there}, so that each "
                "holds a battle of every task"
            )

    # The average that acts

    def keep_average(self) -> None:
        """From here on, `average` follows `network`; without a decay there is none."""
        if self.ema_decay:
            self.average = AveragedModel(self.network, avg_fn=partial(ema, decay=self.ema_decay))
            self.average.requires_grad_(False)

    @property
    def acting(self) -> Any:
        """The network that plays: the average of the weights, where one is kept."""
        return self.average.module if self.ema_decay else self.network

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        learned = any(parameter.grad is not None for parameter in self.network.parameters())
        if self.ema_decay and learned:  # a skipped batch leaves no gradient
            self.average.update_parameters(self.network)

    # What an algorithm fills in

    @property
    @abstractmethod
    def offline_phase_steps(self) -> int:
        """Optimiser steps, from the first, that learn from recordings only."""

    @abstractmethod
    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Any:
        """See `hygen_lightning.policy.Policy`."""

    @abstractmethod
    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """See `hygen_lightning.policy.Policy`."""

    # What it may fill in beside what it learns from

    @property
    def policy_has_learned(self) -> bool:
        """Whether the parts that act have been trained; before, no checkpoint can be the best."""
        return True

    def stage_name(self) -> str:
        """What the optimiser is doing now, as users read it."""
        return "training"

    def stage_share(self, step: int) -> float:
        """Share (0..1) of its stage that has passed at this optimiser step; `lr_schedule` follows it."""
        return step / self.trainer.max_steps

    # The update

    @property
    def _data(self) -> Any:
        """The trainer's DataModule, or None."""
        return getattr(self.trainer, "datamodule", None)

    def setup(self, stage: str) -> None:
        self._fits = stage == "fit"

    def check_tasks(self, tasks: Iterable[TaskSpec]) -> None:
        """UserError where a task has more agents than the network's `id_bits` can number."""
        for task in tasks:
            agent_id_code(task.layout.n_allies, self.hparams.get("id_bits", 0), like=torch.zeros(()))

    def configure_optimizers(self) -> Any:
        if self.lr_schedule != "constant" and self.trainer.max_steps < 1:
            raise UserError(
                f"--model.lr_schedule {self.lr_schedule} falls over the whole run: give --trainer.max_steps"
            )
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)

        def factor(step: int) -> float:
            constant = self.lr_schedule == "constant"
            return 1.0 if constant else lr_factor(self.lr_schedule, self.stage_share(step))

        scheduler = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        self.data_statistics |= getattr(self._data, "statistics", {})
        if self.compile_network:
            for part in self.modules():
                if isinstance(part, EntityTransformer):
                    part.compile_blocks()

    def losses(self, batch: HybridBatch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Of each part of a batch: its task, its loss (a scalar), and what to log of it, by name."""
        for name, chunk in batch.chunks.items():
            assert isinstance(self, LearnsOnPolicy)
            yield name, *self.chunk_loss(chunk)
        for name, episodes in batch.episodes.items():
            assert isinstance(self, LearnsFromEpisodes)
            share = batch.offline_share[name]
            loss, metrics = self.loss(episodes, share)
            yield name, loss, metrics | {"offline_share": torch.tensor(share)}

    def training_step(self, batch: HybridBatch, batch_idx: int) -> Tensor:
        """The sum of the losses of all tasks."""
        losses = []
        for name, loss, metrics in self.losses(batch):
            told = {"loss": loss.detach(), **metrics}
            self.log_step({f"train/{name}/{key}": value for key, value in told.items()})
            losses.append(loss)
        total = torch.stack(losses).sum()
        self.log_step({"train/mean/loss": total.detach() / len(losses)}, prog_bar=True)
        return total

    def log_step(self, metrics: dict[str, Tensor], prog_bar: bool = False) -> None:
        """Log what this optimiser step measured, in rows of this step and no other.

        Lightning's `log` would repeat the last value of a metric in every later row, those of stage
        one through all of stage two. Callbacks may watch the metrics as ever.
        """
        self.log_dict(metrics, logger=False, prog_bar=prog_bar, batch_size=1)
        every = self.trainer.log_every_n_steps
        if every and (self.global_step + 1) % every == 0:
            values = {name: float(value) for name, value in metrics.items()}
            for logger in self.loggers:
                logger.log_metrics(values, step=self.global_step)

    def validation_step(self, request: BattleRequest, batch_idx: int) -> None:
        """Nothing: the `BattleEvaluation` callback has played the request."""

    test_step = predict_step = validation_step

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the model is built from again, in plain Python values."""
        kind, data = type(self), self._data
        names = signature(kind).parameters.keys() - {"widths"}
        options = {name: value for name, value in self.hparams.items() if name in names}
        checkpoint["hyper_parameters"] = {**options, "widths": asdict(self.widths)}
        class_path = f"{kind.__module__}.{kind.__qualname__}"
        checkpoint["model_config"] = {"class_path": class_path, "init_args": options}
        checkpoint["data_statistics"] = {task: asdict(held) for task, held in self.data_statistics.items()}
        checkpoint["trained_on"] = dict(getattr(data, "sources", {}))
        environment = getattr(data, "environment", None)
        if environment is not None:  # whoever plays the checkpoint plays where it learned
            checkpoint["environment"] = environment
        checkpoint["learned_from"] = {name: getattr(data, name, None) for name in ("quality", "dataset_dir")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """UserError for networks of other sizes, and where a run cannot go on from weights alone."""
        if self._fits:
            path = self.trainer.ckpt_path or "the checkpoint"
            check_goes_on(self, checkpoint, path, self.trainer.max_steps)
        else:
            check_architecture(self, checkpoint)
        self.loaded_steps = checkpoint.get("global_step", 0)
        self.loaded_data = checkpoint.get("learned_from")
        held = checkpoint.get("data_statistics", {})
        self.data_statistics = {task: DataStatistics(**statistics) for task, statistics in held.items()}

    def on_train_start(self) -> None:
        """Take the learning rate of the options, not that of the loaded checkpoint."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            scheduler.base_lrs = [self.lr] * len(scheduler.base_lrs)
            rate = self.lr * scheduler.lr_lambdas[0](scheduler.last_epoch)
            for group in scheduler.optimizer.param_groups:
                group["lr"] = rate


def action_accuracy(action_logits: Tensor, episodes: Episodes, mask: Tensor) -> Tensor:
    """Share of actions that the decoder's best available action repeats, where there was a choice.

    action_logits [B, T, A, K], mask [B, T] bool -> scalar in 0..1.
    """
    best = action_logits.detach().masked_fill(~episodes.avail_actions, -torch.inf).argmax(-1)
    chose = mask.unsqueeze(-1) & (episodes.avail_actions.sum(-1) > 1)
    return (best == episodes.actions)[chose].float().mean()
