"""Cells run several at once, here or as jobs; one that fails stops no other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from made_up_cells import QuickCell, started

from hygen_lightning.specs import UserError
from hygen_lightning.study.cells import CellRun
from hygen_lightning.study.launch import LocalPool, Pool, SubmititPool, Watched, watch

pytest.importorskip("submitit")


def watched(root: Path, *cells: QuickCell) -> list[Watched]:
    return [Watched(CellRun(cell, root)) for cell in cells]


def states_of(pool: Pool) -> list[tuple[str, str]]:
    return [(cell.run.cell.name, cell.state) for cell in pool.cells]


def test_a_failing_cell_stops_no_other_and_no_more_than_asked_run_at_once(tmp_path: Path) -> None:
    cells = [QuickCell(name, 1, (), code=int(name == "b"), seconds=0.2) for name in "abcd"]
    pool = LocalPool(jobs=2)
    pool.submit(watched(tmp_path, *cells))
    most = 0

    def count(now: object) -> None:
        nonlocal most
        most = max(most, sum(state == "running" for _, state in states_of(pool)))

    watch(pool, count, every_s=0.02)
    assert states_of(pool) == [("a", "done"), ("b", "failed"), ("c", "done"), ("d", "done")]
    assert pool.cells[1].why == "it broke"
    assert most == 2


def test_gpus_are_handed_out_in_turn(tmp_path: Path) -> None:
    pool = LocalPool(jobs=2, gpus=2)
    pool.submit(watched(tmp_path, *(QuickCell(name, 1, ()) for name in "abc")))
    assert [cell.run.gpu for cell in pool.cells] == [0, 1, 0]


def test_an_interrupt_lets_the_runs_end(tmp_path: Path) -> None:
    pool = LocalPool(jobs=1)
    pool.submit(watched(tmp_path, QuickCell("a", 1, (), seconds=60)))

    def interrupt(now: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(pool, interrupt, every_s=0.02)
    process = pool.cells[0].run.process
    assert process is not None
    assert process.poll() is not None


@pytest.mark.parametrize("cluster", ["debug", pytest.param("local", marks=pytest.mark.slow)])
def test_jobs_of_submitit_train_the_same_cells(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own stand-ins for a cluster: all in this process, or a process per job."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parent.parent}")
    pool = SubmititPool(tmp_path / "slurm", jobs=2, options={}, cluster=cluster)
    pool.submit(watched(tmp_path, QuickCell("a", 1, ()), QuickCell("b", 1, (), code=1)))
    watch(pool, lambda cells: None, every_s=0.1)
    assert states_of(pool) == [("a", "done"), ("b", "failed")]
    assert started(tmp_path, "a") == ["1"]


def fake_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sbatch` and `srun` that only say they have understood."""
    folder.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (folder / name).write_text("#!/bin/sh\necho Submitted batch job 77\n")
        (folder / name).chmod(0o755 | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_script_for_slurm_asks_for_what_the_study_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cluster(tmp_path / "bin", monkeypatch)
    options = {"timeout_min": 240, "gpus_per_node": 1, "slurm_partition": "gpu"}
    pool = SubmititPool(tmp_path / "slurm", jobs=3, options=options)
    cells = watched(tmp_path, *(QuickCell(name, 1, ()) for name in "abcd"))
    cells[0].run.threads = 4
    pool.submit(cells)
    script = next((tmp_path / "slurm").glob("*.sh"))
    asked = {line.removeprefix("#SBATCH ") for line in script.read_text().splitlines()}
    assert {
        "--array=0-3%3",
        "--cpus-per-task=4",
        "--time=240",
        "--gpus-per-node=1",
        "--partition=gpu",
    } <= asked
    assert "--open-mode=append" in asked
    assert any(line.startswith("--signal=USR2@") for line in asked)
    assert len({cell.job.job_id for cell in pool.cells}) == 4


def test_a_cluster_that_is_not_there_and_an_option_that_it_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"--launcher slurm: .*srun.*; --launcher local runs on"):
        SubmititPool(tmp_path / "slurm", 1, {})
    fake_cluster(tmp_path / "bin", monkeypatch)
    with pytest.raises(UserError, match=r"--launcher slurm: .*partishun"):
        SubmititPool(tmp_path / "slurm", 1, {"slurm_partishun": "gpu"})


def test_without_submitit_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'hygen_lightning\[slurm\]'"):
        SubmititPool(tmp_path / "slurm", 1, {})
