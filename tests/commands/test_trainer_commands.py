"""fit, validate, test and predict as users type them: what they print, leave and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from factories import make_episodes
from refusals import refused
from tiny_runs import MAX_STEPS, VAL_EVERY, resolved, table, the_run, tiny_fit

from hygen_lightning.cli import COMMANDS, TRAINER_COMMANDS, main
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.report.learning_curves import _draw_tasks, read_metrics, task_win_rates
from hygen_lightning.report.style import new_figure
from hygen_lightning.tasks import load_task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run with its pictures, one unseen and one extra task."""
    folder = tmp_path_factory.mktemp("finished")
    more = ["--data.eval_tasks", "[3m,4m]", "--data.extra_tasks", "[5m_vs_6m]"]
    pictures = ["--files.curve", "true", "--files.battle_gif", "true", "--files.skills", "true"]
    assert main([*tiny_fit(folder), *more, *pictures]) == 0
    return the_run(folder)


# What a run leaves


def test_a_run_leaves_config_metrics_checkpoints_results_and_pictures(run: Path) -> None:
    expected = {"config.yaml", "metrics.csv", "evaluations.csv", "results.json", "checkpoints"}
    expected |= {"learning_curves.png", "battle.gif", "skills.json", "skills.png"}
    assert expected <= {path.name for path in run.iterdir()}
    assert {"last.ckpt", "best.ckpt"} <= {path.name for path in (run / "checkpoints").iterdir()}
    assert (run / "battle.gif").read_bytes()[:4] == b"GIF8"
    assert (run / "learning_curves.png").read_bytes()[1:4] == b"PNG"


def test_results_tell_seen_unseen_and_extra_tasks_apart(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    tasks = results["tasks"]
    assert {name: task["seen"] for name, task in tasks.items()} == {
        "3m": True,
        "4m": False,
        "5m_vs_6m": False,
    }
    for task in tasks.values():
        assert {"win_rate", "episodes", "return", "length", "ci95"} <= set(task)
        assert task["ci95"][0] <= task["win_rate"] <= task["ci95"][1]
    assert results["mean_unseen_win_rate"] == tasks["4m"]["win_rate"], "extra tasks are in no mean"
    assert results["mean_seen_win_rate"] == tasks["3m"]["win_rate"]
    assert results["seed"] == 1
    assert results["environment"]["name"] == "simulator"


def test_metrics_hold_both_stages_rollouts_and_the_realised_share(run: Path) -> None:
    rows = table(run / "metrics.csv")
    names = {name for row in rows for name in row}
    assert {"train/3m/cross_entropy", "train/3m/td_loss", "rollout/3m/epsilon"} <= names
    assert {"val/4m/win_rate", "val/mean/unseen_win_rate", "val/mean/seen_score"} <= names
    shares = [float(row["train/3m/offline_share"]) for row in rows if "train/3m/offline_share" in row]
    assert shares[0] == 1.0, "stage one learns from recordings only"
    assert shares[-1] == 0.5, "batch 2 at fixed share 0.5 holds one recorded episode"


def test_metrics_evaluations_and_the_picture_of_tasks_name_the_same_steps(run: Path) -> None:
    at = {row["step"] for row in table(run / "metrics.csv") if "val/3m/win_rate" in row}
    assert at == {str(step) for step in range(VAL_EVERY, MAX_STEPS + 1, VAL_EVERY)}
    assert at == {row["step"] for row in table(run / "evaluations.csv") if row["stage"] == "val"}
    axes = new_figure(4, 3).add_subplot()
    _draw_tasks(axes, task_win_rates(read_metrics(run / "metrics.csv"), {"3m"}))
    assert {label.get_text() for label in axes.get_xticklabels()} == at


def test_the_saved_config_runs_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["width"] == 8
    assert main(["fit", "--config", str(run / "config.yaml"), "--print_config"]) == 0
    assert "pretrain_steps: 5" in capsys.readouterr().out


# Checkpoints play other task sets


def played(command: str, checkpoint: Path, folder: Path, *options: str) -> dict[str, Any]:
    """results.json of a checkpoint that plays a few battles."""
    few = ["--data.eval_episodes", "2", "--data.test_episodes", "2"]
    assert main([command, "--ckpt_path", str(checkpoint), "--run.root", str(folder), *few, *options]) == 0
    (results,) = folder.rglob("results.json")
    return dict(json.loads(results.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (["--data.eval_tasks", "[3m,13m_vs_15m]"], {"3m": True, "13m_vs_15m": False}),
        (["--data.task_set", "toy"], {"3m": True, "4m": False, "5m": False}),
    ],
    ids=["tasks of other sizes", "a task set"],
)
def test_a_checkpoint_plays_other_tasks(
    options: list[str], seen: dict[str, bool], run: Path, tmp_path: Path
) -> None:
    tasks = played("validate", run / "checkpoints/best.ckpt", tmp_path, *options)["tasks"]
    assert {name: task["seen"] for name, task in tasks.items()} == seen


@pytest.mark.parametrize("command", ["validate", "test"])
def test_a_checkpoint_that_plays_prints_one_table_and_knows_where_it_comes_from(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints/last.ckpt"
    found = played(command, last, tmp_path, "--data.eval_tasks", "[3m]")
    out = capsys.readouterr().out
    assert out.count("mean seen") == 1
    assert "step 0:" not in out
    assert "DataLoader 0" not in out
    assert found["checkpoint"] == str(last)
    of_run = json.loads((run / "results.json").read_text())
    assert found["optimiser_steps"] == of_run["optimiser_steps"] == 10
    assert found["data"] == of_run["data"] != {"quality": "medium", "dataset_dir": None}


def test_predictions_are_recordings_that_pass_inspection(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["predict", "--ckpt_path", str(run / "checkpoints/best.ckpt"), "--run.root", str(tmp_path)]
    assert main([*argv, "--data.eval_tasks", "[3m,4m]", "--data.eval_episodes", "3"]) == 0
    (folder,) = tmp_path.rglob("recordings")
    capsys.readouterr()
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert set(found["tasks"]) == {"3m", "4m"}
    (results,) = tmp_path.rglob("results.json")
    assert {task["episodes"] for task in json.loads(results.read_text())["tasks"].values()} == {3}


# Options


def test_a_checkpoint_brings_its_model_and_options_change_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["validate", "--ckpt_path", str(run / "checkpoints/best.ckpt")]
    assert resolved(argv, capsys)["model"]["init_args"]["width"] == 8
    config = resolved([*argv, "--model.width", "16"], capsys)
    assert config["model"]["init_args"]["width"] == 16
    assert config["model"]["init_args"]["n_heads"] == 1
    assert config["data"]["train_tasks"] == ["3m"]


def test_the_seed_that_runs_is_the_seed_that_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--data.test_episodes", "1"]
    assert main([*tiny_fit(tmp_path), *short, "--seed_everything", "true"]) == 0
    folder = the_run(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    seed = config["seed_everything"]
    assert type(seed) is int
    assert seed > 1, "what is drawn is 0 or 1 once in two billion runs"
    assert folder.name.endswith(f"-s{seed}")
    assert json.loads((folder / "results.json").read_text(encoding="utf-8"))["seed"] == seed


def test_runs_lie_in_the_trainers_root_where_no_other_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["--trainer.default_root_dir", str(tmp_path / "afile")]
    (tmp_path / "afile").write_text("", encoding="utf-8")
    assert "afile is a file, no folder" in refused(["fit", *said], capsys)


# What a checkpoint remembers, and what its users type from elsewhere


def test_a_checkpoint_remembers_its_tasks_and_its_environment(run: Path) -> None:
    learned = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert learned["trained_on"] == {"3m": "3m"}
    assert learned["environment"] == "simulator"


def test_tasks_learned_from_a_file_are_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("duel.yaml").write_text("allies: {marine: 2}\nenemies: {marine: 2}\n", encoding="utf-8")
    tasks = ["--data.train_tasks", "[duel.yaml]", "--data.eval_tasks", "[duel.yaml]"]
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert main([*tiny_fit(Path()), *tasks, "--data.extra_tasks", "[]", *short]) == 0
    folder = the_run(tmp_path)
    kept = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert kept["data"]["train_tasks"] == kept["data"]["eval_tasks"] == [str(tmp_path / "duel.yaml")]
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    play = ["validate", "--ckpt_path", str(folder / "checkpoints/last.ckpt")]
    assert main([*play, "--data.eval_episodes", "1"]) == 0
    (tmp_path / "duel.yaml").unlink()
    assert f"learned from {tmp_path / 'duel.yaml'}, but" in refused(play, capsys)


@pytest.mark.parametrize("limit", ["0", "1.0"])
@pytest.mark.parametrize("where", ["--rollouts.env", "--evaluation.env"])
def test_tasks_that_an_environment_cannot_play_are_refused_before_anything_is_learned(
    where: str,
    limit: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "envs")
    other = {"--rollouts.env": "--evaluation.env", "--evaluation.env": "--rollouts.env"}[where]
    words = [where, "grid_battle:LineEnv", other, "simulator", "--trainer.limit_val_batches", limit]
    assert "the layout of 3m says" in refused([*tiny_fit(tmp_path), *words], capsys)


def test_navigation_in_the_simulator_is_refused_before_anything_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--data.train_tasks",
        "[cn-2]",
        "--data.eval_tasks",
        "[cn-2]",
        "--trainer.limit_val_batches",
        "0",
        "--rollouts.env",
        "simulator",
    ]
    assert "cn-2 is no battle" in refused([*tiny_fit(tmp_path), *words], capsys)


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
        (["--trainer.val_check_interval", "0"], "it counts optimiser steps"),
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
