"""Battles without exploration that measure a policy: one record per battle, never only a mean.

`evaluate` plays them anywhere, `BattleEvaluation` inside Lightning's validate, test and predict loops.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback

from hygen_lightning.data.tables import append_rows
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.rollouts.open_envs import OpenEnvs
from hygen_lightning.rollouts.runner import Rollout, bounded_variance, play
from hygen_lightning.seeding import stream_generator
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.envs.base import BattleEnv
    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import BattleRequest, TaskSpec

EVALUATIONS_FILE = "evaluations.csv"

EnvFactory = Callable[["TaskSpec", int], "BattleEnv"]
"""(task, number of battles) -> environment."""


@dataclass(frozen=True)
class BattleRecord:
    """One battle without exploration. ret: sum of its rewards. length: in environment steps.

    success_noisy: how the same battle ended with some random actions; None where it was not played so.
    """

    task: str
    seed: int
    success: bool
    ret: float
    length: int
    allies_left: int
    enemies_left: int
    success_noisy: bool | None = None


def battle_records(
    task: TaskSpec, seeds: torch.Tensor, played: Rollout, noisy: Rollout | None = None
) -> list[BattleRecord]:
    """One record per battle of a played batch. seeds [B] int64. noisy: the same with random actions."""
    allies, enemies = played.survivors()
    columns = [seeds, played.success, played.returns, played.lengths, allies, enemies]
    if noisy is not None:
        columns.append(noisy.success)
    return [BattleRecord(task.name, *values) for values in zip(*(c.tolist() for c in columns))]


def evaluate(
    policy: Policy, tasks: Iterable[TaskSpec], make_env: EnvFactory, seeds_of: Callable[[str], torch.Tensor]
) -> list[BattleRecord]:
    """Battles of every task without exploration, one per seed of `seeds_of(task name)` [B] int64."""
    records = []
    for task in tasks:
        seeds = seeds_of(task.name)
        with closing(make_env(task, len(seeds))) as env:
            records += battle_records(task, seeds, play(env, policy, seeds))
    return records


class BattleEvaluation(Callback):
    """Plays the battle requests of the evaluation loops and logs win rates, returns and lengths.

    Each rank plays its part of the battles; the means are over all. Per task: `<stage>/<task>/win_rate`,
    `return`, `length` (environment steps). Over tasks: `<stage>/mean/seen_win_rate`,
    `unseen_win_rate`, and `seen_score`, which chooses the best checkpoint: the win rate of seen tasks
    (where noisy battles are played, the mean of both rates) plus a thousandth of their return;
    `seen_score_error` is the standard error of its win rates. Every battle is one row of
    evaluations.csv. The last weights of a training are evaluated whatever `val_check_interval` says.

    Validation and test play every battle once more with a few random actions, `win_rate_noisy`: a
    greedy win rate hangs on near-ties, and equally good policies may differ by tens of points in it.
    The battles depend on the seed and the task alone, so all algorithms play the same.

    Args:
        env: environment that evaluates, named as that which trains; null: the one that the
            rollouts of this run are played in (without any, the tasks' own)
        noise: share (0..1) of random actions in the noisy battles; 0 plays none
    """

    def __init__(self, env: str | None = None, noise: float = 0.05) -> None:
        if not 0 <= noise <= 1:
            raise UserError(f"--evaluation.noise is {noise}; give a share of random actions, 0 to 1")
        self._env, self.noise = env, noise
        self.records: list[BattleRecord] = []
        self.played: dict[str, list[Rollout]] = defaultdict(list)
        self.groups: dict[str, str] = {}
        self._envs = OpenEnvs(env)

    @property
    def env_name(self) -> str:
        """The environment that evaluates, once `setup` knows the tasks."""
        assert self._envs.name is not None
        return self._envs.name

    def _play(self, pl_module: MultiTaskAlgorithm, request: BattleRequest, noise: float = 0.0) -> Rollout:
        """Play a request, and where there is noise once more, its draws named by the battles."""
        env = self._envs.of(request.task, len(request.seeds), pl_module.device)
        seeds = request.seeds.to(pl_module.device)
        played = play(env, pl_module, seeds)
        noisy = None
        if noise > 0:
            draws = stream_generator(int(request.seeds[0]), "noisy battles")
            noisy = play(env, pl_module, seeds, noise, generator=draws)
        self.records += battle_records(request.task, request.seeds, played, noisy)
        group = "seen" if request.seen else "unseen"
        self.groups[request.task.name] = "extra" if request.extra else group
        return played

    def setup(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, stage: str) -> None:
        """UserError, before anything is learned, where a task cannot be played."""
        data = trainer.datamodule
        trains = [callback for callback in trainer.callbacks if isinstance(callback, OnlineRollouts)]
        if self._env is None and trains:
            self._envs = OpenEnvs(trains[0].env_name(data.train_tasks))
        played = [*data.eval_tasks, *data.extra_tasks]
        self._envs.check(played)
        pl_module.check_tasks([*data.train_tasks, *played] if stage == "fit" else played)

    def teardown(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, stage: str) -> None:
        self._envs.close()

    def on_exception(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, exception: BaseException) -> None:
        """Lightning leaves `teardown` out then."""
        self._envs.close()

    def _start(self, *_: Any) -> None:
        self.records, self.groups = [], {}
        self.played.clear()

    def _batch(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, batch: Any, *_: Any) -> None:
        self._play(pl_module, batch, self.noise)

    on_validation_start = on_test_start = on_predict_start = _start
    on_validation_batch_start = on_test_batch_start = _batch

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: MultiTaskAlgorithm, batch: Any, *_: Any
    ) -> None:
        """Keep whole episodes: `predict` writes them as recordings."""
        self.played[batch.task.name].append(self._play(pl_module, batch))

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        self.records, self.groups = _gathered(trainer, self.records, self.groups)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Lightning validates where it is told to stop, but not after the last step by itself."""
        if trainer.global_step >= trainer.max_steps > 0:
            trainer.should_stop = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        if not trainer.sanity_checking:
            self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        self._finish(trainer, pl_module, "test")

    def _finish(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, stage: str) -> None:
        self.records, self.groups = _gathered(trainer, self.records, self.groups)
        by_task: dict[str, list[BattleRecord]] = defaultdict(list)
        for record in self.records:
            by_task[record.task].append(record)
        metrics = _task_metrics(stage, by_task) | _mean_metrics(stage, by_task, self.groups)
        steps = trainer.global_step or pl_module.loaded_steps
        # Lightning would log one step too few: it counts the step after its validation.
        at = {"step": float(steps)}
        pl_module.log_dict(metrics | at, batch_size=1, on_epoch=True, rank_zero_only=False)
        if stage == "val" and trainer.datamodule is not None:
            for task, records in by_task.items():
                trainer.datamodule.record_wins(task, [r.success for r in records])
        if trainer.is_global_zero:
            _append_rows(trainer, self.records, stage)
            loaded = trainer.ckpt_path is not None and trainer.state.fn != "fit"
            played = pl_module.loaded_steps if loaded else steps
            print(_plain_line(played, stage, metrics), flush=True)

    def tasks_of(self, group: str) -> set[str]:
        """Tasks played since the last start: "seen" in training, "unseen", or "extra"."""
        return {task for task, its_group in self.groups.items() if its_group == group}


def _gathered(
    trainer: Trainer, records: list[BattleRecord], groups: dict[str, str]
) -> tuple[list[BattleRecord], dict[str, str]]:
    """All ranks' battles and tasks, the same on every rank."""
    if trainer.world_size == 1:
        return records, groups
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, (records, groups))
    tasks = {task: group for _, part in everyone for task, group in part.items()}
    return [record for part, _ in everyone for record in part], tasks


def _task_metrics(stage: str, by_task: dict[str, list[BattleRecord]]) -> dict[str, float]:
    metrics = {}
    for task, records in by_task.items():
        metrics[f"{stage}/{task}/win_rate"] = _mean(r.success for r in records)
        metrics[f"{stage}/{task}/return"] = _mean(r.ret for r in records)
        metrics[f"{stage}/{task}/length"] = _mean(r.length for r in records)
        if all(r.success_noisy is not None for r in records):
            metrics[f"{stage}/{task}/win_rate_noisy"] = _mean(r.success_noisy for r in records)
    return metrics


def _mean_metrics(
    stage: str, by_task: dict[str, list[BattleRecord]], groups: dict[str, str]
) -> dict[str, float]:
    """Means over tasks, every task with equal weight; extra tasks are in none."""
    of_tasks, means = _task_metrics(stage, by_task), {}
    for label in ("seen", "unseen"):
        names = [task for task in by_task if groups[task] == label]
        for metric in ("win_rate", "return", "win_rate_noisy"):
            values = [of_tasks[key] for t in names if (key := f"{stage}/{t}/{metric}") in of_tasks]
            if values:
                means[f"{stage}/mean/{label}_{metric}"] = _mean(values)
    if f"{stage}/mean/seen_win_rate" in means:
        names = ("seen_win_rate", "seen_win_rate_noisy")
        rates = [means[key] for name in names if (key := f"{stage}/mean/{name}") in means]
        means[f"{stage}/mean/seen_score"] = _mean(rates) + means[f"{stage}/mean/seen_return"] / 1000.0
        seen = [records for task, records in by_task.items() if groups[task] == "seen"]
        means[f"{stage}/mean/seen_score_error"] = _score_error(seen)
    return means


def _score_error(by_task: Sequence[Sequence[BattleRecord]]) -> float:
    """Standard error (0..1) of the mean win rate of these tasks, greedy and noisy; see `bounded_variance`."""
    variances = []
    for records in by_task:
        won = [(r.success + (r.success if r.success_noisy is None else r.success_noisy)) / 2 for r in records]
        variances.append(bounded_variance(_mean(won), len(won)))
    return math.sqrt(sum(variances)) / len(variances)


def _mean(values: Any) -> float:
    numbers = [float(v) for v in values]
    return sum(numbers) / len(numbers)


def _append_rows(trainer: Trainer, records: list[BattleRecord], stage: str) -> None:
    if not records:
        return
    path = Path(trainer.default_root_dir) / EVALUATIONS_FILE
    try:
        append_rows(path, [{"stage": stage, "step": trainer.global_step, **asdict(r)} for r in records])
    except OSError as error:
        print(f"could not write {path}: {error.strerror}; these battles are missing in it", flush=True)


def _plain_line(steps: int, stage: str, metrics: dict[str, float]) -> str:
    """What an evaluation prints: the win rates, for logs without a progress bar."""
    told = []
    for of, name in {"win rate": "win_rate", "with random actions": "win_rate_noisy"}.items():
        keys = {label: f"{stage}/mean/{label}_{name}" for label in ("seen", "unseen")}
        parts = [f"{label} {metrics[key]:.3f}" for label, key in keys.items() if key in metrics]
        told += [f"{of} {', '.join(parts)}"] if parts else []
    return f"step {steps}: {'; '.join(told)}"
