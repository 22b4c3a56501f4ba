"""The examples, run from outside the package: what they show is what works."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import run_command, run_new_interpreter
from short_battles import short_battles

from hygen_lightning import load_task, make_env, named_policy, play
from hygen_lightning.envs import environment_class

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_python_example_trains_and_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train = runpy.run_path(str(EXAMPLES / "train.py"))["train"]
    trainer = train(steps=5, episodes=40)
    assert trainer.global_step == 5
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/3m/win_rate", "val/4m/win_rate", "val/mean/unseen_win_rate"} <= metrics.keys()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's own folder with the examples in it; commands run there."""
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with short_battles():
        yield tmp_path


def run(*words: str) -> str:
    """What a command says on stdout, in a process of its own, which knows no class of the folder yet."""
    code, out, err = run_command(*words)
    assert code == 0, err
    return out


def fit(*words: str) -> str:
    """A `fit` of a few steps; the path of its checkpoint."""
    tiny = {
        "--trainer.max_steps": "4",
        "--trainer.val_check_interval": "2",
        "--run.record_episodes": "16",
        "--data.batch_size": "4",
        "--data.eval_episodes": "4",
        "--data.test_episodes": "4",
        "--evaluation.noise": "0",
        "--rollouts.every_n_steps": "2",
    }
    run("fit", *words, *(piece for option in tiny.items() for piece in option))
    (checkpoint,) = Path("runs").glob("*/*/checkpoints/last.ckpt")
    assert (checkpoint.parent.parent / "battle.gif").stat().st_size > 0
    return str(checkpoint)


@pytest.mark.slow
def test_an_algorithm_and_an_environment_from_outside_do_all_that_ours_do(folder: Path) -> None:
    world, tasks = "environment:Harvest", "--data.eval_tasks=[harvest-2-3,harvest-3-4]"
    checkpoint = fit(
        *("--model", "algorithm.PooledClone", "--rollouts.env", world, "--data.extra_tasks", "[]"),
        *("--data.train_tasks", "[harvest-2-3]", tasks),
    )
    out = run("validate", "--ckpt_path", checkpoint, tasks)
    assert "harvest-3-4" in out
    run("render", "--task", "harvest-2-3", "--policy", checkpoint, "--out", "field.png")
    for policy, env in (("nearest_crop", ["--env", world]), (checkpoint, [])):
        words = [*env, "--policy", policy, "--episodes", "4", "--run", Path(policy).stem]
        assert "harvest-2-3" in run("collect", "harvest-2-3", *words)
    assert (folder / "dataset/harvest-2-3/expert/last/part_0.h5").is_file()
    assert "all passed" in run("inspect", "dataset", "--env", world)
    code, out, _ = run_new_interpreter("inspect", "dataset")
    assert code == 2
    assert f"give --env {world}" in " ".join(out.split())
    words = ["--env", world, "--policies", f"[random,nearest_crop,{checkpoint}]", "--episodes", "8"]
    assert "nearest_crop" in run("players", "--tasks", "[harvest-2-3]", *words)


@pytest.mark.slow
def test_the_world_of_the_example_trains_ours(folder: Path) -> None:
    fit(
        *("--rollouts.env", "environment:Harvest", "--data.extra_tasks", "[]", "--model.pretrain_steps", "2"),
        *("--data.train_tasks", "[harvest-2-3]", "--data.eval_tasks", "[harvest-2-3]"),
    )


@pytest.mark.slow
def test_a_task_and_a_task_set_from_outside_do_all_that_ours_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = fit(
        *("--config", "conf/base.yaml", "--data.task_set", "task_set.yaml", "--model.pretrain_steps", "2")
    )
    assert "MMM" in run("validate", "--ckpt_path", checkpoint, "--data.eval_tasks", "[task.yaml,MMM]")
    run("render", "--task", "task.yaml", "--policy", checkpoint, "--out", "battle.png")
    run("collect", "task.yaml", "--policy", "kiting", "--episodes", "4")
    assert (folder / "dataset/task/expert/collected/part_0.h5").is_file()
    assert "kiting" in run("players", "--tasks", "[task_set.yaml]", "--episodes", "2")
    monkeypatch.chdir(Path(checkpoint).parent)
    run("test", "--ckpt_path", "last.ckpt", "--data.test_episodes", "2")
    (folder / "task.yaml").unlink()
    code, _, err = run_command("test", "--ckpt_path", "last.ckpt")
    assert code == 2
    assert f"learned from {folder / 'task.yaml'}, but" in err


def test_the_environment_of_the_example_harvests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    kind = environment_class("environment:Harvest")
    task = load_task("harvest-2-3")
    env, seeds = make_env("environment:Harvest", task, 64), torch.arange(64)
    taught = play(env, kind.scripted_policies()["nearest_crop"](0), seeds)
    assert taught.success.all()
    assert (taught.returns <= 3).all(), "a crop that nobody had to walk to pays nothing"
    assert task.success(taught.episodes).all()
    again = play(kind(task, 1), kind.scripted_policies()["nearest_crop"](0), seeds[5:6])
    n = int(again.episodes.length)
    assert torch.equal(again.episodes.state[0], taught.episodes.state[5, :n])
    idle = play(env, named_policy("random", task, "environment:Harvest"), seeds)
    assert idle.success.float().mean() < 0.9
    assert (idle.episodes.truncated.any(1) == ~idle.success).all()
