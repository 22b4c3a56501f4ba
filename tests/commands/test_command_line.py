"""How the command line answers: bad input in one line that says what to do, and its help."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from factories import make_episodes
from refusals import refused
from tiny_runs import callback, tiny_fit

from hygen_lightning.cli import COMMANDS, TRAINER_COMMANDS, main
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.tasks import load_task

# Bad input


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--data.train_tasks", "[3mm]"], "unknown task '3mm'; did you mean 3m"),
        (["--data.eval_tasks", "[3m,2s3z]"], "describe units by different features"),
        (["--model.nn_skills", "3"], "unknown option --model.nn_skills; did you mean --model.n_skills?"),
        (["--model.init_args.lrr", "1"], "unknown option --model.lrr; did you mean --model.lr?"),
        (["--data.batch_size", "0"], "--data.batch_size is 0"),
        (["--data.share_schedule", "linear", "--data.share_end", "-0.1"], "give a number between 0 and 1"),
        (["--data.share_schedule", "fixed", "--data.share_fixed", "1.5"], "give a number between 0 and 1"),
        (["--rollouts.epsilon_begin", "2"], "0 <= end <= begin <= 1"),
        (["--rollouts.env", "warcraft"], "unknown environment 'warcraft'; known: navigation, simulator"),
        (["--model.lr", "0"], "a learning rate is above 0"),
        (["--data.dataset_dir", "nowhere"], "nowhere does not exist"),
        (["--data.dataset_dir", __file__], "is a file; give as dataset_dir the folder"),
        (["--data.train_tasks", "[]"], "--data.train_tasks is empty"),
        (["--data.eval_tasks", "[3m,25m]", "--model.id_bits", "4"], "25 agents do not fit"),
        (["--rollouts.episodes_per_step", "-1"], "give 0 (offline only) to"),
        (["--seed_everything", "false"], "a run has a seed"),
        (["--seed_everything", "true", "--resume", "auto"], "give the number of the run's"),
        (["--trainer.strategy", "ddp_spawn"], "give ddp"),
        (["--trainer.strategy", "DDPStrategy", "--trainer.strategy.start_method", "fork"], "give ddp"),
        (["--trainer.precision", "bf16-true"], "batches and battles are float32"),
        (["--trainer.precision", "64-true"], "batches and battles are float32"),
        (["--trainer.val_check_interval", "0"], "it counts optimiser steps: give 1 or more"),
        (["--trainer.log_every_n_steps", "-1"], "it counts optimiser steps"),
        (["--trainer.devices", "-2"], "--trainer options"),
        (["--run.record_episodes", "0"], "--run.record_episodes is 0; give 1 to"),
        (["--rollouts.episodes_per_step", "99999999999999999999"], "give 0 (offline only) to"),
        (["--rollouts.every_n_steps", "99999999999999999999"], "give 1 to"),
        (["--run.name", "../x"], "give the name of a folder"),
        (["--run.root", "/dev/full"], "full is a file, no folder"),
        (["--model.width", "0"], "--model.width is 0; give 1 to"),
        (["--model.width", "10000000"], "--model.width is 10000000; give 1 to"),
        (["--model.n_skills", "0"], "--model.n_skills is 0"),
        (["--model.id_bits", "-1"], "--model.id_bits is -1"),
        (["--model.beta", "-1"], "--model.beta is -1"),
        (["--data.eval_tasks", "[]"], "--data.eval_tasks is empty"),
        (["--data.eval_tasks", "[3]"], "takes a text; got 3"),
        (["--data.eval_episodes", "99999999999999999999"], "it counts episodes, give 1 to"),
        (["--rollouts.env", "smac"], "doctor` says how to mend it"),
        (["--evaluation.env", "smac", "--trainer.limit_val_batches", "0"], "doctor` says how to mend it"),
        (["--trainer.logger", "Foo"], "--trainer.logger: unknown name 'Foo'"),
        (["--trainer.logger", "lightning.pytorch.loggers.CometLogger"], "not installed"),
        (["--trainer.profiler", "xla"], "not installed: --trainer.profiler xla asks for torch_xla"),
    ],
)
def test_bad_options_get_one_line_that_says_what_to_do(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused([*tiny_fit(tmp_path), *options], capsys)


def test_a_value_in_the_place_of_a_group_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text("trainer: 4\n", encoding="utf-8")
    line = refused([*tiny_fit(tmp_path), "--config", str(tmp_path / "wrong.yaml")], capsys)
    assert "--trainer is 4; it is a group of options" in line


def test_a_metric_that_nobody_logs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "val/nothing"]
    assert "val/nothing" in refused([*tiny_fit(tmp_path), *words], capsys, begun=True)


def test_a_package_that_is_missed_only_when_a_run_begins_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused([*tiny_fit(tmp_path), *callback("WantsPsutil")], capsys)
    assert "a package that the options need is not installed: Requirement 'psutil' not met" in line


def test_an_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean fit?" in refused(["fitt"], capsys)


def test_recordings_that_cannot_be_learned_from_stop_a_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, task = tmp_path / "data", load_task("3m")
    words = [*tiny_fit(tmp_path), "--data.dataset_dir", str(data)]
    write_run(data / "3m/expert/run", make_episodes(task, 4))
    assert "3m/expert" in refused(words, capsys), "what there is, where medium was asked for"
    (path,) = write_run(data / "3m/medium/run", make_episodes(task, 6))
    with h5py.File(path, "r+") as file:
        file["obs"][2, 0] = np.nan
    line = refused(words, capsys)
    assert all(piece in line for piece in ("part_0.h5", "obs", "episode 2"))
    (of_another_map,) = write_run(tmp_path / "elsewhere", make_episodes(load_task("4m"), 4))
    of_another_map.replace(path)
    assert "4m" in refused(words, capsys)


def test_an_empty_replay_buffer_with_share_zero_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.share_fixed", "0", "--rollouts.episodes_per_step", "0"]
    assert "replay buffer is empty" in refused([*tiny_fit(tmp_path), *options], capsys, begun=True)


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "afile"))
    assert "afile" in refused(tiny_fit(tmp_path), capsys)


def test_a_checkpoint_of_another_program_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    line = refused(["validate", "--ckpt_path", str(tmp_path / "other.ckpt")], capsys)
    assert "is missing" in line


# Help


@pytest.mark.parametrize("command", [*sorted(TRAINER_COMMANDS), *COMMANDS])
def test_every_command_has_help_that_says_how_it_is_called(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    usage = capsys.readouterr().out.partition("usage: ")[2]
    called, _, rest = usage.partition(command)
    assert called.removesuffix("[options] ") == "python -m hygen_lightning "
    assert rest.strip()


def test_help_of_a_model_says_how_the_program_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model.help", "HyGen"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m hygen_lightning --model.widths")


def test_the_list_of_commands_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in [*TRAINER_COMMANDS, *COMMANDS])
