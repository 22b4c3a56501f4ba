"""Two processes on the CPU: what differs between them, what agrees, and what goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_new_interpreter
from refusals import refused
from tiny_runs import assert_same_run, callback, table, the_run, tiny_fit

pytestmark = pytest.mark.slow

TWO = (
    "--trainer.devices=2",
    "--trainer.strategy=ddp",
    "--data.eval_episodes=5",
    "--data.test_episodes=3",
    "--rollouts.epsilon_begin=1.0",
)


def run_two(tmp_path: Path, *extra: str) -> tuple[int, str, str]:
    """The tiny run on two processes: exit code, stdout, stderr."""
    return run_new_interpreter(*tiny_fit(tmp_path, *TWO, *extra))


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run on two processes that report what they did."""
    folder = tmp_path_factory.mktemp("two")
    code, _, err = run_two(folder, *callback("RankReport"))
    assert code == 0, err
    return the_run(folder)


def reports(run: Path) -> list[dict[str, Any]]:
    return [torch.load(run / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_parameters_stay_equal_to_the_last_bit(two_ranks: Path) -> None:
    one, other = (report["weights"] for report in reports(two_ranks))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_processes_that_refine_begin_with_the_same_skill_and_stay_equal(tmp_path: Path) -> None:
    refine = {"prior_weight": 1, "refine_battles": 4, "refine_epochs": 1, "refine_minibatches": 2}
    options = {**refine, "refine_skill_battles": 3, "skill_steps": 0}
    words = [f"--model.init_args.{name}={value}" for name, value in options.items()]
    code, out, err = run_two(tmp_path, *words, *callback("RankReport"))
    assert code == 0, err
    assert out.count("win rates in 6 battles of each task: learned ") == 1, "three on each process"
    one, other = (report["weights"] for report in reports(the_run(tmp_path)))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_each_process_draws_its_own_recordings_and_plays_its_own_battles(two_ranks: Path) -> None:
    one, other = (report["steps"] for report in reports(two_ranks))
    for mine, theirs in zip(one, other):
        assert not same(mine["states"]["3m"], theirs["states"]["3m"])
        assert not torch.equal(mine["noise"], theirs["noise"])
        if mine["replay_episodes"][0]:
            assert not same(mine["replay"][0], theirs["replay"][0])
    assert one[-1]["replay_episodes"][0] > 0


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def test_the_recordings_are_shared_out_without_overlap(two_ranks: Path) -> None:
    starts = [
        {tuple(state[10].tolist()) for step in report["steps"][:4] for state in step["states"]["3m"]}
        for report in reports(two_ranks)
    ]
    assert all(len(found) == 8 for found in starts)  # 4 updates of 2 different episodes
    assert not starts[0] & starts[1]


def test_schedules_agree(two_ranks: Path) -> None:
    one, other = (report["steps"] for report in reports(two_ranks))
    for name in ("step", "offline_share", "replay_episodes"):
        assert [step[name] for step in one] == [step[name] for step in other]


def test_an_evaluation_is_shared_out_and_every_battle_counted_once(two_ranks: Path) -> None:
    rows = table(two_ranks / "evaluations.csv")
    for stage, step, episodes in (("val", "4", 5), ("val", "8", 5), ("test", "10", 3)):
        seeds = [row["seed"] for row in rows if row["stage"] == stage and row["step"] == step]
        assert len(seeds) == len(set(seeds)) == episodes
    results = json.loads((two_ranks / "results.json").read_text())
    assert results["tasks"]["3m"]["episodes"] == 3


def test_two_processes_leave_one_run_folder(two_ranks: Path) -> None:
    assert sorted(p.name for p in (two_ranks / "checkpoints" / "ranks").iterdir()) == [
        "step10-rank0.pt",
        "step10-rank1.pt",
    ]


def test_a_run_of_two_processes_that_is_stopped_twice_goes_on_exactly_but_not_with_one(
    two_ranks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in stage one, steps behind the last checkpoint; then SIGTERM in stage two, which saves."""
    for stop, exit_code, step in (("StopAt", 130, 3), ("SignalAt", 143, 7)):
        words = ("--resume=auto", "--checkpoint.every_n_steps=2", *callback(stop, step=step))
        code, _, err = run_two(tmp_path, *words)
        assert code == exit_code, err
    assert "on 2 processes, this one has 1" in refused(tiny_fit(tmp_path, "--resume=auto"), capsys)
    code, _, err = run_two(tmp_path, "--resume=auto")
    assert code == 0, err
    assert_same_run(the_run(tmp_path), two_ranks)


def test_a_bad_number_on_one_process_is_skipped_by_both(tmp_path: Path) -> None:
    code, _, err = run_two(
        tmp_path, "--nonfinite.skip=true", *callback("SpoilRankOne", step=3), *callback("RankReport")
    )
    assert code == 0, err
    one, other = (found["weights"] for found in reports(the_run(tmp_path)))
    assert all(torch.equal(one[name], other[name]) and bool(one[name].isfinite().all()) for name in one)
    rows = table(the_run(tmp_path) / "metrics.csv")
    counts = [row["train/mean/skipped_batches"] for row in rows if "train/mean/skipped_batches" in row]
    assert counts == ["0.0"] * 3 + ["1.0"] * 7


def test_a_bad_number_on_one_process_ends_both_with_one_line(tmp_path: Path) -> None:
    code, _, err = run_two(tmp_path, *callback("SpoilRankOne", step=3))
    assert code == 1
    (line,) = [line for line in err.splitlines() if "hygen_lightning fit" in line]
    assert "step 3: the loss of 3m is nan" in line
    assert "rank1.pt" in line
