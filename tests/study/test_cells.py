"""A cell is trained by one process at a time, once, and goes on from where it was."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from made_up_cells import QuickCell, started

from hygen_lightning.study.cells import CellRun


def test_a_cell_that_is_done_is_not_started_again(tmp_path: Path) -> None:
    first = CellRun(QuickCell("a", 1, ()), tmp_path)
    assert (first(), CellRun(QuickCell("a", 1, ()), tmp_path)()) == (0, 0)
    assert started(tmp_path, "a") == ["1"]
    assert first.progress() == {"step": 9, "seen": 0.5, "unseen": None}
    assert CellRun(QuickCell("a", 11, ()), tmp_path).finished_run() is None


def test_seed_one_is_not_taken_for_seed_eleven(tmp_path: Path) -> None:
    assert CellRun(QuickCell("a", 11, ()), tmp_path)() == 0
    assert CellRun(QuickCell("a", 1, ()), tmp_path).finished_run() is None


def test_a_process_whose_study_is_gone_is_waited_for(tmp_path: Path) -> None:
    orphan = CellRun(QuickCell("a", 1, (), seconds=1.0), tmp_path)
    assert orphan.poll() is None
    later = CellRun(QuickCell("a", 1, ()), tmp_path)
    assert later.poll() is None
    assert later.process is None, "the first one holds the lock, though its study closed it"
    assert later() == 0
    assert started(tmp_path, "a") == ["1"]


def test_a_cell_has_begun_once_its_process_works_or_has_left_a_checkpoint(tmp_path: Path) -> None:
    run = CellRun(QuickCell("a", 1, (), code=3, seconds=1.0), tmp_path)
    assert not run.has_begun()
    (tmp_path / "a/20260101-000000-s1/checkpoints").mkdir(parents=True)
    assert not run.has_begun()
    run.poll()
    assert run.has_begun()
    run()
    assert run.has_begun()
    assert not CellRun(QuickCell("a", 2, ()), tmp_path).has_begun()


def test_a_broken_cell_says_its_last_line_and_is_started_again(tmp_path: Path) -> None:
    broken = CellRun(QuickCell("a", 1, (), code=3), tmp_path)
    assert broken() == 1
    assert broken.complaint() == "it broke"
    assert CellRun(QuickCell("a", 1, ()), tmp_path)() == 0
    assert started(tmp_path, "a") == ["1", "1"]


def test_a_run_broken_before_its_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "a" / "20250101-000000-s1"
    other_seed = tmp_path / "a" / "20250101-000000-s12"
    for folder in (empty, other_seed):
        (folder / "checkpoints").mkdir(parents=True)
    assert CellRun(QuickCell("a", 1, ()), tmp_path)() == 0
    assert not empty.exists()
    assert other_seed.exists()


def test_progress_is_read_from_the_newest_run(tmp_path: Path) -> None:
    run = CellRun(QuickCell("a", 1, ()), tmp_path)
    assert run.progress() == {}
    folder = tmp_path / "a" / "20260101-000000-s1"
    folder.mkdir(parents=True)
    header = "step,val/mean/seen_win_rate,val/mean/unseen_win_rate"
    (folder / "metrics.csv").write_text(f"{header}\n10,0.25,0.5\n20,,\n30,0.75,\n")
    assert run.progress() == {"step": 30, "seen": 0.75, "unseen": 0.5}


def test_when_the_cluster_takes_the_node_back_the_run_saves_and_another_job_goes_on(tmp_path: Path) -> None:
    run = CellRun(QuickCell("a", 1, (), seconds=60), tmp_path, threads=2)
    assert run.poll() is None
    assert run.process is not None
    time.sleep(0.2)
    run.process.send_signal(signal.SIGUSR2)
    time.sleep(0.2)
    assert run.poll() is None, "the signal that tells submitit's job is no business of the run"
    delayed = run.checkpoint()
    assert run.process.poll() == -signal.SIGTERM
    (again,) = (delayed.function,)
    assert (again.cell, again.root, again.threads, again.process) == (run.cell, run.root, 2, None)
