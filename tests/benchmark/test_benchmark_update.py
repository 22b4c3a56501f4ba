"""benchmark update: what it times is the same number by two paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import NEEDS_A_GPU

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.benchmark.simulator import simulator
from hygen_lightning.benchmark.update import (
    draw_episodes,
    loss_of,
    made_up_episodes,
    make_update,
    peak_mb,
    update,
)
from hygen_lightning.models.agents import AgentKind
from hygen_lightning.specs import Episodes, UserError
from hygen_lightning.tasks import load_task

SMALL: dict[str, Any] = {"map": "3m", "batch": 2, "timesteps": 4, "repeats": 1}


def mixed_episodes(name: str) -> Episodes:
    """Three episodes of different lengths, NaN after their end, an enemy out of everyone's sight."""
    task = load_task(name)
    episodes = made_up_episodes(task, torch.tensor([4, 7, 5]), seed=3)
    episodes.obs[..., task.layout.enemies[0] :][..., : task.layout.widths.enemy] = 0
    after = ~episodes.filled
    for x in (episodes.obs, episodes.state, episodes.reward):
        x[after] = float("nan")
    return episodes


@pytest.mark.parametrize("name", ["3m", "5m_vs_6m", "2s3z", "cn-4"])
@pytest.mark.parametrize("stage", ["pretrain", "policy"])
@pytest.mark.parametrize("agent", ["transformer", "pooled"])
def test_fast_and_plain_path_have_equal_losses_and_gradients(name: str, stage: str, agent: AgentKind) -> None:
    task = load_task(name)
    torch.manual_seed(2)
    model = HyGen(task.layout.widths, agent=agent)
    episodes = mixed_episodes(name)
    losses, gradients = [], []
    for path in ("fast", "plain"):
        model.zero_grad()
        torch.manual_seed(5)  # one draw of relaxed skills
        loss = loss_of(model, episodes, stage, path)
        loss.backward()
        losses.append(loss.detach())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for parameter, gradient in gradients[1].items():
        scale = float(gradient.abs().max())
        difference = float((gradients[0][parameter] - gradient).abs().max())
        assert difference <= 1e-4 * scale + 1e-6, parameter


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_an_update_changes_the_loss(path: str) -> None:
    task = load_task("3m")
    torch.manual_seed(0)
    episodes = draw_episodes(task, 2, 4, None, "medium", 1)
    model = HyGen(task.layout.widths)
    run = make_update(model, episodes, "policy", path)
    before = loss_of(model, episodes, "policy", path)
    run()
    assert loss_of(model, episodes, "policy", path) != before


def test_json_holds_both_stages_and_their_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    assert update(**SMALL, against="plain", json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["timesteps"] == 4
    for stage in ("pretrain", "policy"):
        times = found[stage]
        assert times["fast_s"] > 0
        assert times["ratio"] == pytest.approx(times["plain_s"] / times["fast_s"])


@pytest.mark.parametrize("command", ["update", "simulator"])
@pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta"])
def test_a_device_that_is_not_there_is_the_users_error(command: str, device: str) -> None:
    with pytest.raises(UserError, match=f"--device {device} cannot be used"):
        {"update": update, "simulator": simulator}[command](map="3m", device=device)


@NEEDS_A_GPU
def test_an_update_on_a_gpu_is_timed_and_its_memory_is_the_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    larger = {**SMALL, "batch": 32, "timesteps": 20}
    assert update(**larger, against="plain", memory=True, device="cuda", json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cuda"
    for stage in ("pretrain", "policy"):
        assert found[stage]["fast_s"] > 0
        assert 0 < found[stage]["fast_peak_mb"] < 200, "a process on a GPU holds some thousands"


@pytest.mark.slow
def test_the_memory_of_an_update_is_measured_in_its_own_process() -> None:
    task = load_task("5m_vs_6m")
    episodes = made_up_episodes(task, torch.full((64,), 40), seed=1)
    held = torch.ones(250_000_000)  # 10^9 bytes of this process are not the update's
    assert 20 < peak_mb(task, episodes, "policy", "fast") < 900
    assert len(held)


def test_the_networks_that_are_asked_for_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agents = []

    def noted(*sizes: Any, agent: str, **options: Any) -> HyGen:
        agents.append(agent)
        return HyGen(*sizes, agent=agent, **options)

    monkeypatch.setattr("hygen_lightning.algorithms.hygen.HyGen", noted)
    assert update(**SMALL, agent="pooled", json=True) == 0
    assert set(agents) == {"pooled"}
    assert json.loads(capsys.readouterr().out)["agent"] == "pooled"


def test_without_a_rival_only_the_fast_path_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert update(**SMALL) == 0
    out = capsys.readouterr().out
    assert "fast_s" in out
    assert "plain_s" not in out


@pytest.mark.whole_battles
def test_recordings_bring_their_episodes_or_their_lengths(recordings_dir: Path) -> None:
    real = draw_episodes(load_task("3m"), 8, 45, recordings_dir, "medium", 1)
    assert len(set(real.length.tolist())) > 1
    assert (real.obs[real.filled] == 0).any()
    borrowed = draw_episodes(load_task("5m_vs_6m"), 8, 40, recordings_dir, "medium", 1)
    assert borrowed.n_steps == 40
    torch.testing.assert_close(borrowed.length / 40, real.length / real.n_steps, rtol=0, atol=0.5 / 40)


@pytest.mark.parametrize("name", ["batch", "timesteps", "repeats", "threads"])
def test_counts_below_one_are_the_users_error(name: str) -> None:
    with pytest.raises(UserError, match=f"--{name} is 0"):
        update(**{**SMALL, name: 0})
