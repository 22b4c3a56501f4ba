"""The DataModule: what each option changes, and what a batch holds at each optimiser step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_episodes
from lightning.pytorch import Callback, LightningModule, Trainer

from hygen_lightning.data.buffers import EpisodesInMemory
from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.specs import HybridBatch, UserError
from hygen_lightning.tasks import load_task, make_battle

TASK = load_task("3m")
N_RECORDED = 24


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3m/medium (half won) and 3m/expert (all won); in another folder medium of other episodes."""
    root = tmp_path_factory.mktemp("recordings")
    for folder, quality, wins, seed in (
        ("data", "medium", 0.5, 0),
        ("data", "expert", 1.0, 1),
        ("other", "medium", 0.25, 2),
    ):
        episodes = make_episodes(TASK, N_RECORDED, seed=seed, wins=wins)
        write_run(root / folder / "3m" / quality / "run", episodes)
    return root


@dataclass
class StandInModule:
    offline_phase_steps: int = 0
    chunk_plan: None = None
    learns_from_episodes: bool = True


@dataclass
class StandInTrainer:
    """As much of a Trainer as the DataModule asks for."""

    global_step: int = 0
    lightning_module: StandInModule = field(default_factory=StandInModule)
    global_rank: int = 0
    world_size: int = 1
    is_global_zero: bool = True
    precision: str = "32-true"
    fast_dev_run: bool = True
    max_steps: int = 100


def ready(recordings: Path, n_played: int = 64, stage_one: int = 0, **options: Any) -> HybridDataModule:
    """A DataModule of 3m after `setup`, with played episodes in its buffers."""
    given = {"train_tasks": ["3m"], "dataset_dir": str(recordings / "data"), "batch_size": 8, **options}
    if options.get("task_set"):
        del given["train_tasks"]
    data = HybridDataModule(**given)
    data.trainer = StandInTrainer(lightning_module=StandInModule(stage_one))
    data.setup("fit")
    for buffer in data.replay_buffers.values():
        if n_played:
            buffer.add(make_episodes(buffer.task, n_played, seed=9))
    return data


def at(data: HybridDataModule, step: int) -> HybridBatch:
    """The batch of this optimiser step."""
    data.trainer.global_step = step
    return data.next_batch()


def shares(data: HybridDataModule, *steps: int) -> list[float]:
    return [at(data, step).offline_share["3m"] for step in steps]


def first_states(batch: HybridBatch) -> list[float]:
    return batch.episodes["3m"].state[:, 0, 0].tolist()


# Every option


def _names(tasks: Any) -> list[str]:
    return [task.name for task in tasks]


def _fallen(data: HybridDataModule) -> float:
    """The share after 50 won battles."""
    data.record_wins("3m", [True] * 50)
    return shares(data, 0)[0]


def _requests(loader: Any) -> list[int]:
    return [len(request.seeds) for request in loader if request.task.name == "3m"]


FIXED = {"share_schedule": "fixed"}
BESIDE: dict[str, dict[str, Any]] = {
    "train_tasks": {"quality": "none", "eval_tasks": ["3m", "4m"]},
    "share_steps": {"share_end": 0.0},
    "share_fixed": FIXED,
    "eval_batch": {"eval_episodes": 10},
}
"""What else is given, by option."""


def _seen(data: HybridDataModule) -> list[bool]:
    return [request.seen for request in data.val_dataloader()]


def _in_memory(data: HybridDataModule) -> bool:
    return isinstance(data.offline["3m"], EpisodesInMemory)


def _share(step: int) -> Callable[[HybridDataModule], float]:
    return lambda data: shares(data, step)[0]


def _evaluated(data: HybridDataModule) -> list[list[int]]:
    return [_requests(loader) for loader in (data.val_dataloader(), data.predict_dataloader())]


EFFECTS: dict[str, tuple[Any, Any, Callable[[HybridDataModule], Any], Any, Any]] = {
    # option: (value, other value, what to look at, what it is with the first, with the other)
    "task_set": ("toy", None, lambda d: _names(d.extra_tasks), ["5m_vs_6m"], []),
    "train_tasks": (["3m"], ["4m"], _seen, [True, False], [False, True]),
    "eval_tasks": (["4m", "3m"], ["toy"], lambda d: _names(d.eval_tasks), ["4m", "3m"], ["3m", "4m", "5m"]),
    "extra_tasks": (
        ["4m"],
        [],
        lambda d: [r.task.name for r in d.test_dataloader() if r.extra],
        ["4m"] * 5,
        [],
    ),
    "quality": ("medium", "expert", lambda d: d.statistics["3m"].win_rate, 0.5, 1.0),
    "max_in_memory_gb": (0.0, 1.0, _in_memory, False, True),
    "batch_size": (4, 6, lambda d: len(at(d, 0).episodes["3m"]), 4, 6),
    "share_schedule": ("fixed", "linear", _share(0), 0.5, 1.0),
    "share_begin": (0.5, 0.75, _share(0), 0.5, 0.75),
    "share_end": (0.25, 0.5, _share(9999), 0.25, 0.5),
    "share_steps": (10, 20, _share(5), 0.5, 0.75),
    "share_fixed": (0.25, 0.75, _share(0), 0.25, 0.75),
    "replay_episodes": (20, 30, lambda d: len(d.replay_buffers["3m"]), 20, 30),
    "eval_episodes": (10, 12, _evaluated, [[10], [10]], [[12], [12]]),
    "test_episodes": (10, 12, lambda d: _requests(d.test_dataloader()), [10], [12]),
    "eval_batch": (4, 5, lambda d: _requests(d.val_dataloader()), [4, 4, 2], [5, 5]),
}


@pytest.mark.parametrize("option", EFFECTS)
def test_an_option_changes_what_it_should(option: str, recordings: Path) -> None:
    value, other, look, expected, otherwise = EFFECTS[option]
    beside = BESIDE.get(option, {})
    assert look(ready(recordings, **beside, **{option: value})) == expected
    assert look(ready(recordings, **beside, **{option: other})) == otherwise


def test_dataset_dir_says_which_episodes_are_drawn(recordings: Path) -> None:
    rates = [
        ready(recordings, dataset_dir=str(recordings / folder)).statistics["3m"].win_rate
        for folder in ("data", "other")
    ]
    assert rates == [0.5, 0.25]


def test_the_seed_moves_every_stream(recordings: Path) -> None:
    one, again, other = (ready(recordings, seed=seed, **FIXED) for seed in (1, 1, 2))
    assert first_states(at(one, 0)) == first_states(at(again, 0)) != first_states(at(other, 0))
    seeds = [[r.seeds.tolist() for r in data.val_dataloader()] for data in (one, again, other)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_every_algorithm_is_evaluated_in_the_same_battles(recordings: Path) -> None:
    """They follow from seed and task alone, whatever is learned from and by whom."""
    one, other = ready(recordings, **FIXED), ready(recordings, stage_one=9, batch_size=4, replay_episodes=90)
    for loader in ("val_dataloader", "test_dataloader"):
        seeds = [torch.cat([r.seeds for r in getattr(data, loader)()]) for data in (one, other)]
        assert torch.equal(*seeds)


def test_every_option_has_its_test() -> None:
    assert {*signature(HybridDataModule).parameters} == {*EFFECTS, "dataset_dir", "seed"}


# Shares


def test_the_share_is_that_of_the_step_which_learns(recordings: Path) -> None:
    """Stage one has steps 0 and 1; stage two begins at step 2 with the whole share, not one step late."""
    data = ready(recordings, stage_one=2, share_begin=1.0, share_end=0.0, share_steps=4)
    assert shares(data, 0, 1, 2, 3, 4, 5, 6, 7) == [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    data = ready(recordings, stage_one=2, share_begin=0.5, share_end=0.0, share_steps=4)
    assert shares(data, 1, 2, 3) == [1.0, 0.5, 0.375]


class Watched(LightningModule):
    """Learns nothing; writes down what each optimiser step was given."""

    offline_phase_steps = 1
    chunk_plan = None
    learns_from_episodes = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, float, int]] = []

    def training_step(self, batch: HybridBatch, batch_idx: int) -> torch.Tensor:
        n_played = len(self.trainer.datamodule.replay_buffers["3m"])  # type: ignore[attr-defined]
        self.seen.append((self.global_step, batch.offline_share["3m"], n_played))
        return self.weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Plays(Callback):
    """Adds four episodes to the buffer after every step."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.datamodule.replay_buffers["3m"].add(make_episodes(TASK, 4))  # type: ignore[attr-defined]


def fitted(data: HybridDataModule, steps: int, **options: Any) -> Watched:
    module = Watched()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=1,
        limit_val_batches=0,
        enable_checkpointing=False,
        callbacks=[Plays()],
        **quiet,
        **options,
    )
    trainer.fit(module, datamodule=data)
    return module


def test_in_a_run_each_step_learns_from_the_share_and_the_episodes_of_that_step(recordings: Path) -> None:
    data = HybridDataModule(
        train_tasks=["3m"],
        dataset_dir=str(recordings / "data"),
        batch_size=4,
        share_begin=1.0,
        share_end=0.0,
        share_steps=4,
    )
    seen = fitted(data, 6).seen
    assert seen == [(k, share, 4 * k) for k, share in enumerate([1.0, 1.0, 0.75, 0.5, 0.25, 0.0])]


def test_while_the_buffer_is_too_empty_the_share_is_one_and_that_is_said_once(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ready(recordings, n_played=7, share_schedule="fixed", share_fixed=0.0)
    assert shares(data, 0, 1, 2) == [1.0, 1.0, 1.0], "not the 0 that the schedule wishes"
    assert capsys.readouterr().out.count("too few for the played part of a batch of 8") == 1
    data.replay_buffers["3m"].add(make_episodes(TASK, 1))
    assert shares(data, 3) == [0.0]


def test_a_buffer_that_can_never_hold_the_played_part_of_a_batch_is_refused(recordings: Path) -> None:
    for options, played in (
        ({"share_end": 0.25}, 24),
        ({"share_begin": 0.0, "share_end": 0.5}, 32),
        ({"share_schedule": "fixed", "share_fixed": 0.5}, 16),
        ({"share_schedule": "dynamic", "share_end": 0.5}, 16),
        ({"quality": "none"}, 32),
    ):
        with pytest.raises(UserError, match=rf"--data.replay_episodes is {played - 1}, .*at least {played}"):
            HybridDataModule(train_tasks=["3m"], replay_episodes=played - 1, **options)
        HybridDataModule(train_tasks=["3m"], replay_episodes=played, **options)


def test_the_dynamic_share_follows_the_battles_and_needs_recordings_that_were_won(
    recordings: Path, tmp_path: Path
) -> None:
    data = ready(recordings, share_schedule="dynamic", share_begin=1.0, share_end=0.25)
    assert shares(data, 0) == [1.0]
    data.record_wins("3m", [True, False] * 13 + [False] * 24)
    assert shares(data, 0)[0] == pytest.approx(1 - 0.75 * (13 / 25) ** 2, abs=1 / 8)
    assert _fallen(data) == 0.25
    write_run(tmp_path / "3m" / "medium" / "run", make_episodes(TASK, 4, wins=0.0))
    with pytest.raises(UserError, match=r"the recordings' win rate is 0, .* use the linear or the fixed"):
        ready(recordings, dataset_dir=str(tmp_path), share_schedule="dynamic")


# Without recordings


def test_without_recordings_batches_are_played_ones(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ready(recordings, n_played=5, quality="none", dataset_dir=None)
    assert (data.statistics, data.offline, data.prefill_episodes) == ({}, {}, 8)
    batch = at(data, 0)
    assert (len(batch.episodes["3m"]), batch.offline_share) == (5, {"3m": 0.0})
    assert "batches are smaller" in capsys.readouterr().out
    data.replay_buffers["3m"].add(make_episodes(TASK, 20))
    assert len(at(data, 1).episodes["3m"]) == 8
    assert ready(recordings).prefill_episodes == 0


def test_a_run_that_would_have_nothing_to_learn_from_says_so(recordings: Path) -> None:
    with pytest.raises(UserError, match="nothing to learn from, for the first 3 optimiser steps"):
        ready(recordings, stage_one=3, quality="none")
    with pytest.raises(UserError, match="no recordings and the replay buffer is empty: nothing to"):
        at(ready(recordings, n_played=0, quality="none"), 0)
    with pytest.raises(UserError, match=r"give --data.dataset_dir FOLDER, or --data.quality none"):
        ready(recordings, dataset_dir=None)


def test_a_stopped_stream_goes_on_without_recordings_too(recordings: Path) -> None:
    data, resumed = (ready(recordings, quality="none") for _ in range(2))
    at(data, 0)
    resumed.load_rank_state(data.rank_state())
    assert first_states(at(data, 1)) == first_states(at(resumed, 1))


def test_batches_go_to_the_device_and_requests_stay(recordings: Path) -> None:
    data, device = ready(recordings), torch.device("meta")
    assert data.transfer_batch_to_device(at(data, 0), device, 0).episodes["3m"].obs.device == device
    (request,) = data.val_dataloader()
    assert data.transfer_batch_to_device(request, device, 0) is request


# What is said of the recordings


def test_a_run_says_what_it_learns_from(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready(recordings)
    line = capsys.readouterr().out
    assert line.startswith("3m/medium: 24 recorded episodes, 50.0% won, return ")
    assert "warning" not in line


def test_recordings_of_defeats_or_fewer_than_asked_for_are_warned_of(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = {"policy": "kiting", "environment": "simulator", "asked_episodes": 200}
    write_run(tmp_path / "3m" / "expert" / "run", make_episodes(TASK, 12, wins=0.0), about=about)
    data = ready(recordings, dataset_dir=str(tmp_path), quality="expert")
    lines = capsys.readouterr().out.splitlines()
    assert "recorded by kiting (simulator)" in lines[0]
    assert lines[1].startswith("warning: 3m/expert: 0.0% of the recorded episodes are won")
    assert lines[2] == "warning: 3m/expert: 12 episodes are recorded, of 200 that were asked for"
    assert data.statistics["3m"].source == "kiting (simulator)"


# Tasks


def test_tasks_are_given_by_name_by_file_and_as_objects(tmp_path: Path) -> None:
    path = tmp_path / "6m_vs_8m.yaml"
    path.write_text("allies: {marine: 6}\nenemies: {marine: 8}\n")
    duel = make_battle("duel", {"marine": 1}, {"marine": 1})
    data = HybridDataModule(train_tasks=["3m", str(path), duel], eval_tasks=[duel, "4m"])  # type: ignore[list-item]
    assert _names(data.train_tasks) == ["3m", "6m_vs_8m", "duel"]
    assert _names(data.eval_tasks) == ["duel", "4m"]
    assert data.seen == {"3m", "6m_vs_8m", "duel"}
    assert data.train_tasks[2] is duel
    task_set = tmp_path / "mine.yaml"
    task_set.write_text("train: [3m, 6m_vs_8m.yaml]\nunseen: [4m]\n")
    assert _names(HybridDataModule(task_set=str(task_set)).eval_tasks) == ["3m", "6m_vs_8m", "4m"]


def test_a_task_set_is_never_ignored() -> None:
    assert _names(HybridDataModule().train_tasks) == ["3m"]
    assert _names(HybridDataModule(task_set="cooperative-navigation").train_tasks) == ["cn-2", "cn-4"]
    with pytest.raises(UserError, match=r"task_set toy and --data.train_tasks \[3m\] both say what"):
        HybridDataModule(task_set="toy", train_tasks=["3m"])
    with pytest.raises(UserError, match="train_tasks is empty"):
        HybridDataModule(train_tasks=[])
    with pytest.raises(UserError, match="3m and 2s3z describe units by different features"):
        HybridDataModule(train_tasks=["3m", "2s3z"])


@pytest.mark.parametrize(
    "option", ["batch_size", "replay_episodes", "eval_episodes", "test_episodes", "eval_batch"]
)
def test_numbers_of_episodes_are_at_least_one(option: str) -> None:
    with pytest.raises(UserError, match=f"--data.{option} is 0; it counts episodes, give 1 to"):
        HybridDataModule(**{option: 0})  # type: ignore[arg-type]
