"""Updates of an algorithm as Lightning's loop takes them, without a Trainer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from factories import make_episodes

from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.envs import make_env
from hygen_lightning.policy import LearnsFromBattles, LearnsFromChunks, LearnsFromEpisodes
from hygen_lightning.rollouts.endless import EndlessBattles
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import HybridBatch
from hygen_lightning.tasks import load_task


class Steps:
    """Drives a module; `step` is its `global_step` and may be set, `logged` what it logged last."""

    def __init__(
        self, module: MultiTaskAlgorithm, monkeypatch: pytest.MonkeyPatch, max_steps: int = 10
    ) -> None:
        self.module, self.step = module, 0
        kind = type(module)
        trainer = SimpleNamespace(max_steps=max_steps, training=True)
        monkeypatch.setattr(kind, "global_step", property(lambda _: self.step))
        monkeypatch.setattr(kind, "trainer", trainer)
        configured = module.configure_optimizers()
        self.optimizer, self.scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        monkeypatch.setattr(module, "optimizers", lambda use_pl_optimizer=True: self.optimizer)
        monkeypatch.setattr(module, "lr_schedulers", lambda: self.scheduler)
        self.logged: dict[str, torch.Tensor] = {}
        monkeypatch.setattr(module, "log_step", lambda metrics, prog_bar=False: self.logged.update(metrics))

    def take(self, batch: HybridBatch) -> torch.Tensor:
        self.module.on_train_batch_start(batch, self.step)
        loss = self.module.training_step(batch, self.step)
        self.optimizer.zero_grad()
        loss.backward()
        self.module.on_after_backward()
        self.module.optimizer_step(0, self.step, self.optimizer)
        self.scheduler.step()
        self.step += 1
        return loss

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])


def batch_of(*tasks: str, n_offline: int = 3) -> HybridBatch:
    """Three short episodes of each task, the first n_offline of them recorded."""
    lengths = torch.tensor([6, 4, 5])
    episodes = {name: make_episodes(name, 3, lengths=lengths).trimmed() for name in tasks}
    return HybridBatch(episodes, dict.fromkeys(tasks, n_offline / 3))


def batch_for(module: MultiTaskAlgorithm, *tasks: str, n_offline: int = 3) -> HybridBatch:
    """What this algorithm learns from: short episodes, and chunks of 6 steps of 3 battles of each task, or
    3 whole battles, where it learns on-policy."""
    learns_episodes = isinstance(module, LearnsFromEpisodes)
    batch = batch_of(*tasks, n_offline=n_offline) if learns_episodes else HybridBatch({}, {})
    for name in tasks if module.chunk_plan is not None else ():
        env = make_env("simulator", load_task(name), 3)
        if isinstance(module, LearnsFromChunks):
            batch.chunks[name] = module.prepare(EndlessBattles(env, 1, name).play(module, 6))
        else:
            assert isinstance(module, LearnsFromBattles)
            played = play(env, module.sampling(torch.Generator().manual_seed(0)), torch.arange(3))
            assert played.skills is not None
            batch.chunks[name] = module.prepare_battles(played.episodes, played.skills)
    return batch


def loss_of(module: MultiTaskAlgorithm, batch: HybridBatch, share: float = 1.0) -> torch.Tensor:
    """The sum of the losses of a batch, without logging."""
    learner: Any = module
    losses = [learner.loss(episodes, share)[0] for episodes in batch.episodes.values()]
    return torch.stack(losses + [learner.chunk_loss(chunk)[0] for chunk in batch.chunks.values()]).sum()
