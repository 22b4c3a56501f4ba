"""Every number that the published code produced, within 1e-4 relative."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_numbers import Golden, golden_files, load_golden
from torch import Tensor

from hygen_lightning.algorithms import hygen, value_learning
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.losses import ValueLoss

RELATIVE = 1e-4
ROUNDING = 1e-6
"""Absolute difference allowed beside it: some gradients are zero but for rounding."""
C = 0.7
"""The offline share, which weighs the conservative term of the golden policy loss."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_path" not in metafunc.fixturenames:
        return
    folder = Path(str(metafunc.config.getoption("--golden")))
    paths = list(golden_files(folder))
    absent = pytest.param(None, marks=pytest.mark.skip(reason=f"no golden numbers in {folder}"))
    ids = [f"{path.parent.name}/{path.stem}" for path in paths] or ["absent"]
    metafunc.parametrize("golden_path", paths or [absent], ids=ids, scope="module")


@pytest.fixture(scope="module")
def golden(golden_path: Path) -> Golden:
    return load_golden(golden_path)


def assert_equals(actual: Tensor, expected: Tensor | float) -> None:
    expected = torch.as_tensor(expected)
    torch.testing.assert_close(actual.detach(), expected.reshape(actual.shape), rtol=RELATIVE, atol=ROUNDING)


def test_golden_valid_steps(golden: Golden) -> None:
    assert_equals(golden.batch.mask.float(), golden.out["mask"])


def module_of(golden: Golden, **options: Any) -> HyGen:
    """HyGen with the golden weights, as its command line builds it."""
    module = HyGen(golden.task.layout.widths, **golden.sizes, loss_steps="stored", **options)
    module.network.load_state_dict(golden.online.state_dict())
    target = golden.target
    for name, network in {
        "encoder": target.observation_encoder,
        "q_head": target.q_head,
        "mixer": target.mixer,
    }.items():
        module.target[name].load_state_dict(network.state_dict())
    return module


def test_golden_networks(golden: Golden) -> None:
    batch, layout = golden.batch, golden.task.layout
    inputs = (layout, batch.obs, batch.last_actions)
    logits = golden.online.skill_logits(layout, batch.state, batch.actions, batch.filled)
    assert_equals(logits, golden.out["skill_logits"])
    assert torch.equal(logits.argmax(-1), golden.out["skill_labels"][..., 0])
    q, skill_logits = golden.online.observe(*inputs, batch.filled)
    assert_equals(q, golden.out["obs_q"])
    assert_equals(skill_logits, golden.out["obs_skill_logits"])
    assert_equals(golden.target.observe(*inputs, batch.filled)[0], golden.out["target_obs_q"])
    acted = (layout, batch.obs[:, :-1], batch.last_actions[:, :-1])
    actions = golden.online.decode(*acted, golden.out["skill_sample"], batch.filled[:, :-1])
    assert_equals(actions, golden.out["action_logits"])


def test_golden_skill_loss(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hygen, "relaxed_skill", lambda logits: golden.out["skill_sample"])
    loss, metrics = module_of(golden).skill_loss(golden.batch)
    kl, cross_entropy = golden.out["enc_loss"], golden.out["dec_loss"]
    assert_equals(metrics["skill_kl"], kl)
    assert_equals(metrics["cross_entropy"], cross_entropy)
    assert_equals(loss, cross_entropy + 0.001 * kl)


def test_golden_policy_loss(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[ValueLoss] = []
    loss_of_values = value_learning.value_loss

    def kept(*args: Any) -> ValueLoss:
        parts.append(loss_of_values(*args))
        return parts[-1]

    monkeypatch.setattr(value_learning, "value_loss", kept)
    module = module_of(golden)
    loss, metrics = module.policy_loss(golden.batch, offline_share=C)
    assert_equals(parts[0].q_tot, golden.out["q_tot"])
    assert_equals(parts[0].greedy_q_tot, golden.out["cons_q_tot"])
    assert_equals(parts[0].target_q_tot, golden.out["target_q_tot"])
    assert_equals(parts[0].td_targets, golden.out["td_targets"])
    assert_equals(metrics["td_loss"], golden.out["td_loss"])
    assert_equals(metrics["conservative_loss"], golden.out["cons_loss"])
    assert_equals(metrics["distillation_loss"], golden.out["dist_loss"])
    assert_equals(loss, golden.out["policy_loss_cql07"])

    loss.backward()
    parameters = dict(module.network.named_parameters())
    assert golden.grad_norm
    for name, norm in golden.grad_norm.items():
        gradient = parameters[name].grad
        assert gradient is not None, name
        assert_equals(gradient.norm(), norm)
