"""What every algorithm of the package promises."""

from __future__ import annotations

import pkgutil
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_episodes
from tiny_runs import callback, the_run, weights
from update_steps import Steps, batch_for, batch_of

from hygen_lightning import algorithms
from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.algorithms.value_learning import ValueLearning
from hygen_lightning.cli import main
from hygen_lightning.envs import make_env
from hygen_lightning.models.agents import EntityTransformer
from hygen_lightning.policy import LearnsFromEpisodes
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import Observation, UserError
from hygen_lightning.tasks import load_task

WIDTHS = load_task("3m").layout.widths
KINDS = [getattr(algorithms, name) for name in algorithms.__all__]


def small(kind: Any, **options: Any) -> MultiTaskAlgorithm:
    """An algorithm with tiny networks; options that it does not have are left out."""
    given = {"width": 8, "n_heads": 1, **options}
    module: MultiTaskAlgorithm = kind(
        WIDTHS, **{k: v for k, v in given.items() if k in signature(kind).parameters}
    )
    return module


def having(option: str) -> Any:
    """The algorithms that have this option."""
    return pytest.mark.parametrize("kind", [k for k in KINDS if option in signature(k).parameters])


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[MultiTaskAlgorithm]:
    return request.param  # type: ignore[no-any-return]


def test_every_file_holds_an_algorithm_that_can_be_named() -> None:
    files = {module.name for module in pkgutil.iter_modules(algorithms.__path__)} - {
        "base",
        "refinement",
        "skills",
        "value_learning",
    }
    assert files == {kind.__module__.rpartition(".")[2] for kind in KINDS}


@pytest.mark.parametrize("name", ["3m", "5m_vs_6m"])
def test_it_learns_and_acts_on_any_team(
    kind: type[MultiTaskAlgorithm], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = small(kind)
    steps, task = Steps(module, monkeypatch), load_task(name)
    loss = module.training_step(batch_for(module, name), 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert len([key for key in steps.logged if key.startswith(f"train/{name}/")]) > 2
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    played = play(make_env("simulator", task, 2), module.eval(), torch.arange(2))
    chosen = played.episodes.avail_actions.gather(-1, played.episodes.actions.unsqueeze(-1))[..., 0]
    assert chosen[played.episodes.filled].all()


@pytest.mark.parametrize("kind", [k for k in KINDS if issubclass(k, LearnsFromEpisodes)])
def test_a_loss_is_told_the_share_that_its_batch_really_holds(
    kind: type[MultiTaskAlgorithm], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = small(kind)
    steps = Steps(module, monkeypatch)
    told = []
    loss = module.loss
    monkeypatch.setattr(
        module, "loss", lambda episodes, share: (told.append(share), loss(episodes, share))[1]
    )
    module.training_step(batch_of("3m", "4m", n_offline=1), steps.step)
    assert told == [1 / 3, 1 / 3]
    assert float(steps.logged["train/4m/offline_share"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "learner",
    [k for k in KINDS if issubclass(k, ValueLearning) and "conservative" in signature(k).parameters],
)
def test_a_conservative_term_may_follow_the_share(learner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {"pretrain_steps": 0} if learner is HyGen else {}
    module = learner(WIDTHS, width=8, n_heads=1, conservative="share", **stages)
    Steps(module, monkeypatch)
    episodes = batch_of("3m").episodes["3m"]
    none, half, whole = (float(module.loss(episodes, share)[0].detach()) for share in (0.0, 0.5, 1.0))
    assert none < whole
    assert half == pytest.approx((none + whole) / 2)


def test_acting_follows_the_average(kind: type[MultiTaskAlgorithm]) -> None:
    torch.manual_seed(0)
    module = small(kind, ema_decay=0.5)
    task, episodes = load_task("3m"), make_episodes("3m", 8)
    observation = Observation(episodes.obs[:, 0], episodes.state[:, 0], episodes.avail_actions[:, 0] | True)
    none_yet = torch.full((8, 3), -1)

    def actions() -> torch.Tensor:
        return module.act(task, observation, none_yet, torch.zeros(8), module.initial_hidden(task, 8)).actions

    before = actions()
    for noisy in (module.network, module.acting):
        with torch.no_grad():
            for parameter in noisy.parameters():
                parameter.add_(torch.randn_like(parameter))
        assert torch.equal(before, actions()) == (noisy is module.network)


@having("compile")
def test_compile_is_for_every_transformer_of_the_networks(
    kind: type[MultiTaskAlgorithm], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in (False, True):
        module = small(kind, compile=wanted)
        Steps(module, monkeypatch)
        module.on_fit_start()
        transformers = [part for part in module.modules() if isinstance(part, EntityTransformer)]
        assert transformers
        assert all(part.folds.compiled == wanted for part in transformers)


@having("id_bits")
def test_more_agents_than_it_can_number_are_refused_before_it_learns(kind: type[MultiTaskAlgorithm]) -> None:
    numbered = small(kind, id_bits=2)
    numbered.check_tasks([load_task("3m")])
    with pytest.raises(UserError, match="4 agents do not fit the agent-id code of 2 bits"):
        numbered.check_tasks([load_task("3m"), load_task("4m")])
    small(kind, id_bits=0).check_tasks([load_task("25m")])


# Runs, as users start them


def fit(kind: type[MultiTaskAlgorithm], folder: Path, *words: str) -> int:
    """Twenty updates on 3m with tiny networks, evaluated on 3m and 4m."""
    sizes = {"width": 8, "n_heads": 1, "pretrain_steps": 10, "num_envs": 4, "chunk_env_steps": 5}
    options = {f"model.init_args.{k}": v for k, v in sizes.items() if k in signature(kind).parameters}
    options |= {"run.root": folder, "run.name": "tiny", "run.record_episodes": 16, "data.task_set": "null"}
    options |= {"data.train_tasks": "[3m]", "data.eval_tasks": "[3m,4m]", "data.batch_size": 2}
    options |= {"data.eval_episodes": 2, "data.test_episodes": 2, "trainer.max_steps": 20}
    options |= {"trainer.accelerator": "cpu", "trainer.val_check_interval": 10, "checkpoint.every_n_steps": 1}
    options |= {"files.curve": "false", "files.battle_gif": "false", "files.skills": "false"}
    options |= {"data.replay_episodes": 16, "evaluation.noise": 0, "run.teachers": "scripted"}
    return main(["fit", "--model", kind.__name__, *(f"--{k}={v}" for k, v in options.items()), *words])


@pytest.mark.slow
def test_it_trains_for_twenty_updates_and_a_stopped_run_ends_the_same(
    kind: type[MultiTaskAlgorithm], tmp_path: Path
) -> None:
    assert fit(kind, tmp_path / "whole" / "runs") == 0
    assert fit(kind, tmp_path / "cut" / "runs", *callback("StopAt", step=13)) == 130
    assert fit(kind, tmp_path / "cut" / "runs", "--resume=auto") == 0
    whole, cut = (weights(the_run(tmp_path / name)) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
