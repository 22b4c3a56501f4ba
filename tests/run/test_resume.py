"""A run that is stopped and started again gives the numbers of one that was never stopped."""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from refusals import refused
from tiny_runs import (
    MAX_STEPS,
    PRETRAIN_STEPS,
    VAL_EVERY,
    assert_same_run,
    callback,
    the_run,
    tiny_fit,
    weights,
)

from hygen_lightning.cli import main
from hygen_lightning.run.run import claimed, is_first_process, new_run_dir
from hygen_lightning.specs import UserError


def stopped_at(tmp_path: Path, step: int, save_every: int) -> Path:
    """A run that an exception ended in this optimiser step."""
    words = callback("StopAt", step=step)
    assert main(tiny_fit(tmp_path, f"--checkpoint.every_n_steps={save_every}", *words)) == 130
    return the_run(tmp_path)


def test_another_seed_gives_another_run(tiny_run: Path, tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, "--seed_everything=2", "--trainer.max_steps=2")) == 0
    mine, theirs = weights(the_run(tmp_path)), weights(tiny_run)
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


PLACES = {
    "stage one": (3, 1),
    "validation in stage one": (VAL_EVERY, 1),
    "stage switch": (PRETRAIN_STEPS, 1),
    "stage two": (7, 1),
    "validation in stage two": (2 * VAL_EVERY, 1),
    "steps after the checkpoint": (7, 3),
}


IN_CI_ONLY = ("validation in stage one", "stage two")


@pytest.mark.parametrize(
    "place",
    [pytest.param(p, marks=pytest.mark.slow if p in IN_CI_ONLY else ()) for p in PLACES],
)
def test_a_resumed_run_is_the_uninterrupted_one(place: str, tiny_run: Path, tmp_path: Path) -> None:
    run = stopped_at(tmp_path, *PLACES[place])
    assert main(tiny_fit(tmp_path, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))) == 0
    assert_same_run(the_run(tmp_path), tiny_run)


def test_a_stopped_run_is_found_by_name_root_and_seed_of_its_config(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"seed_everything: 3\nrun: {{name: other, root: {tmp_path / 'elsewhere'}}}\n")
    drop = ("--run.root", "--run.name")
    words = tiny_fit(tmp_path, "--config", str(config), "--trainer.max_steps=4")
    words = [w for i, w in enumerate(words) if w not in drop and words[i - 1] not in drop]
    assert main([*words, "--checkpoint.every_n_steps=1", *callback("StopAt", step=2)]) == 130
    (run,) = (tmp_path / "elsewhere" / "other").iterdir()
    assert run.name.endswith("-s3")
    assert main([*words, "--resume=auto"]) == 0
    assert (run / "results.json").exists()


def test_resume_takes_the_run_of_the_asked_seed(tmp_path: Path) -> None:
    short = ("--trainer.max_steps=4", "--checkpoint.every_n_steps=1")
    assert main(tiny_fit(tmp_path, *short, "--seed_everything=2", *callback("StopAt", step=2))) == 130
    assert main(tiny_fit(tmp_path, *short, "--seed_everything=1", *callback("StopAt", step=2))) == 130
    assert main(tiny_fit(tmp_path, *short, "--seed_everything=2", "--resume=auto")) == 0
    finished = [path.parent.name[-2:] for path in tmp_path.rglob("results.json")]
    assert finished == ["s2"]


def test_a_run_that_was_stopped_twice_is_the_uninterrupted_one(tiny_run: Path, tmp_path: Path) -> None:
    stopped_at(tmp_path, 3, 1)
    assert (
        main(
            tiny_fit(
                tmp_path, "--resume", "auto", "--checkpoint.every_n_steps=2", *callback("StopAt", step=7)
            )
        )
        == 130
    )
    assert main(tiny_fit(tmp_path, "--ckpt_path", "last")) == 0
    assert_same_run(the_run(tmp_path), tiny_run)


def test_resume_auto_without_a_stopped_run_begins_one(tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, "--resume", "auto", "--trainer.max_steps=2")) == 0
    assert main(tiny_fit(tmp_path, "--resume", "auto", "--trainer.max_steps=2")) == 0
    assert len(list((tmp_path / "runs" / "tiny").iterdir())) == 2


@pytest.mark.parametrize("steps", [7, 2 * VAL_EVERY])
def test_a_finished_run_goes_on_with_more_steps(steps: int, tiny_run: Path, tmp_path: Path) -> None:
    assert main(tiny_fit(tmp_path, f"--trainer.max_steps={steps}")) == 0
    run = the_run(tmp_path)
    last = str(run / "checkpoints" / "last.ckpt")
    assert main(tiny_fit(tmp_path, "--ckpt_path", last, f"--trainer.max_steps={MAX_STEPS}")) == 0
    mine, theirs = weights(run), weights(tiny_run)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def whole_copy(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "copy")
    return folder / "copy"


@pytest.mark.parametrize(
    ("words", "again"), [("--resume=auto", "the same command"), ("--ckpt_path=last", "--resume auto")]
)
def test_a_damaged_checkpoint_of_a_stopped_run_says_how_to_go_on_without_it(
    words: str, again: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "runs/tiny" / tiny_run.name)
    (run / "results.json").unlink()
    (run / "checkpoints/last.ckpt").write_bytes(b"half")
    said = refused(tiny_fit(tmp_path, words), capsys)
    assert f"{run / 'checkpoints/last.ckpt'} cannot be read as a checkpoint" in said
    assert said.endswith(f"; or move {run.name} out of {run.parent}, and {again} goes on without it")


def test_more_steps_than_asked_for_are_refused_and_the_run_stays_as_it_was(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = whole_copy(tiny_run, tmp_path)
    last = str(run / "checkpoints/last.ckpt")
    said = refused(tiny_fit(tmp_path, "--ckpt_path", last, "--trainer.max_steps=4"), capsys)
    assert f"last.ckpt is of step {MAX_STEPS}, --trainer.max_steps is 4; give more" in said
    assert (run / "results.json").read_text() == (tiny_run / "results.json").read_text()


def test_a_copy_of_a_checkpoint_outside_a_run_is_no_run(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run / "checkpoints", tmp_path / "safe/backup")
    (tmp_path / "safe/results.json").write_text("mine")
    said = refused(tiny_fit(tmp_path, "--ckpt_path", str(tmp_path / "safe/backup/last.ckpt")), capsys)
    assert "lies outside a run; to go on from it, put it back into <run>/checkpoints" in said
    assert (tmp_path / "safe/results.json").read_text() == "mine"


def test_two_processes_do_not_train_one_run(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = whole_copy(tiny_run, tmp_path)
    words = tiny_fit(tmp_path, "--ckpt_path", str(run / "checkpoints/last.ckpt"), "--trainer.max_steps=12")
    with claimed(run):
        assert f"{run}: another process trains this run; wait for its end, or stop it" in refused(
            words, capsys
        )
    assert main(words) == 0


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOLCK, "None"), NotImplementedError(), PermissionError(13, "Denied")],
)
def test_a_folder_without_locks_is_used_and_one_that_may_not_be_written_to_is_refused(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("hygen_lightning.run.run.FileLock.acquire", acquire)
    refusal = pytest.raises(UserError, match="cannot be locked: Denied; make it writable")
    with refusal if isinstance(error, PermissionError) else nullcontext(), claimed(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    monkeypatch.setenv("HYGEN_LIGHTNING_RUN_DIR", "")
    with (
        new_run_dir(str(tmp_path / "runs"), "a", 1) as one,
        new_run_dir(str(tmp_path / "runs"), "a", 1) as two,
    ):
        assert [one.name, two.name] == ["now-s1", "now-s1-2"]
        (two / "config.yaml").touch()
    assert [path.name for path in (tmp_path / "runs" / "a").iterdir()] == ["now-s1-2"], "not the empty one"
    with new_run_dir(str(tmp_path / "other"), "a/b", 1):
        pass
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"])
def test_other_processes_of_a_run_neither_hold_nor_make_its_folder(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYGEN_LIGHTNING_RUN_DIR", "")
    assert is_first_process()
    monkeypatch.setenv(variable, "1")
    assert not is_first_process()
    with new_run_dir(str(tmp_path / "runs"), "a", 1) as folder:
        assert not folder.exists()
    monkeypatch.setenv("HYGEN_LIGHTNING_RUN_DIR", str(tmp_path / "first"))
    with new_run_dir(str(tmp_path / "runs"), "a", 1) as folder:
        assert folder == tmp_path / "first"


def test_a_run_that_trains_holds_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = callback("AnotherGoesOn", root=str(tmp_path / "runs"))
    assert main(tiny_fit(tmp_path, "--checkpoint.every_n_steps=1", *held)) == 0
    assert "refused: another process trains this run" in capsys.readouterr().out


def test_a_learning_rate_that_follows_the_steps_goes_on_exactly(tmp_path: Path) -> None:
    cosine = "--model.init_args.lr_schedule=cosine"
    assert main(tiny_fit(tmp_path / "whole", cosine)) == 0
    stop = ["--checkpoint.every_n_steps=3", *callback("StopAt", step=7)]
    assert main(tiny_fit(tmp_path / "parts", cosine, *stop)) == 130
    assert main(tiny_fit(tmp_path / "parts", cosine, "--resume=auto")) == 0
    assert_same_run(the_run(tmp_path / "parts"), the_run(tmp_path / "whole"))
