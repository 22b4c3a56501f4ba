"""What a checkpoint holds, what happens when it cannot be written, and when it cannot be read."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_command
from refusals import refused
from tiny_runs import MAX_STEPS, assert_same_run, callback, the_run, tiny_fit
from torch import Tensor

from hygen_lightning import trainer_cli
from hygen_lightning.checkpoint import load_policy, read_checkpoint
from hygen_lightning.cli import main
from hygen_lightning.envs import make_env
from hygen_lightning.rollouts.runner import play
from hygen_lightning.run.checkpoint import save_atomically, written_or_reported
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task


def plain_types(content: Any) -> set[type]:
    """Types of everything in a nested container, tensors and containers apart."""
    if isinstance(content, dict):
        return set().union(*(plain_types(x) for pair in content.items() for x in pair))
    if isinstance(content, list | tuple):
        return set().union(*map(plain_types, content))
    return set() if isinstance(content, Tensor) else {type(content)}


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt", "ranks/step10-rank0.pt"])
def test_a_checkpoint_holds_tensors_and_plain_python_only(tiny_run: Path, name: str) -> None:
    content = torch.load(tiny_run / "checkpoints" / name, weights_only=True)
    assert plain_types(content) <= {int, float, bool, str, type(None)}


def test_only_the_newest_rank_file_stays(tiny_run: Path) -> None:
    assert [path.name for path in (tiny_run / "checkpoints" / "ranks").iterdir()] == ["step10-rank0.pt"]


def test_the_last_weights_are_evaluated_too(tiny_run: Path) -> None:
    with (tiny_run / "evaluations.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["stage"] == "val"]
    assert steps == [4, 4, 8, 8, MAX_STEPS, MAX_STEPS]


def test_a_policy_from_a_checkpoint_plays_teams_of_another_size(tiny_run: Path) -> None:
    task = load_task("5m")
    policy = load_policy(tiny_run / "checkpoints" / "last.ckpt", task)
    with pytest.raises(UserError, match="plays 3m and tasks like these; 2s3z describes units by other"):
        load_policy(tiny_run / "checkpoints" / "last.ckpt", load_task("2s3z"))
    played = play(make_env("simulator", task, 2), policy, torch.tensor([1, 2]))
    assert played.episodes.n_steps > 1


# Writing


@pytest.mark.parametrize("victim", ["rank file", "checkpoint"])
def test_a_full_disk_costs_no_more_than_the_new_checkpoint(
    victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true_save = torch.save

    def save(content: Any, path: Path) -> None:
        step = (
            int(path.name.split("-")[0].removeprefix(".step"))
            if "rank" in path.name
            else content["global_step"]
        )
        if step > 6 and ("rank" in path.name) is (victim == "rank file"):
            path.write_bytes(b"half of a checkpoint")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_save(content, path)

    monkeypatch.setattr(torch, "save", save)
    assert main(tiny_fit(tmp_path, "--checkpoint.every_n_steps=4")) == 0
    monkeypatch.undo()
    run, out = the_run(tmp_path), capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("could not write") and "best" not in line]
    assert len(lines) == 2  # at step 8 and at the end
    assert all("No space left on device; the checkpoint before it is still good" in line for line in lines)
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    assert not list(run.rglob("*.tmp"))
    assert "the last checkpoint that was written is of step 4; --resume auto goes on from there" in out
    assert json.loads((run / "results.json").read_text())["finished"] is False
    assert main(tiny_fit(tmp_path, "--resume", "auto")) == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 10


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.ckpt"
    save_atomically({"number": 1}, path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken disk")))
    with pytest.raises(OSError, match="broken disk"):
        save_atomically({"number": 2}, path)
    assert torch.load(path, weights_only=True) == {"number": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_calls_only_what_is_there_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken disk")))
    assert not written_or_reported({}, path, before=path)
    assert capsys.readouterr().out == f"could not write {path}: broken disk; there is none before it\n"
    path.touch()
    assert not written_or_reported({}, path, before=path)
    assert capsys.readouterr().out.endswith("the checkpoint before it is still good\n")


def test_a_write_that_torch_gives_up_on_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos 64 vs 0\nstack")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="unexpected pos 64 vs 0"):
        save_atomically({}, tmp_path / "some.ckpt")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos 64 vs 0\nstack")

    monkeypatch.setattr(torch, "save", save)
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(OSError, match="No space left on device"):
        save_atomically({}, tmp_path / "some.ckpt")


def test_a_run_that_could_save_nothing_does_not_promise_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", save)
    assert main(tiny_fit(tmp_path, *callback("SignalAt", step=3))) == 143
    assert "asked to stop: step 4 could not be saved, nor any before\n" in capsys.readouterr().out
    assert main(tiny_fit(tmp_path / "whole")) == 0
    out = capsys.readouterr().out
    assert "all 10 steps are done, but no checkpoint could be written\n" in out
    assert json.loads((the_run(tmp_path / "whole") / "results.json").read_text())["played_step"] == 10


# Without the replay


def test_without_its_replay_a_resumed_run_says_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--checkpoint.save_replay=false", "--checkpoint.every_n_steps=1"]
    assert main(tiny_fit(tmp_path, *options, *callback("StopAt", step=8))) == 130
    (saved,) = (the_run(tmp_path) / "checkpoints" / "ranks").iterdir()
    assert torch.load(saved, weights_only=True)["replay_buffers"] == {}
    capsys.readouterr()
    assert main(tiny_fit(tmp_path, *options, "--resume", "auto")) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "no replay" in line]
    assert "the episodes of 4 battles are lost" in line


# Reading


def test_explicit_options_win_over_the_checkpoint_and_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often = "--checkpoint.every_n_steps=1"
    assert main(tiny_fit(tmp_path, often, *callback("StopAt", step=3))) == 130
    capsys.readouterr()
    assert (
        main(
            tiny_fit(
                tmp_path, often, "--resume=auto", "--model.init_args.lr=0.25", "--rollouts.epsilon_end=0.1"
            )
        )
        == 0
    )
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("--")]
    assert shown == [
        "--model.init_args.lr 0.25, the run's was 0.0005",
        "--rollouts.epsilon_end 0.1, the run's was 0.05",
    ]
    last = torch.load(the_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert [group["lr"] for group in last["optimizer_states"][0]["param_groups"]] == [0.25]


def test_the_best_score_of_a_checkpoint_of_the_old_format_still_counts(tmp_path: Path) -> None:
    often = "--checkpoint.every_n_steps=1"
    assert main(tiny_fit(tmp_path, often, *callback("StopAt", step=9))) == 130
    last = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["run_checkpoint"].pop("best")["step"] == 8
    content["run_checkpoint"] |= {"best_score": 2.0, "best_step": 8}
    torch.save(content, last)
    assert main(tiny_fit(tmp_path, often, "--resume", "auto")) == 0
    assert json.loads((the_run(tmp_path) / "results.json").read_text())["played_step"] == 8


def test_a_run_does_not_go_on_with_other_training_tasks(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny_fit(
        tmp_path, "--data.train_tasks=[4m]", "--ckpt_path", str(tiny_run / "checkpoints/last.ckpt")
    )
    assert "is of training on 3m, this run is on 4m" in refused(words, capsys)


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_a_checkpoint_of_another_architecture_is_one_line(
    command: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model.init_args.width=16", "--model.init_args.target_update_interval=3"]
    words = tiny_fit(tmp_path, *asked, "--ckpt_path", str(tiny_run / "checkpoints/last.ckpt"))
    words[0] = command
    before = (tiny_run / "metrics.csv").read_text()
    line = refused(words, capsys)
    assert "another architecture" in line
    assert "ask for: width 16 (the checkpoint's is 8); leave" in line
    assert (tiny_run / "metrics.csv").read_text() == before


def test_a_checkpoint_of_another_algorithm_is_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = str(tiny_run / "checkpoints" / "last.ckpt")
    line = refused(["validate", "--ckpt_path", last, "--model", "QMIX", "--run.root", str(tmp_path)], capsys)
    assert "is of HyGen, the options ask for QMIX; leave --model out, or give a checkpoint of QMIX" in line


def test_skills_from_another_architecture_is_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tiny_run / "checkpoints" / "last.ckpt"
    words = tiny_fit(tmp_path, f"--model.init_args.skills_from={last}", "--model.init_args.width=16")
    assert "other architecture" in refused(words, capsys)


@pytest.mark.parametrize("option", ["--ckpt_path", "--model.init_args.skills_from"])
def test_a_truncated_checkpoint_is_one_line(
    option: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    cut.parent.mkdir(parents=True)
    cut.write_bytes((tiny_run / "checkpoints" / "last.ckpt").read_bytes()[:5000])
    line = refused(tiny_fit(tmp_path, option, str(cut)), capsys)
    assert str(cut) in line


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ("validate --ckpt_path", b"some notes\n"),
        ("test --ckpt_path", b""),
        ("fit --ckpt_path", b"PK\x03\x04 half a zip"),
        ("fit --model.skills_from", b"some notes\n"),
        ("collect 3m --policy", b""),
        ("render --policy", b"PK\x03\x04 half a zip"),
    ],
)
def test_another_kind_of_file_as_checkpoint_is_one_line_in_our_own_words(
    words: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    root = ["--run.root", str(tmp_path / "runs")] if words.startswith("fit") else []
    line = refused([*words.split(), str(path), *root], capsys)
    assert line.endswith(
        f"{path} cannot be read as a checkpoint, it is another kind of file or damaged; "
        "give a last.ckpt or best.ckpt, they lie in runs/<name>/<run>/checkpoints"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "last.ckpt"
    path.touch()
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(UserError, match="cannot be read: Permission denied; make it readable"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [("best", [], "holds weights only"), ("last", ["--model.init_args.width=16"], "another architecture")],
)
def test_what_no_run_goes_on_from_is_refused_before_anything_is_recorded(
    name: str,
    options: list[str],
    said: str,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer_cli, "recordings_for", None)
    words = tiny_fit(tmp_path, *options, "--ckpt_path", str(tiny_run / "checkpoints" / f"{name}.ckpt"))
    assert said in refused(words, capsys)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_checkpoint_without_its_rank_file_is_one_line(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny_fit(tmp_path, "--checkpoint.every_n_steps=1", *callback("StopAt", step=3))) == 130
    (rank_file,) = (the_run(tmp_path) / "checkpoints" / "ranks").iterdir()
    if damage == "missing":
        rank_file.unlink()
    else:
        rank_file.write_bytes(rank_file.read_bytes()[:3000])
    assert str(rank_file) in refused(tiny_fit(tmp_path, "--resume", "auto"), capsys)


@pytest.mark.slow
def test_a_disk_that_is_really_full_leaves_the_last_checkpoint_and_the_run_alive(
    tiny_run: Path, tmp_path: Path
) -> None:
    assert main(tiny_fit(tmp_path, *callback("SignalAt", step=5))) == 143
    words = ["--resume", "auto", "--checkpoint.every_n_steps=1"]
    code, out, err = run_command(*tiny_fit(tmp_path, *words), largest_file_bytes=40_000)
    assert code == 0, err
    tried = [line for line in out.splitlines() if line.startswith("could not write")]
    of_last = [line for line in tried if "-rank0.pt" in line]
    assert len(of_last) == 3  # at steps 7 and 8 and at the end
    assert all("the checkpoint before it is still good" in line for line in of_last)
    last = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 6
    assert main(tiny_fit(tmp_path, "--resume", "auto")) == 0
    assert_same_run(the_run(tmp_path), tiny_run)
