"""Every option of the DataModule changes what it should; impossible ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from ready_datamodule import FIXED, at, first_states, ready, shares

from hygen_lightning.data.buffers import EpisodesInMemory
from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import make_battle


def _names(tasks: Any) -> list[str]:
    return [task.name for task in tasks]


def _fallen(data: HybridDataModule) -> float:
    """The share after 50 won battles."""
    data.record_wins("3m", [True] * 50)
    return shares(data, 0)[0]


def _requests(loader: Any) -> list[int]:
    return [len(request.seeds) for request in loader if request.task.name == "3m"]


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
