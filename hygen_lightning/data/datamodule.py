"""The DataModule: batches of recorded and played episodes, and the battles of evaluations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from hygen_lightning.data.buffers import OfflineEpisodes, ReplayBuffer, load_offline
from hygen_lightning.data.chunks import ChunkBuffer
from hygen_lightning.data.loaders import BatchNumbers, BattleRequests, check_trainer
from hygen_lightning.data.mixing import (
    DynamicShare,
    FixedShare,
    Share,
    check_replay_size,
    make_share,
    most_played,
    split,
)
from hygen_lightning.data.summary import lines_about
from hygen_lightning.policy import LearnsFromEpisodes
from hygen_lightning.seeding import battle_seeds, stream_generator
from hygen_lightning.specs import (
    BattleRequest,
    Chunk,
    DataStatistics,
    Episodes,
    HybridBatch,
    OnPolicyEpisodes,
    TaskSpec,
    UserError,
)
from hygen_lightning.tasks import TASK_SETS, TaskSet, chosen_set, common_widths, expand, sources

Quality = Literal["expert", "medium", "medium-expert", "medium-replay", "random", "none"]
NO_RECORDINGS = "none"
MOST_EPISODES = 10**7
"""More than any memory holds: seeds alone would fill it."""
ShippedSet = Literal[tuple(TASK_SETS)]  # type: ignore[valid-type]


class HybridDataModule(LightningDataModule):
    """Interleaves recorded episodes with those that `OnlineRollouts` adds while training.

    One batch holds `batch_size` episodes of EVERY training task (per rank). Stage one draws
    recordings only; afterwards the offline share follows its schedule, one clock: optimiser steps.
    Without recordings (`quality: none`) every episode is a played one, from the first step on.
    An algorithm that learns on-policy is handed the chunks that `OnlineRollouts` has just played.
    Wherever a task is named, Python may also give its TaskSpec.

    Args:
        task_set: a set of training and unseen tasks, by name or as a YAML file (train:, unseen:); toy
            where neither this nor train_tasks is given
        train_tasks: tasks to learn from, by name or as YAML files, instead of a set
        eval_tasks: tasks or task sets to play in validation, instead of the set's; training tasks
            are counted as seen, all others as unseen
        extra_tasks: tasks played in the final evaluation for interest, instead of the set's; they
            are part of no mean
        dataset_dir: folder with <task>/<quality>/<run>/part_<k>.h5; null: they are
            made on first use (see run.teachers) and kept in the cache folder
        quality: which recordings of a task to learn from; none: only played episodes (online)
        max_in_memory_gb: 10^9 bytes of recordings per task held in memory (packed); of larger sets
            each batch is read from the files
        batch_size: episodes of each task in one update, per rank (global = ranks x this)
        share_schedule: how the offline share of a batch develops in stage two
        share_begin: offline share (0..1) at the start of stage two (linear, dynamic)
        share_end: lowest offline share (0..1) (linear, dynamic)
        share_steps: optimiser steps from share_begin to share_end (linear)
        share_fixed: offline share (0..1) of schedule "fixed"
        replay_episodes: played episodes kept per task and rank; the oldest leave first
        eval_episodes: battles per task in each validation, over all ranks
        test_episodes: battles per task in the final evaluation and in `test`, over all ranks
        eval_batch: battles played at once in an evaluation
        seed: seed of the streams that draw episodes and battles; follows seed_everything
    """

    trainer: Any  # set by Lightning before it asks for anything

    def __init__(
        self,
        task_set: ShippedSet | str | None = None,  # type: ignore[valid-type]
        train_tasks: list[str] | None = None,
        eval_tasks: list[str] | None = None,
        extra_tasks: list[str] | None = None,
        dataset_dir: str | None = None,
        quality: Quality = "medium",
        max_in_memory_gb: float = 8.0,
        batch_size: int = 32,
        share_schedule: Literal["linear", "fixed", "dynamic"] = "linear",
        share_begin: float = 1.0,
        share_end: float = 0.1,
        share_steps: int = 5000,
        share_fixed: float = 0.5,
        replay_episodes: int = 2000,
        eval_episodes: int = 32,
        test_episodes: int = 320,
        eval_batch: int = 64,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self._name_tasks(chosen_set(task_set, train_tasks), eval_tasks, extra_tasks)
        self.dataset_dir, self.quality = dataset_dir, quality
        self.max_in_memory_gb = max_in_memory_gb
        self.batch_size, self.replay_episodes = batch_size, replay_episodes
        self.eval_episodes, self.test_episodes, self.eval_batch = eval_episodes, test_episodes, eval_batch
        self._share_options = (share_schedule, share_begin, share_end, share_steps, share_fixed)
        self._check_sizes()
        self.seed = seed
        self.replay_buffers: dict[str, ReplayBuffer] = {}
        self.chunk_buffers: dict[str, ChunkBuffer] = {}
        self.offline: dict[str, OfflineEpisodes] = {}
        self.statistics: dict[str, DataStatistics] = {}
        """What the recordings of each training task hold, after `setup`; empty without recordings."""
        self.shares: dict[str, Share] = {}
        self._offline_generator = torch.Generator()
        self._replay_generator = torch.Generator()
        self._chunk_generator = torch.Generator()
        self.environment: str | None = None
        """Where the rollouts of a run are played, as its options name it; checkpoints say so."""
        self.before_draw: Callable[[], None] | None = None
        """Called before each batch is drawn; all of the batch before is done and logged then."""
        self._said: set[str] = set()

    def _name_tasks(self, chosen: TaskSet, evaluated: list[str] | None, extra: list[str] | None) -> None:
        """Who trains, who is evaluated, who is played for interest, where the options replace the set's."""
        if evaluated is not None and not evaluated:
            raise UserError("--data.eval_tasks is empty; name a task, or leave the option out for the set's")
        self.sources = sources(chosen.train)
        """Training tasks by name -> what `load_task` finds them by, from any folder."""
        self.train_tasks = expand(chosen.train)
        self.eval_tasks = expand(evaluated or [*self.train_tasks, *chosen.unseen])
        further = expand(chosen.extra if extra is None else extra)
        self.extra_tasks = [task for task in further if task not in self.eval_tasks]
        everywhere = expand([*self.train_tasks, *self.eval_tasks, *self.extra_tasks])
        self.widths = common_widths(everywhere)
        self.seen = {task.name for task in self.train_tasks}

    def _check_sizes(self) -> None:
        """UserError for numbers out of range."""
        if self.max_in_memory_gb < 0:
            raise UserError(f"--data.max_in_memory_gb is {self.max_in_memory_gb}; give 0 (nothing) or more")
        for option in ("batch_size", "replay_episodes", "eval_episodes", "test_episodes", "eval_batch"):
            value = getattr(self, option)
            if not 1 <= value <= MOST_EPISODES:
                raise UserError(f"--data.{option} is {value}; it counts episodes, give 1 to {MOST_EPISODES}")
        share = make_share(*self._share_options, win_rate=1.0)
        if self.quality == NO_RECORDINGS:
            share = FixedShare(0.0)
        check_replay_size(self.replay_episodes, self.batch_size, share)

    # Set-up

    def setup(self, stage: str) -> None:
        """Load the recordings of this rank and seed its streams; only training needs them."""
        check_trainer(self.trainer, fit=stage == "fit")
        if stage != "fit" or self.replay_buffers or self.chunk_buffers:
            return
        rank = self.trainer.global_rank
        self._offline_generator = stream_generator(self.seed, rank, "offline episodes")
        self._replay_generator = stream_generator(self.seed, rank, "replayed episodes")
        self._chunk_generator = stream_generator(self.seed, rank, "minibatches")
        algorithm = self.trainer.lightning_module
        if algorithm.chunk_plan is not None:
            self.chunk_buffers = {task.name: ChunkBuffer(task) for task in self.train_tasks}
        if not isinstance(algorithm, LearnsFromEpisodes):
            self.leave_recordings(type(algorithm).__name__)
            return
        if self.quality == NO_RECORDINGS:
            self._check_online_only()
        else:
            self._load_recordings(rank)
        self.replay_buffers = {t.name: ReplayBuffer(t, self.replay_episodes) for t in self.train_tasks}

    def _load_recordings(self, rank: int) -> None:
        if self.dataset_dir is None:
            raise UserError("no recordings: give --data.dataset_dir FOLDER, or --data.quality none")
        for task in self.train_tasks:
            recordings = load_offline(self.dataset_dir, task, self.quality, self.max_in_memory_gb)
            for line in lines_about(recordings):
                self._say_once(line)
            self.statistics[task.name] = recordings.statistics
            self.shares[task.name] = make_share(*self._share_options, recordings.statistics.win_rate)
            self.offline[task.name] = recordings.shard(rank, self.trainer.world_size)

    def leave_recordings(self, algorithm: str) -> None:
        """None are wanted by this algorithm; UserError where some are given."""
        if self.dataset_dir is not None:
            raise UserError(
                f"{algorithm} learns from its own battles only: leave out --data.dataset_dir "
                f"{self.dataset_dir}, or choose another --model"
            )
        self.quality = NO_RECORDINGS

    def _check_online_only(self) -> None:
        """UserError where no episode would be played before it is needed."""
        offline_steps = self.trainer.lightning_module.offline_phase_steps
        if offline_steps > 0:
            which = "all" if offline_steps == sys.maxsize else f"the first {offline_steps}"
            raise UserError(
                f"--data.quality none: nothing to learn from, for {which} optimiser steps learn from "
                "recordings only; give recordings, or a model without that stage "
                "(HyGen: --model.init_args.pretrain_steps 0)"
            )

    def _say_once(self, line: str, about: str = "") -> None:
        """Print a line on the first process, once for each `about` (the line itself, if not given)."""
        if (about or line) not in self._said and self.trainer.is_global_zero:
            print(line, flush=True)
        self._said.add(about or line)

    # Training batches

    def train_dataloader(self) -> BatchNumbers:
        return BatchNumbers(self.trainer)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """In place of a batch number, the episodes drawn for it; battle requests pass unchanged."""
        if not isinstance(batch, int):
            return batch
        if self.before_draw is not None:
            self.before_draw()
        with self.trainer.profiler.profile("next_batch"):
            return self.next_batch()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Requests stay: the environment decides where a battle is played."""
        return batch.to(device) if isinstance(batch, HybridBatch) else batch

    def next_batch(self) -> HybridBatch:
        """Draw the episodes of the next update from recordings and replay buffers."""
        batch = HybridBatch({}, {})
        if self.trainer.global_step >= self.trainer.lightning_module.offline_phase_steps:
            batch.chunks = {name: chunks.draw() for name, chunks in self.chunk_buffers.items()}
        for task in self.replay_buffers:
            drawn = self._beside_chunk(task) if batch.chunks else self._draw(task)
            if drawn is not None:
                batch.episodes[task], batch.offline_share[task] = drawn
        return batch

    def _beside_chunk(self, task: str) -> tuple[Episodes, float] | None:
        """What is recorded of a batch whose other part is a chunk, and the scheduled offline share."""
        share, recordings = self.offline_share(task), self.offline.get(task)
        if recordings is None or share == 0:
            return None
        n_offline = max(split(self.batch_size, share, self.batch_size)[0], 1)
        return recordings.sample(n_offline, self._offline_generator).trimmed(), share

    def put_chunk(self, chunk: Chunk | OnPolicyEpisodes, epochs: int, minibatches: int) -> None:
        """Learn from this chunk of its task in the next epochs x minibatches batches."""
        self.chunk_buffers[chunk.task.name].put(chunk, epochs, minibatches, self._chunk_generator)

    @property
    def needs_recordings(self) -> bool:
        """Whether recordings are wanted and none are given: they have to be made first."""
        return self.dataset_dir is None and self.quality != NO_RECORDINGS

    @property
    def prefill_episodes(self) -> int:
        """Played episodes of each task that the first batch needs; 0 where there are recordings."""
        return self.batch_size if self.quality == NO_RECORDINGS else 0

    def offline_share(self, task: str) -> float:
        """Scheduled offline share (0..1) of a task at the current optimiser step."""
        if task not in self.offline:
            return 0.0
        steps = self.trainer.global_step - self.trainer.lightning_module.offline_phase_steps
        return 1.0 if steps < 0 else self.shares[task].at(steps)

    def _draw(self, task: str) -> tuple[Episodes, float]:
        """Episodes of a task, and the share (0..1) of them that is recorded: they come first."""
        share = self.offline_share(task)
        replay, recordings = self.replay_buffers[task], self.offline.get(task)
        n_offline, n_online = split(self.batch_size, share, len(replay), recordings is not None)
        if n_online < most_played(self.batch_size, FixedShare(share)):
            self._say_once(
                f"{task}: the replay buffer holds {len(replay)} episodes, too few for the played part of a "
                f"batch of {self.batch_size} at offline share {share:g}: until it holds more, "
                + ("all episodes are recorded" if recordings else "batches are smaller"),
                about=f"few played {task}",
            )
        parts = []
        if recordings is not None and n_offline:
            parts.append(recordings.sample(n_offline, self._offline_generator))
        if n_online:
            parts.append(replay.sample(n_online, self._replay_generator))
        episodes = Episodes.cat(parts).trimmed()
        return episodes, n_offline / len(episodes)

    def record_wins(self, task: str, success: list[bool]) -> None:
        """Tell the dynamic schedule how battles of a training task ended without exploration."""
        share = self.shares.get(task)
        if isinstance(share, DynamicShare):
            share.record(success)

    # Evaluation requests

    def val_dataloader(self) -> BattleRequests:
        return self._requests(self.eval_episodes, "validation")

    def test_dataloader(self) -> BattleRequests:
        return self._requests(self.test_episodes, "test", self.extra_tasks)

    def predict_dataloader(self) -> BattleRequests:
        return self._requests(self.eval_episodes, "predict")

    def _requests(self, n_episodes: int, stream: str, extra: Sequence[TaskSpec] = ()) -> BattleRequests:
        """This rank's part of n_episodes battles of every task, `eval_batch` at once."""
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        requests = []
        for task in [*self.eval_tasks, *extra]:
            seeds = battle_seeds(n_episodes, self.seed, stream, task.name)[rank::ranks]
            requests += [
                BattleRequest(task, task.name in self.seen, part, extra=task in extra)
                for part in seeds.split(self.eval_batch)
                if len(part)
            ]
        return BattleRequests(requests)

    # What a stopped run needs to go on

    def rank_state(self) -> dict[str, Any]:
        """Generators, shuffles and recent results of this rank."""
        return {
            "offline_generator": self._offline_generator.get_state(),
            "replay_generator": self._replay_generator.get_state(),
            "chunk_generator": self._chunk_generator.get_state(),
            "chunks": {task: chunks.state_dict() for task, chunks in self.chunk_buffers.items()},
            "offline": {task: source.state_dict() for task, source in self.offline.items()},
            "shares": {
                task: s.state_dict() for task, s in self.shares.items() if isinstance(s, DynamicShare)
            },
        }

    def load_rank_state(self, state: dict[str, Any]) -> None:
        self._offline_generator.set_state(state["offline_generator"])
        self._replay_generator.set_state(state["replay_generator"])
        self._chunk_generator.set_state(state["chunk_generator"])
        for task, chunks in state["chunks"].items():
            self.chunk_buffers[task].load_state_dict(chunks)
        for task, source in state["offline"].items():
            self.offline[task].load_state_dict(source)
        for task, recent in state["shares"].items():
            share = self.shares[task]
            assert isinstance(share, DynamicShare)
            share.load_state_dict(recent)
