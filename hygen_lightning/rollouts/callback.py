"""Joins environment, policy and replay buffer to Lightning's loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import Callback

from hygen_lightning.data.datamodule import MOST_EPISODES
from hygen_lightning.policy import ExploresSkills, LearnsFromBattles, LearnsFromChunks, SelectsCandidate
from hygen_lightning.rollouts.endless import EndlessBattles
from hygen_lightning.rollouts.open_envs import OpenEnvs
from hygen_lightning.rollouts.runner import bounded_variance, play
from hygen_lightning.seeding import battle_seeds, stream_generator
from hygen_lightning.specs import ChunkPlan, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch import Trainer
    from torch import Tensor

    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.data.datamodule import HybridDataModule
    from hygen_lightning.policy import Policy
    from hygen_lightning.rollouts.runner import Rollout
    from hygen_lightning.specs import TaskSpec


class OnlineRollouts(Callback):
    """Plays the training tasks with the current policy and adds the episodes to the replay buffers.

    Every `every_n_steps` optimiser steps it plays `episodes_per_step * every_n_steps` episodes of
    each task at once. Where there are no recordings, the first rollout is at least a batch.

    For an algorithm that learns on-policy it plays chunks of endless battles instead, as many and as
    often as the algorithm's own options say; it explores by the probabilities of its policy, so that
    of the options below `env` alone counts.

    Args:
        episodes_per_step: episodes per task, rank and optimiser step; 0 plays none (offline only)
        every_n_steps: optimiser steps between two rollouts
        explore: what is random where the policy explores: actions, or skills, which last
        epsilon_begin: share (0..1) of random choices at the start of stage two
        epsilon_end: share of random choices after epsilon_steps
        epsilon_steps: optimiser steps over which exploration falls, linearly
        env: environment that trains, a name, package.module:Class or an environment file; null: the
            training tasks' own
    """

    def __init__(
        self,
        episodes_per_step: int = 2,
        every_n_steps: int = 4,
        explore: Literal["actions", "skills"] = "actions",
        epsilon_begin: float = 1.0,
        epsilon_end: float = 0.05,
        epsilon_steps: int = 20000,
        env: str | None = None,
    ) -> None:
        if not 0 <= episodes_per_step <= MOST_EPISODES:
            raise UserError(
                f"--rollouts.episodes_per_step is {episodes_per_step}; "
                f"give 0 (offline only) to {MOST_EPISODES}"
            )
        if not 1 <= every_n_steps <= MOST_EPISODES:
            raise UserError(f"--rollouts.every_n_steps is {every_n_steps}; give 1 to {MOST_EPISODES}")
        if not 0 <= epsilon_end <= epsilon_begin <= 1:
            raise UserError(
                f"--rollouts.epsilon_begin {epsilon_begin} and epsilon_end {epsilon_end} are shares of "
                "random choices: 0 <= end <= begin <= 1"
            )
        if epsilon_steps < 0:
            raise UserError(f"--rollouts.epsilon_steps is {epsilon_steps}; give 0 (at once) or more")
        self.episodes_per_step, self.every_n_steps = episodes_per_step, every_n_steps
        self.explore = explore
        self.epsilon_begin, self.epsilon_end, self.epsilon_steps = epsilon_begin, epsilon_end, epsilon_steps
        self.played_episodes = 0
        self.played_env_steps = 0
        self._last_rollout_step = -1
        self._seconds, self._begun = 0.0, time.monotonic()
        self._envs = OpenEnvs(env)
        self._generator = torch.Generator()
        self._endless: dict[str, EndlessBattles] = {}
        self._defeats: dict[str, float] = {}  # share of the last chunk's battles, by task
        self._cost_step = -1

    def env_name(self, tasks: Sequence[TaskSpec]) -> str:
        """The environment that trains; `tasks`, which train, choose it where the options do not."""
        return self._envs.chosen(tasks)

    def epsilon(self, stage_two_step: int) -> float:
        """Share of random choices after this many optimiser steps of stage two."""
        passed = min(max(stage_two_step / max(self.epsilon_steps, 1), 0.0), 1.0)
        return self.epsilon_begin + (self.epsilon_end - self.epsilon_begin) * passed

    def setup(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, stage: str) -> None:
        """Before a checkpoint is loaded, which brings the generator's state."""
        self._generator = stream_generator(trainer.datamodule.seed, trainer.global_rank, "exploration")
        trainer.datamodule.environment = self._envs.name
        if stage != "fit":
            return
        self.check_tasks(trainer.datamodule.train_tasks)
        if self.explore == "skills" and not isinstance(pl_module, ExploresSkills):
            raise UserError(
                f"--rollouts.explore skills: {type(pl_module).__name__} has no skills to explore over; "
                "give actions"
            )
        if pl_module.chunk_plan is not None:
            self._begin_endless(
                trainer.datamodule, trainer.global_rank, pl_module.chunk_plan, pl_module.device
            )
        elif self.episodes_per_step == 0 and trainer.datamodule.prefill_episodes > 0:
            raise UserError(
                "--rollouts.episodes_per_step 0 and no recordings: nothing to learn from; give either"
            )

    def _begin_endless(
        self, data: HybridDataModule, rank: int, plan: ChunkPlan, device: torch.device
    ) -> None:
        for task in data.train_tasks if plan.env_steps else []:
            env = self._envs.of(task, plan.num_envs, device)
            self._endless[task.name] = EndlessBattles(env, data.seed, rank, task.name)

    def check_tasks(self, tasks: Sequence[TaskSpec]) -> None:
        """UserError where one of these tasks, which train, cannot be played."""
        if self.episodes_per_step > 0:
            self._envs.check(tasks)

    def teardown(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, stage: str) -> None:
        self._envs.close()

    def on_exception(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, exception: BaseException) -> None:
        """Lightning leaves `teardown` out then."""
        self._envs.close()

    def on_train_start(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        self._begun = time.monotonic()
        self._play_if_due(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, *_: Any) -> None:
        self._play_if_due(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        """What the run has cost so far, beside each evaluation."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._log_cost(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        """Cost of the whole run, if it went on after its last evaluation; nothing of one that was stopped."""
        ended = trainer.max_steps in (-1, trainer.global_step)
        if ended and self._cost_step != trainer.global_step:
            self._log_cost(trainer)

    def _log_cost(self, trainer: Trainer) -> None:
        """Battles and steps of all ranks, minutes."""
        cost = {
            "progress/episodes": float(self.played_episodes * trainer.world_size),
            "progress/env_steps": float(self.played_env_steps * trainer.world_size),
            "progress/minutes": self._seconds_so_far() / 60,
        }
        for logger in trainer.loggers:
            logger.log_metrics(cost, step=trainer.global_step)
        self._cost_step = trainer.global_step

    def _seconds_so_far(self) -> float:
        """Time spent in training, evaluations included, over all starts of the run."""
        return self._seconds + time.monotonic() - self._begun

    def _play_if_due(self, trainer: Trainer, pl_module: MultiTaskAlgorithm) -> None:
        step = trainer.global_step
        stage_two_step = step - pl_module.offline_phase_steps
        plan = pl_module.chunk_plan
        if plan is not None:
            if stage_two_step >= 0 and stage_two_step % plan.optimiser_steps == 0 and self._is_new(trainer):
                if plan.candidate_battles and stage_two_step == 0:
                    self._play_candidates(trainer, pl_module, plan)
                play_them = self._play_chunks if plan.env_steps else self._play_battles
                play_them(trainer, pl_module, plan)
            return
        due = self.episodes_per_step > 0 and stage_two_step >= 0 and stage_two_step % self.every_n_steps == 0
        if due and self._is_new(trainer):
            self._play(trainer, pl_module, self.epsilon(stage_two_step))

    def _is_new(self, trainer: Trainer) -> bool:
        """Whether nothing has been played at this step, and it is not the last; now it counts as played."""
        step = trainer.global_step
        new = step not in (self._last_rollout_step, trainer.max_steps)
        self._last_rollout_step = step if new else self._last_rollout_step
        return new

    def _play_chunks(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, plan: ChunkPlan) -> None:
        """The next chunk of every task, ready to be learned from."""
        assert isinstance(pl_module, LearnsFromChunks), "this is what its chunk_plan says"
        for name, battles in self._endless.items():
            chunk = battles.play(pl_module, plan.env_steps)
            trainer.datamodule.put_chunk(pl_module.prepare(chunk), plan.epochs, plan.minibatches)
            ended = int(chunk.terminated.sum())
            self.played_episodes += ended
            self.played_env_steps += chunk.reward.numel()
            metrics = {"env_steps": float(self.played_env_steps), "episodes": float(ended)}
            if ended:
                metrics["win_rate_exploring"] = int(chunk.success.sum()) / ended
            _log(trainer, name, metrics)

    def _play_battles(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, plan: ChunkPlan) -> None:
        """Whole battles of every task, ready to be learned from."""
        assert isinstance(pl_module, LearnsFromBattles), "this is what its chunk_plan says"
        data, device = trainer.datamodule, pl_module.device
        policy = pl_module.sampling(self._generator)
        given = plan.battles({task.name: self._defeats.get(task.name, 1.0) for task in data.train_tasks})
        for task in data.train_tasks:
            n = given[task.name]
            names = trainer.global_rank, "on-policy", task.name, trainer.global_step
            seeds = battle_seeds(n, data.seed, *names).to(device)
            played = play(self._envs.of(task, n, device), policy, seeds)
            assert played.skills is not None, "whole battles are played on-policy by a policy over skills"
            battles = pl_module.prepare_battles(played.episodes, played.skills)
            data.put_chunk(battles, plan.epochs, plan.minibatches)
            self.played_episodes += n
            self.played_env_steps += int(played.lengths.sum())
            self._defeats[task.name] = 1 - float(played.success.float().mean())
            metrics = {
                "episodes": float(n),
                "win_rate_exploring": float(played.success.float().mean()),
                "return_exploring": float(played.returns.mean()),
                "skills_in_use": _in_use(played.skills),
                "env_steps": float(self.played_env_steps),
            }
            _log(trainer, task.name, metrics)

    def _play_candidates(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, plan: ChunkPlan) -> None:
        """The same battles of every task with each candidate; the algorithm begins with the best one."""
        assert isinstance(pl_module, SelectsCandidate), "this is what its chunk_plan says"
        data, device, n = trainer.datamodule, pl_module.device, plan.candidate_battles
        candidates = pl_module.candidates()
        won = torch.zeros(len(candidates), len(data.train_tasks), device=device)
        for column, task in enumerate(data.train_tasks):
            env = self._envs.of(task, min(n, plan.num_envs), device)
            seeds = battle_seeds(n, data.seed, trainer.global_rank, "candidates", task.name).to(device)
            for row, policy in enumerate(candidates.values()):
                played = play(env, policy, seeds)
                won[row, column] = played.success.float().mean()
                self.played_episodes += n
                self.played_env_steps += int(played.lengths.sum())
        won = trainer.strategy.reduce(won, reduce_op="mean").cpu()
        for task, rates in zip(data.train_tasks, won.T.tolist()):
            named = zip(candidates, rates)
            _log(trainer, task.name, {f"win_rate_{name.replace(' ', '')}": rate for name, rate in named})
        best = list(candidates)[clear_best(won, n * trainer.world_size)]
        pl_module.begin_with(best)
        if trainer.is_global_zero:
            told = ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in zip(candidates, won.mean(dim=1)))
            line = f"win rates in {n * trainer.world_size} battles of each task: {told}"
            print(f"{line}; stage two begins with {best}", flush=True)

    def _play(self, trainer: Trainer, pl_module: MultiTaskAlgorithm, epsilon: float) -> None:
        data, device = trainer.datamodule, pl_module.device
        was_training = pl_module.training
        pl_module.eval()
        policy: Policy = pl_module
        if self.explore == "skills":
            assert isinstance(pl_module, ExploresSkills), "`setup` refuses others"
            policy = pl_module.exploring(epsilon, self._generator)
        random_actions = epsilon if self.explore == "actions" else 0.0
        for name, buffer in data.replay_buffers.items():
            n = max(self.episodes_per_step * self.every_n_steps, data.prefill_episodes - len(buffer))
            seeds = battle_seeds(n, data.seed, trainer.global_rank, "rollout", name, trainer.global_step)
            env = self._envs.of(buffer.task, n, device)
            played = play(env, policy, seeds.to(device), random_actions, generator=self._generator)
            buffer.add(played.episodes)
            self.played_episodes += n
            self.played_env_steps += int(played.lengths.sum())
            _log(trainer, name, self._metrics(played, epsilon, len(buffer)))
        pl_module.train(was_training)

    def _metrics(self, played: Rollout, epsilon: float, kept: int) -> dict[str, float]:
        return {
            "win_rate_exploring": float(played.success.float().mean()),
            "return_exploring": float(played.returns.mean()),
            "epsilon": epsilon,
            "random_share": played.random_share,
            "replay_episodes": float(kept),
            "lost_episodes": float(played.lost),
            "env_steps": float(self.played_env_steps),
        }

    def rank_state(self) -> dict[str, Any]:
        """What a stopped run needs to go on, for this rank."""
        return {
            "generator": self._generator.get_state(),
            "played_episodes": self.played_episodes,
            "played_env_steps": self.played_env_steps,
            "last_rollout_step": self._last_rollout_step,
            "seconds": self._seconds_so_far(),
            "defeats": dict(self._defeats),
            "endless": {task: battles.state_dict() for task, battles in self._endless.items()},
        }

    def load_rank_state(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["generator"])
        self.played_episodes = state["played_episodes"]
        self.played_env_steps = state["played_env_steps"]
        self._last_rollout_step = state["last_rollout_step"]
        self._seconds = state["seconds"]
        self._defeats = dict(state.get("defeats", {}))
        for task, battles in state["endless"].items():
            self._endless[task].load_state_dict(battles)


def clear_best(won: Tensor, n_battles: int) -> int:
    """Row of the candidate that wins most, on average of the tasks; 0 unless it wins more than the first by a
    standard error of their difference.

    won [candidates, tasks]: win rates (0..1) over n_battles each.
    """
    means = won.mean(dim=1)
    best = int(means.argmax())
    errors = bounded_variance(won, n_battles).sum(dim=1) / won.shape[1] ** 2
    return best if means[best] - means[0] > (errors[best] + errors[0]).sqrt() else 0


def _in_use(skills: Tensor) -> float:
    """Effective number of skills: exp of the entropy of their use. skills: -1 after the end."""
    share = skills[skills >= 0].bincount() / (skills >= 0).sum()
    return float(torch.special.entr(share).sum().exp())


def _log(trainer: Trainer, task: str, metrics: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics({f"rollout/{task}/{k}": v for k, v in metrics.items()}, step=trainer.global_step)
