"""QMIX: values of available actions, learned online without any recording."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from factories import make_episodes
from update_steps import Steps, batch_of

from hygen_lightning.algorithms.qmix import QMIX
from hygen_lightning.cli import main
from hygen_lightning.envs import make_env
from hygen_lightning.rollouts.runner import play
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def small(**options: object) -> QMIX:
    torch.manual_seed(0)
    return QMIX(TASK.layout.widths, width=8, **options)  # type: ignore[arg-type]


def test_with_one_step_and_a_sum_the_loss_is_that_of_vdn_by_hand() -> None:
    module = small(mixer="sum", td_lambda=0.0, gamma=0.9)
    episodes = make_episodes(TASK, 2, lengths=torch.tensor([4, 3])).trimmed()
    loss = module.loss(episodes, 0.0)[0]
    with torch.no_grad():
        inputs = TASK.layout, episodes.obs, episodes.last_actions
        q = module.network["agent"](*inputs, filled=episodes.filled)
    errors = []
    for b, n_steps in enumerate((3, 2)):
        for t in range(n_steps):
            chosen = sum(q[b, t, a, episodes.actions[b, t, a]] for a in range(3))
            best = sum(q[b, t + 1, a][episodes.avail_actions[b, t + 1, a]].max() for a in range(3))
            follows = 0.0 if t == n_steps - 1 else best  # both battles end before the limit
            errors.append(float(chosen - episodes.reward[b, t] - 0.9 * follows) ** 2)
    assert float(loss.detach()) == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_a_pooled_agent_learns_and_plays_as_it_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small(agent="pooled", lr=0.01)
    steps, batch = Steps(module, monkeypatch), batch_of("3m", n_offline=0)
    losses = [float(steps.take(batch).detach()) for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]
    played = play(make_env("simulator", TASK, 2), module.eval(), torch.arange(2)).episodes
    q = module._values(module.network["agent"], played).masked_fill(~played.avail_actions, -torch.inf)
    assert torch.equal(q.argmax(-1)[played.mask], played.actions[played.mask])
    assert module.initial_hidden(TASK, 2).shape == (2, 3, 8), "the width that was given"


def test_updates_bring_the_values_to_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small(lr=0.01, target_update_interval=1000)
    steps, batch = Steps(module, monkeypatch), batch_of("3m", n_offline=0)
    losses = [float(steps.take(batch).detach()) for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]


def test_it_learns_online_from_the_first_step_without_recordings(tmp_path: Path) -> None:
    words = ["fit", "--config", "conf/qmix.yaml", "--run.root", str(tmp_path), "--trainer.max_steps=4"]
    words += ["--model.init_args.width=8", "--data.batch_size=2", "--data.eval_episodes=1"]
    words += [
        "--data.test_episodes=1",
        "--data.task_set=null",
        "--data.train_tasks=[3m]",
        "--rollouts.episodes_per_step=1",
    ]
    words += ["--rollouts.every_n_steps=2", "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu"]
    assert main([*words, "--files.curve=false", "--files.battle_gif=false"]) == 0
    (table,) = tmp_path.rglob("metrics.csv")
    with table.open(newline="") as file:
        shares = [row["train/3m/offline_share"] for row in csv.DictReader(file)]
    assert [float(share) for share in shares if share] == [0.0] * 4
