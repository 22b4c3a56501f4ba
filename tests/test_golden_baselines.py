"""ODIS, UPDeT and HiSSD against numbers that their authors' code gives for the same networks and batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hissd_numbers import ANCHOR, NEGATIVE, POSITIVE, STEP
from odis_numbers import STEPS, TASK, episodes, fill
from torch import nn
from update_steps import Steps

from hygen_lightning.algorithms import hygen
from hygen_lightning.algorithms.hissd import HiSSD
from hygen_lightning.algorithms.odis import ODIS
from hygen_lightning.algorithms.qmix import QMIX
from hygen_lightning.algorithms.value_learning import ValueLearning

NUMBERS = json.loads((Path(__file__).parent / "odis_numbers.json").read_text())
OF_HISSD = json.loads((Path(__file__).parent / "hissd_numbers.json").read_text())
RELATIVE = 1e-4


def filled(module: ValueLearning, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The module with the formula's numbers in all its networks."""
    fill(module.network, lambda name: name)
    for key, network in module.target.items():
        part = {"encoder": "observation_encoder"}.get(key, key)
        fill(network, lambda name, part=part: f"target.{part}.{name}")
    return Steps(module, monkeypatch)


def gradient_norm(module: nn.Module) -> float:
    grads = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    return float(torch.cat(grads).norm())


def test_odis_stage_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hygen, "relaxed_skill", lambda logits: logits.softmax(-1))
    module = ODIS(TASK.layout.widths, pretrain_steps=9)
    filled(module, monkeypatch)
    module.loss_steps = "stored"
    loss, metrics = module.loss(episodes(), 1.0)
    loss.backward()
    told = NUMBERS["odis_vae"]
    assert float(loss.detach()) == pytest.approx(told["vae_loss"], rel=RELATIVE)
    assert float(metrics["skill_kl"]) == pytest.approx(told["enc_loss"], rel=RELATIVE)
    assert gradient_norm(module) == pytest.approx(told["gradient_norm"], rel=RELATIVE)


def test_odis_stage_two(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ODIS(TASK.layout.widths, pretrain_steps=0)
    filled(module, monkeypatch)
    module.loss_steps = "stored"
    loss, metrics = module.loss(episodes(), 1.0)
    loss.backward()
    module.on_after_backward()
    told = NUMBERS["odis_policy"]
    assert float(loss.detach()) == pytest.approx(told["loss"], rel=RELATIVE)
    assert float(metrics["td_loss"]) == pytest.approx(told["td_loss"], rel=RELATIVE)
    assert float(metrics["conservative_loss"]) == pytest.approx(told["cons_loss"], rel=RELATIVE)
    assert float(metrics["distillation_loss"]) == pytest.approx(told["dist_loss"], rel=RELATIVE)
    assert gradient_norm(module) == pytest.approx(told["gradient_norm"], rel=RELATIVE)


@pytest.mark.parametrize(("letter", "mixer"), [("m", "attention"), ("l", "sum")])
def test_updet(letter: str, mixer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = QMIX(TASK.layout.widths, mixer=mixer, td_lambda=0.0, conservative="constant")  # type: ignore[arg-type]
    filled(module, monkeypatch)
    loss, metrics = module.loss(episodes(), 1.0)
    loss.backward()
    told = NUMBERS[f"updet_{letter}"]
    assert float(loss.detach()) == pytest.approx(told["loss"], rel=RELATIVE)
    assert float(metrics["td_loss"]) == pytest.approx(told["td_loss"], rel=RELATIVE)
    assert float(metrics["conservative_loss"]) == pytest.approx(told["cons_loss"], rel=RELATIVE)
    assert gradient_norm(module) == pytest.approx(told["grad_norm"], rel=RELATIVE)


def test_hissd(monkeypatch: pytest.MonkeyPatch) -> None:
    module = HiSSD(TASK.layout.widths, expectile=0.5, advantage_weight=0.0)
    filled(module, monkeypatch)
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(NEGATIVE))
    monkeypatch.setattr(torch, "randperm", lambda n: torch.tensor([ANCHOR, NEGATIVE, POSITIVE]))
    monkeypatch.setattr(torch, "rand", lambda n: torch.full((n,), (STEP + 0.5) / (STEPS - 1)))
    module._of_tasks = {"another task": module._target_embeddings(episodes())}
    loss, metrics = module.loss(episodes(), 1.0)
    loss.backward()
    found = {name: float(metrics[name]) for name in OF_HISSD if name in metrics}
    assert found | {"gradient_norm": gradient_norm(module)} == pytest.approx(OF_HISSD, rel=RELATIVE)
