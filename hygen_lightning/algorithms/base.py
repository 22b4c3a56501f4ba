"""The shared base of all algorithms: one update over all training tasks, and how it is logged."""

from __future__ import annotations

import copy
import importlib
import math
from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.models.agents import EntityTransformer
from hygen_lightning.models.layers import agent_id_code
from hygen_lightning.specs import BattleRequest, EntityWidths, Episodes, HybridBatch, TaskSpec, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hygen_lightning.policy import PolicyOutput
    from hygen_lightning.specs import Observation


LRSchedule = Literal["constant", "cosine"]


def lr_factor(schedule: LRSchedule, share: float) -> float:
    """Factor of the learning rate when `share` (0..1) of a stage has passed: 1, or half a cosine to 0.02."""
    if schedule == "constant":
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))


class MultiTaskAlgorithm(LightningModule):
    """Sums the losses of all tasks, clips, takes one optimiser step (HyGen, section 3 of its code).

    A new algorithm is one file: it derives from this class, builds its networks from `widths`,
    calls `keep_average` once its `network` stands, and fills in `offline_phase_steps`, `loss`,
    `initial_hidden` and `act`.
    """

    network: nn.Module
    average: nn.Module

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        lr: float,
        lr_schedule: LRSchedule,
        ema_decay: float,
        compile: bool,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["widths"], logger=False)
        self.widths = widths if isinstance(widths, EntityWidths) else EntityWidths(**widths)
        if lr <= 0:
            raise UserError(f"--model.lr is {lr}; a learning rate is above 0, for example 5e-4")
        if not 0 <= ema_decay < 1:
            raise UserError(f"--model.ema_decay is {ema_decay}; give 0 (no average) up to below 1")
        self.lr, self.lr_schedule, self.ema_decay = lr, lr_schedule, ema_decay
        self.compile_network = compile
        self.loaded_steps = 0
        """Optimiser steps that the weights of the checkpoint have behind them that was loaded last."""
        self.loaded_data: dict[str, Any] | None = None
        """quality and dataset_dir that they learned from."""

    # The average that acts

    def keep_average(self) -> None:
        """From here on, `average` follows `network`; without a decay there is none."""
        if self.ema_decay:
            self.average = copy.deepcopy(self.network).requires_grad_(False)

    @property
    def acting(self) -> Any:
        """The network that plays: the average of the weights, where one is kept."""
        return self.average if self.ema_decay else self.network

    @torch.no_grad()
    def _update_average(self) -> None:
        """One step of the exponential mean, over few steps while there are few (Tarvainen 2017)."""
        decay = min(self.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        for mean, weight in zip(self.average.parameters(), self.network.parameters()):
            mean.lerp_(weight, 1 - decay)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        learned = any(parameter.grad is not None for parameter in self.network.parameters())
        if self.ema_decay and learned:  # a skipped batch leaves no gradient
            self._update_average()

    def check_tasks(self, tasks: Iterable[TaskSpec]) -> None:
        """UserError where a task has more agents than the network's `id_bits` can number."""
        for task in tasks:
            agent_id_code(task.layout.n_allies, self.hparams.get("id_bits", 0), like=torch.zeros(()))

    # What an algorithm fills in

    @property
    @abstractmethod
    def offline_phase_steps(self) -> int:
        """Optimiser steps, from the first, that learn from recordings only."""

    @abstractmethod
    def loss(self, episodes: Episodes, offline_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one task's episodes (a scalar) and what to log of it, by name."""

    @abstractmethod
    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Any:
        """See `hygen_lightning.policy.Policy`."""

    @abstractmethod
    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """See `hygen_lightning.policy.Policy`."""

    @property
    def policy_has_learned(self) -> bool:
        """Whether the parts that act have been trained; before, no checkpoint can be the best."""
        return True

    def on_fit_start(self) -> None:
        if self.compile_network:
            for part in self.modules():
                if isinstance(part, EntityTransformer):
                    part.compile_blocks()

    def stage_share(self) -> float:
        """How much of the present stage has passed (0..1); the learning rate may follow it."""
        return self.global_step / max(self.trainer.max_steps, 1)

    def stage_name(self) -> str:
        """What the optimiser is doing now, as users read it."""
        return "training"

    # The update

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate of this step; it depends on the step alone."""
        rate = self.lr * lr_factor(self.lr_schedule, self.stage_share())
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate

    def training_step(self, batch: HybridBatch, batch_idx: int) -> Tensor:
        losses = []
        for name, episodes in batch.episodes.items():
            loss, metrics = self.loss(episodes, batch.offline_share[name])
            losses.append(loss)
            metrics = {"loss": loss.detach(), **metrics}
            logged = {f"train/{name}/{key}": value for key, value in metrics.items()}
            logged[f"train/{name}/offline_share"] = torch.tensor(batch.realised_share(name))
            self.log_dict(logged, batch_size=len(episodes))
        total = torch.stack(losses).sum()
        self.log("train/mean/loss", total.detach() / len(losses), prog_bar=True, batch_size=1)
        return total

    def validation_step(self, request: BattleRequest, batch_idx: int) -> None:
        """Battles are played by the `BattleEvaluation` callback, which sees each request first."""

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device) if isinstance(batch, HybridBatch) else batch

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint brings what it takes to build its model again: `load_policy`."""
        kind = type(self)
        checkpoint["entity_widths"] = asdict(self.widths)
        data = self.trainer.datamodule
        checkpoint["trained_on"] = sorted(data.seen)
        checkpoint["learned_from"] = {"quality": data.quality, "dataset_dir": data.dataset_dir}
        checkpoint["model_config"] = {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "init_args": {**self.hparams, "skills_from": None}
            if "skills_from" in self.hparams
            else dict(self.hparams),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """UserError for networks of other sizes, and for one without what a run goes on from."""
        problem = _other_architecture(self, checkpoint)
        if problem is not None:
            raise UserError(problem)
        self.loaded_steps = checkpoint.get("global_step", 0)
        self.loaded_data = checkpoint.get("learned_from")
        if self._trainer is not None and self._trainer.training and "optimizer_states" not in checkpoint:
            raise UserError(
                f"{self._trainer.ckpt_path} holds weights only, no run goes on from it; "
                "give the last.ckpt beside it, or start anew from it with --model.init_args.skills_from"
            )


def _other_architecture(model: MultiTaskAlgorithm, checkpoint: dict[str, Any]) -> str | None:
    """One line saying why a checkpoint's weights do not fit a model; None if they do."""
    saved, own = checkpoint["state_dict"], model.state_dict()
    if {name: x.shape for name, x in saved.items()} == {name: x.shape for name, x in own.items()}:
        return None
    config = checkpoint.get("model_config") or {"class_path": "an unknown class", "init_args": {}}
    if checkpoint.get("entity_widths") != asdict(model.widths):
        return "the checkpoint is of another task family: its entities have other features than these tasks"
    kind = config["class_path"].rpartition(".")[2]
    if kind != type(model).__name__:
        return f"the checkpoint is of algorithm {kind}, the options ask for {type(model).__name__}"
    asked = dict(model.hparams)
    others = [
        f"{name} {asked[name]} (the checkpoint's is {value})"
        for name, value in config["init_args"].items()
        if name in asked and asked[name] != value and name != "skills_from"
    ]
    return f"the checkpoint is of another architecture than the options ask for: {', '.join(others)}"


def load_policy(ckpt_path: str | Path, task: TaskSpec) -> MultiTaskAlgorithm:
    """The model of a checkpoint, ready to act; UserError if the file is none of this package, or if its
    policy plays another family of tasks."""
    content = read_checkpoint(ckpt_path, "model_config", "entity_widths", "trained_on", "state_dict")
    config, widths = content["model_config"], content["entity_widths"]
    module, _, name = config["class_path"].rpartition(".")
    model: MultiTaskAlgorithm = getattr(importlib.import_module(module), name)(
        widths=widths, **config["init_args"]
    )
    model.on_load_checkpoint(content)
    model.load_state_dict(content["state_dict"])
    if model.widths != task.layout.widths:
        raise UserError(
            f"{ckpt_path} plays {', '.join(content['trained_on'])} and tasks like these; "
            f"{task.name} describes units by other features"
        )
    return model.eval()


def action_accuracy(action_logits: Tensor, episodes: Episodes, mask: Tensor) -> Tensor:
    """Share of actions that the decoder's best available action repeats, where there was a choice.

    action_logits [B, T, A, K], mask [B, T] bool -> scalar in 0..1.
    """
    best = action_logits.detach().masked_fill(~episodes.avail_actions, -torch.inf).argmax(-1)
    chose = mask.unsqueeze(-1) & (episodes.avail_actions.sum(-1) > 1)
    return (best == episodes.actions)[chose].float().mean()
