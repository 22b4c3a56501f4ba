"""MAPPO: its losses by hand, and runs of it as users start them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from processes import run_new_interpreter
from tiny_runs import callback, the_run, weights
from torch.utils._pytree import tree_flatten
from update_steps import Steps, batch_for

from hygen_lightning.algorithms.mappo import MAPPO
from hygen_lightning.cli import main
from hygen_lightning.losses import clipped_policy_loss, generalised_advantages
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
FLAGS = ["--data.eval_episodes=2", "--data.test_episodes=2", "--trainer.log_every_n_steps=1"]
FLAGS += ["--trainer.accelerator=cpu", "--files.curve=false", "--files.battle_gif=false"]
FLAGS += ["--evaluation.noise=0"]
FLAGS += ["--model.init_args.num_envs=4", "--model.init_args.chunk_env_steps=5", "--model.init_args.width=8"]


def fit(folder: Path, *words: str) -> int:
    of_the_run = ["--run.root", str(folder / "runs"), "--run.name=tiny", "--data.train_tasks=[3m]"]
    return main(["fit", "--model", "MAPPO", *of_the_run, *FLAGS, *words])


# Losses


def test_advantages_by_hand() -> None:
    """gamma 0.5, lambda 0.5; the second battle is lost, the third runs out of time."""
    value = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    reward = torch.tensor([[1.0, 0.0]] * 3)
    terminated = torch.tensor([[False, False], [True, False], [True, False]])
    truncated = torch.tensor([[False, False], [False, False], [True, False]])
    found = generalised_advantages(reward, value, terminated, truncated, gamma=0.5, gae_lambda=0.5)
    last = 0 + 0.5 * 4 - 2
    by_hand = [[1 + 0.5 * 2 - 1 + 0.25 * last, last], [1 - 1, last], [1 + 0.5 * 1 - 1, last]]
    torch.testing.assert_close(found, torch.tensor(by_hand))


def test_the_clipped_objective_by_hand() -> None:
    """Two agents: one acts and became 1.5 times as likely, the other is dead."""
    log_probs = torch.tensor([0.6, 0.4]).log().expand(1, 1, 2, 2).clone().requires_grad_(True)
    actions, acts = torch.zeros(1, 1, 2, dtype=torch.int64), torch.tensor([[[True, False]]])
    old = torch.full((1, 1, 2), 0.4).log()
    for advantage, gain in ((1.0, 1.2), (-1.0, -1.5)):
        parts = clipped_policy_loss(log_probs, actions, old, torch.tensor([[[advantage]]]), acts, 0.2, 0.1)
        entropy = -(0.6 * torch.tensor(0.6).log() + 0.4 * torch.tensor(0.4).log())
        assert float(parts.policy.detach()) == pytest.approx(-gain)
        assert float(parts.entropy.detach()) == pytest.approx(float(entropy))
        assert float(parts.loss.detach()) == pytest.approx(-gain - 0.1 * float(entropy))
        assert float(parts.kl) == pytest.approx(0.5 - float(torch.tensor(1.5).log()))
        assert float(parts.clipped) == 1.0
        (gradient,) = torch.autograd.grad(parts.policy, log_probs, retain_graph=True)
        assert bool(gradient[0, 0, 0, 0]) == (advantage < 0)
        assert not gradient[0, 0, 1].any()


def test_actions_that_are_not_available_leave_finite_gradients() -> None:
    logits = torch.randn(1, 1, 1, 3, requires_grad=True)
    log_probs = logits.masked_fill(torch.tensor([False, False, True]), -torch.inf).log_softmax(-1)
    chosen = torch.zeros(1, 1, 1, dtype=torch.int64)
    acts = torch.ones(1, 1, 1, dtype=torch.bool)
    parts = clipped_policy_loss(log_probs, chosen, torch.zeros(1, 1, 1), torch.ones(1, 1, 1), acts, 0.2, 0.1)
    parts.loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_advantages_are_normalised_over_the_chunk_and_targets_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = MAPPO(TASK.layout.widths, width=8)
    Steps(module, monkeypatch)
    chunk = batch_for(module, "3m").chunks["3m"]
    assert chunk.advantage is not None
    assert chunk.value_target is not None
    assert float(chunk.advantage.mean()) == pytest.approx(0, abs=1e-5)
    assert float(chunk.advantage.std()) == pytest.approx(1, abs=1e-2)
    assert float(chunk.value_target.std()) != pytest.approx(1, abs=1e-2)


def test_the_critics_layers_have_its_width_and_its_entities_half_of_it() -> None:
    critic = MAPPO(TASK.layout.widths, critic_width=24).network["critic"]
    heights = [{p.shape[0] for p in part.parameters()} for part in (critic.ally, critic.enemy, critic.body)]
    assert heights == [{12}, {12}, {24}]


# Runs


def cells(folder: Path, ending: str) -> list[str]:
    (table,) = folder.rglob("metrics.csv")
    rows = list(csv.DictReader(table.open()))
    return [row[key] for row in rows for key in row if key.endswith(ending) and row[key]]


def test_it_needs_no_recordings_and_no_config(tmp_path: Path) -> None:
    words = ["--trainer.max_steps=24", "--trainer.val_check_interval=24", "--data.eval_tasks=[3m,4m]"]
    assert fit(tmp_path, *words, "--rollouts.env=simulator") == 0
    for name in ("best.ckpt", "last.ckpt"):  # one of weights alone, too
        (path,) = tmp_path.rglob(name)
        assert torch.load(path, weights_only=True)["environment"] == "simulator"
    assert cells(tmp_path, "rollout/3m/env_steps") == ["20.0", "40.0"]
    assert cells(tmp_path, "train/3m/entropy")
    assert cells(tmp_path, "progress/env_steps") == ["40.0"]
    (minutes,) = cells(tmp_path, "progress/minutes")
    assert 0 < float(minutes) < 5
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".h5"]


def test_recordings_that_it_would_not_read_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, f"--data.dataset_dir={tmp_path}") == 2
    assert "MAPPO learns from its own battles only: leave out --data.dataset_dir" in capsys.readouterr().err


def test_it_starts_from_the_weights_of_another_run(tmp_path: Path) -> None:
    assert fit(tmp_path / "a", "--trainer.max_steps=12") == 0
    (first,) = (tmp_path / "a").rglob("last.ckpt")
    words = [f"--model.init_args.init_from={first}", "--trainer.max_steps=1", "--model.init_args.lr=1e-30"]
    assert fit(tmp_path / "b", *words, "--data.train_tasks=[4m]") == 0
    (second,) = (tmp_path / "b").rglob("last.ckpt")
    one, other = (torch.load(path, weights_only=True)["state_dict"] for path in (first, second))
    assert all(torch.allclose(one[name], other[name], atol=1e-20) for name in one)
    wide = "--model.init_args.width=16"
    assert fit(tmp_path / "c", words[0], wide, "--trainer.max_steps=1") == 2


@pytest.mark.parametrize("step", [7, 12])
def test_a_stopped_run_goes_on_bit_for_bit(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of a chunk's minibatches, and where the next chunk is due."""
    words = ["--trainer.max_steps=16", "--checkpoint.every_n_steps=1"]
    assert fit(tmp_path / "whole", *words) == 0
    assert fit(tmp_path / "cut", *words, *callback("StopAt", step=step)) == 130
    assert fit(tmp_path / "cut", *words, "--resume=auto") == 0
    whole, cut = (weights(the_run(tmp_path / name)) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_play_their_own_battles_and_share_their_weights(tmp_path: Path) -> None:
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=24", "--seed_everything=1")
    words = ["fit", "--model", "MAPPO", "--run.root", str(tmp_path / "runs"), "--run.name=tiny", *FLAGS, *two]
    code, _, err = run_new_interpreter(*words, "--data.train_tasks=[3m]", *callback("RankReport"))
    assert code == 0, err
    run = the_run(tmp_path)
    one, other = (torch.load(run / f"rank{rank}.pt")["weights"] for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    chunks = [
        torch.load(run / f"checkpoints/ranks/step24-rank{rank}.pt", weights_only=False)["rollouts"]
        for rank in (0, 1)
    ]
    mine, theirs = (tree_flatten(chunk)[0] for chunk in chunks)
    seeds = [
        [x for x in leaves if torch.is_tensor(x) and x.dtype == torch.uint8] for leaves in (mine, theirs)
    ]
    assert seeds[0]
    assert not any(torch.equal(a, b) for a, b in zip(*seeds))
