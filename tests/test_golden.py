"""Every number that the published code produced, within 1e-4 relative."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_numbers import Golden, golden_files, load_golden
from torch import Tensor

from hygen_lightning.losses import PolicyTargets, hybrid_policy_loss, skill_vae_loss

RELATIVE = 1e-4
ROUNDING = 1e-6
"""Absolute difference allowed beside it: some gradients are zero but for rounding."""
C = 0.7
"""The conservative weight of the golden policy loss."""


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


def test_golden_stage_one(golden: Golden) -> None:
    batch, layout = golden.batch, golden.task.layout
    logits = golden.online.skill_logits(layout, batch.state, batch.actions, batch.filled)
    assert_equals(logits, golden.out["skill_logits"])

    skill = golden.out["skill_sample"]
    actions = golden.online.decode(
        layout, batch.obs[:, :-1], batch.last_actions[:, :-1], skill, batch.filled[:, :-1]
    )
    assert_equals(actions, golden.out["action_logits"])

    loss = skill_vae_loss(actions, batch.actions[:, :-1], skill, batch.mask[:, :-1], steps="stored")
    assert_equals(loss.kl, golden.out["enc_loss"])
    assert_equals(loss.cross_entropy, golden.out["dec_loss"])


def test_golden_stage_two(golden: Golden) -> None:
    batch, layout = golden.batch, golden.task.layout
    labels = golden.online.skill_logits(layout, batch.state, batch.actions, batch.filled).argmax(-1)
    assert torch.equal(labels, golden.out["skill_labels"][..., 0])

    golden.online.zero_grad()
    q, skill_logits = golden.online.observe(layout, batch.obs, batch.last_actions, batch.filled)
    target_q, _ = golden.target.observe(layout, batch.obs, batch.last_actions, batch.filled)
    assert_equals(q, golden.out["obs_q"])
    assert_equals(skill_logits, golden.out["obs_skill_logits"])
    assert_equals(target_q, golden.out["target_obs_q"])

    targets = PolicyTargets(labels, batch.reward, batch.terminated, batch.truncated, batch.mask)
    mix = golden.online.mixer.weights(layout, batch.state, batch.filled)
    target_mix = golden.target.mixer.weights(layout, batch.state, batch.filled)
    result = hybrid_policy_loss(q, skill_logits, target_q, targets, mix, target_mix, C, steps="stored")
    assert_equals(result.q_tot, golden.out["q_tot"])
    assert_equals(result.greedy_q_tot, golden.out["cons_q_tot"])
    assert_equals(result.target_q_tot, golden.out["target_q_tot"])
    assert_equals(result.td_targets, golden.out["td_targets"])
    assert_equals(result.td, golden.out["td_loss"])
    assert_equals(result.conservative, golden.out["cons_loss"])
    assert_equals(result.distillation, golden.out["dist_loss"])
    assert_equals(result.loss, golden.out["policy_loss_cql07"])

    result.loss.backward()
    parameters = dict(golden.online.named_parameters())
    assert golden.grad_norm
    for name, norm in golden.grad_norm.items():
        gradient = parameters[name].grad
        assert gradient is not None, name
        assert_equals(gradient.norm(), norm)
