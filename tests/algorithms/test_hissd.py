"""What HiSSD learns from what: plans from the next state, values from rewards, skills from other tasks."""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes
from update_steps import Steps, batch_of

from hygen_lightning.algorithms.hissd import MOST_WEIGHT, HiSSD
from hygen_lightning.specs import EntityLayout, Episodes, TaskSpec
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def small(**options: float) -> HiSSD:
    torch.manual_seed(0)
    return HiSSD(TASK.layout.widths, width=8, **options)  # type: ignore[arg-type]


def parts_with_gradient(module: HiSSD) -> set[str]:
    parts = module.network.named_children()
    return {
        name for name, part in parts if any(p.grad is not None and p.grad.any() for p in part.parameters())
    }


def episodes() -> Episodes:
    return make_episodes("3m", 3, lengths=torch.tensor([6, 4, 5])).trimmed()


def test_values_learn_from_rewards_alone_and_plans_from_actions_and_the_next_state() -> None:
    module, batch = small(), episodes()
    module._values(batch)[0].backward()
    assert parts_with_gradient(module) == {"value", "mixer"}
    module.zero_grad()
    told = module.network(TASK.layout, batch.obs[:, :-1], batch.last_actions[:, :-1], batch.mask[:, :-1])
    module._prediction_error(batch, told).sum().backward()
    assert parts_with_gradient(module) == {"planner", "predictor"}
    module.zero_grad()
    told = module.network(TASK.layout, batch.obs[:, :-1], batch.last_actions[:, :-1], batch.mask[:, :-1])
    told.logits.square().sum().backward()
    assert parts_with_gradient(module) == {"planner", "task_encoder", "decoder"}


def test_the_advantage_by_hand() -> None:
    """Reward and discounted value of the next state, by the target networks, less the value of this one."""
    module, batch = small(gamma=0.5), episodes()
    for x in module.target.parameters():
        x.data.add_(0.1)
    with torch.no_grad():
        _, advantage, _ = module._values(batch)
    seen = TASK.layout, batch.obs, batch.last_actions, batch.filled
    value, later = (
        part["mixer"].weights(TASK.layout, batch.state)(part["value"](*seen)).detach()
        for part in (module.value_networks(), module.target)
    )
    assert float(advantage[0, 2]) == pytest.approx(
        float(batch.reward[0, 2] + 0.5 * later[0, 3] - value[0, 2])
    )
    assert float(advantage[0, 4]) == pytest.approx(float(batch.reward[0, 4] - value[0, 4]))  # it ends there
    assert not advantage[1, 3:].any()


@pytest.mark.parametrize(("factor", "least", "most"), [(0.0, 1.0, 1.0), (1e6, 1.5, MOST_WEIGHT)])
def test_steps_weigh_by_their_advantage(factor: float, least: float, most: float) -> None:
    _, metrics = small(advantage_weight=factor).loss(episodes(), 1.0)
    assert least <= float(metrics["plan_weight"]) <= most


def test_one_task_has_no_contrast_and_two_have(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small()
    steps = Steps(module, monkeypatch)
    module.training_step(batch_of("3m"), 0)
    assert not [name for name in steps.logged if "contrastive" in name]
    module.training_step(batch_of("3m", "4m"), 0)
    assert len([name for name in steps.logged if "contrastive" in name]) == 2
    assert module._of_tasks == {}


def test_agents_of_a_task_become_alike_and_unlike_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small(lr=0.02, beta=1.0, target_update_interval=1)
    steps, batch = Steps(module, monkeypatch), batch_of("3m", "4m")
    batch.episodes["4m"].obs += 2  # what tells the tasks apart
    losses = []
    for _ in range(12):
        steps.take(batch)
        losses.append(float(steps.logged["train/3m/contrastive_loss"]))
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_an_agent_that_is_alone_is_its_own_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    like = TASK.layout
    features = {
        "own": like.own_features,
        "enemy": like.enemy_features,
        "ally": like.ally_features,
        "state_ally": like.state_ally_features,
        "state_enemy": like.state_enemy_features,
        "base_actions": like.base_actions,
    }
    alone = TaskSpec("alone", 9, EntityLayout.of(1, 1, has_targets=True, **features))
    module, batch = small(), batch_of("3m")
    steps = Steps(module, monkeypatch)
    batch.episodes["alone"] = make_episodes(alone, 2, lengths=torch.tensor([3, 2])).trimmed()
    batch.offline_share["alone"] = 1.0
    assert module.training_step(batch, 0).isfinite()
    assert steps.logged["train/alone/contrastive_loss"].isfinite()
