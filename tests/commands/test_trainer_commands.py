"""fit, validate, test and predict as users type them: what they print, leave and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from refusals import refused
from short_battles import short_battles
from tiny_runs import MAX_STEPS, VAL_EVERY, resolved, table, the_run, tiny_fit

from hygen_lightning.cli import main
from hygen_lightning.report.learning_curves import _draw_tasks, read_metrics, task_win_rates
from hygen_lightning.report.style import new_figure


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run with its pictures, one unseen and one extra task."""
    folder = tmp_path_factory.mktemp("finished")
    more = ["--data.eval_tasks", "[3m,4m]", "--data.extra_tasks", "[5m_vs_6m]", "--evaluation.noise", "0.05"]
    pictures = ["--files.curve", "true", "--files.battle_gif", "true", "--files.skills", "true"]
    with short_battles():
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


def test_results_tell_whose_weights_played(run: Path) -> None:
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    results = json.loads((run / "results.json").read_text())
    assert results["played_step"] == best["global_step"] <= results["optimiser_steps"]


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
    assert at == {str(step) for step in (VAL_EVERY, 2 * VAL_EVERY, MAX_STEPS)}, "the last step too"
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


@pytest.mark.parametrize("layer", ["bc", "hissd", "mappo"])
def test_a_model_goes_on_over_configs_that_begin_with_another(
    layer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = ["--config", "conf/tasks/toy.yaml", "--config", f"conf/{layer}.yaml"]
    model = resolved(["fit", *configs, "--model.width=16", "--model.lr=0.25"], capsys)["model"]
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"model_config": model, "trained_on": {"3m": "3m"}, "state_dict": {}}, checkpoint)
    for command in ("fit", "validate"):
        words = [command, *configs, "--model.lr=0.5", "--ckpt_path", str(checkpoint)]
        again = resolved(words, capsys)["model"]
        assert again == {**model, "init_args": {**model["init_args"], "lr": 0.5}}, command


def test_a_model_refuses_options_of_another_than_its_configs_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "last.ckpt"
    model = {"class_path": "hygen_lightning.algorithms.BC", "init_args": {"width": 16}}
    torch.save({"model_config": model, "trained_on": {"3m": "3m"}, "state_dict": {}}, checkpoint)
    words = ["--ckpt_path", str(checkpoint), "--config", "conf/tasks/toy.yaml"]
    said = refused(["fit", *words], capsys)
    assert "conf/tasks/toy.yaml: unknown option --model.pretrain_steps" in said


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
