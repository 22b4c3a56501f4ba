"""The DataModule: what a batch holds at each optimiser step, and what is said of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_episodes
from lightning.pytorch import Callback, LightningModule, Trainer
from ready_datamodule import at, first_states, ready, shares

from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.specs import Episodes, HybridBatch, UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


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

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, float, int]] = []

    def training_step(self, batch: HybridBatch, batch_idx: int) -> torch.Tensor:
        n_played = len(self.trainer.datamodule.replay_buffers["3m"])  # type: ignore[attr-defined]
        self.seen.append((self.global_step, batch.offline_share["3m"], n_played))
        return self.weight * 1.0

    def loss(self, episodes: Episodes, offline_share: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raise AssertionError("the training step above learns nothing")

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
    data.record_wins("3m", [True] * 50)
    assert shares(data, 0) == [0.25]
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
    with pytest.raises(UserError, match="nothing to learn from, for all optimiser steps"):
        ready(recordings, stage_one=sys.maxsize, quality="none")
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
