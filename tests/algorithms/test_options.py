"""Every option of every algorithm changes the numbers that it should; impossible values are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from update_steps import Steps, batch_for, batch_of, loss_of

from hygen_lightning.algorithms import ALGORITHMS
from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.models.agents import EntityTransformer
from hygen_lightning.specs import Observation, UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
SHARE = 0.5
SMALL = {"width": 8, "n_heads": 2, "pretrain_steps": 2, "conservative_constant": 0.25}
"""Options of every module here, where its class has them; the average and the decoder stay as they are."""


def build(kind: str, options: dict[str, Any]) -> MultiTaskAlgorithm:
    torch.manual_seed(0)
    cls = ALGORITHMS[kind]
    given = {**SMALL, "widths": TASK.layout.widths, **options}
    module: MultiTaskAlgorithm = cls(**{k: v for k, v in given.items() if k in signature(cls).parameters})
    return module


# What an option may change: numbers of a module, all of which must differ.


def parameters(steps: Steps) -> list[float]:
    return [sum(p.numel() for p in steps.module.network.parameters())]


def parameters_of_every_part(steps: Steps) -> list[float]:
    parts = steps.module.network.children()
    return [sum(p.numel() for p in part.parameters()) for part in parts]


def stage_one_loss(steps: Steps) -> list[float]:
    return [loss_at(steps, 0)]


def both_losses_of_stage_one(steps: Steps) -> list[float]:
    torch.manual_seed(1)
    episodes = batch_for(steps.module, "3m").episodes["3m"]
    told = cast(HyGen, steps.module).skill_loss(episodes)[1]
    return [float(told["cross_entropy"]), float(told["distillation_loss"])]


def value_loss(steps: Steps) -> list[float]:
    return [loss_at(steps, 5)]


def loss_in_the_middle(steps: Steps) -> list[float]:
    return [loss_at(steps, 5)]


def losses(steps: Steps) -> list[float]:
    return [loss_at(steps, 0), loss_at(steps, 5)]


def loss_at(steps: Steps, step: int) -> float:
    """The loss of a training step at this optimiser step; target networks differ from the online ones."""
    steps.step = step
    torch.manual_seed(1)
    for name, x in steps.module.named_parameters():
        if name.startswith("target."):
            x.data += 0.1 * torch.randn_like(x)
    torch.manual_seed(1)
    return float(loss_of(steps.module, batch_for(steps.module, "3m"), SHARE).detach())


def loss_of_two_tasks(steps: Steps) -> list[float]:
    """The loss of a training step that sees two tasks."""
    torch.manual_seed(1)
    return [float(steps.module.training_step(batch_of("3m", "4m"), 0).detach())]


def rates(steps: Steps) -> list[float]:
    """The learning rate after a step, and where a run is taken up again with a rate of its own."""
    steps.take(batch_for(steps.module, "3m"))
    found = [steps.rate]
    for group in steps.optimizer.param_groups:
        group["lr"] = 123.0
    steps.scheduler.base_lrs = [123.0]
    steps.module.on_train_start()
    found.append(steps.rate)
    steps.scheduler.step()
    return [*found, steps.rate]


def distance_of_average(steps: Steps) -> list[float]:
    for _ in range(3):
        steps.take(batch_for(steps.module, "3m"))
    pairs = zip(steps.module.acting.parameters(), steps.module.network.parameters())
    return [sum(float((a - b).detach().abs().sum()) for a, b in pairs)]


def compiled_transformers(steps: Steps) -> list[float]:
    compiled: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EntityTransformer, "compile_blocks", lambda self: compiled.append(self))
        steps.module.on_fit_start()
    return [len(compiled)]


def stages(steps: Steps) -> list[Any]:
    """Where it stands at step 3."""
    steps.step = 3
    module: Any = steps.module
    return [
        module.offline_phase_steps,
        module.stage_name(),
        module.policy_has_learned,
        module.stage_share(3),
        module.value_steps(),
    ]


def switch(steps: Steps) -> list[Any]:
    """Whether the policy of stage one counts, what it learns of its choice of skills, and its values."""
    module: Any = steps.module
    steps.take(batch_for(steps.module, "3m"))
    steps.step = module.offline_phase_steps
    encoder = module.network.observation_encoder.parameters()
    learns = any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder)
    return [module.policy_has_learned, learns, bool(module.network.q_head.weight.any())]


def prior_at_step_two(steps: Steps) -> list[float]:
    """The weight of the prior after two steps of stage two."""
    module: Any = steps.module
    steps.step = module.offline_phase_steps + 2
    module.on_train_batch_start(None, 0)
    return [float(module.prior)]


def target_at_step_three(steps: Steps) -> list[float]:
    """Whether the target networks are copied at the third step that learns values."""
    module: Any = steps.module
    steps.step = getattr(module, "pretrain_steps", 0) + 3
    weight = next(iter(module.target.parameters()))
    weight.data.fill_(7.0)
    module.on_train_batch_start(None, 0)
    return [float(weight.mean())]


def first_weight(steps: Steps) -> list[float]:
    return [float(next(steps.module.network.parameters()).detach().sum())]


def chunk_plan(steps: Steps) -> list[Any]:
    return [steps.module.chunk_plan]


def loss_of_a_policy_that_moved(steps: Steps) -> list[float]:
    """The loss on a chunk whose actions have become much likelier or less likely since."""
    batch = batch_for(steps.module, "3m")
    (chunk,) = batch.chunks.values()
    chunk.log_probs = chunk.log_probs + torch.linspace(-1, 1, 3)
    return [float(loss_of(steps.module, batch).detach())]


def actions_in_equal_battles(steps: Steps) -> list[float]:
    """How many different things agents do that see the same."""
    n, module = 50, steps.module
    obs = torch.zeros(n, TASK.n_allies, TASK.layout.obs_dim)
    avail = torch.ones(n, TASK.n_allies, TASK.layout.n_actions, dtype=torch.bool)
    seen = Observation(obs, torch.zeros(n, TASK.layout.state_dim), avail)
    last = torch.full((n, TASK.n_allies), -1)
    with torch.no_grad():
        chosen = module.act(TASK, seen, last, torch.zeros(n), module.initial_hidden(TASK, n)).actions
    return [len(chosen[:, 0].unique())]


@dataclass
class Row:
    """An option's other value, the numbers that it must change, and the options that stand beside it.

    refused: values that the constructor does not take.
    """

    other: Any
    changes: Callable[[Steps], list[Any]]
    beside: dict[str, Any] = field(default_factory=dict)
    refused: tuple[Any, ...] = ()


REFINES = {"refine_battles": 4, "prior_weight": 1.0}
CONSTANT = {"conservative": "constant"}
ROWS = {
    "agent": Row("pooled", parameters),
    "widths": Row(load_task("2s3z").layout.widths, parameters),
    "width": Row(16, parameters_of_every_part),
    "n_heads": Row(4, parameters),
    "depth": Row(2, parameters),
    "id_bits": Row(6, parameters),
    "ODIS.n_skills": Row(5, parameters),
    "n_skills": Row(3, parameters),
    "skill_steps": Row(2, losses, refused=(-1,)),
    "skill_input": Row("token", parameters),
    "trajectory_encoder": Row("gru", parameters),
    "mixer": Row("sum", parameters),
    "lr": Row(1e-3, rates, refused=(0.0, -1.0)),
    "lr_schedule": Row("cosine", rates, {"pretrain_steps": 4}),
    "MAPPO.lr_schedule": Row("constant", rates),
    "ema_decay": Row(0.5, distance_of_average, refused=(1.0, -0.1)),
    "compile": Row(True, compiled_transformers),
    "play": Row("sampled", actions_in_equal_battles),
    "returns": Row(True, parameters),
    "pretrain_steps": Row(4, stages, refused=(-1,)),
    "beta": Row(0.5, stage_one_loss),
    "HiSSD.beta": Row(0.5, loss_of_two_tasks),
    "expectile": Row(0.5, value_loss, refused=(0.0, 1.0)),
    "advantage_weight": Row(1.0, value_loss, refused=(-1.0,)),
    "return_weight": Row(1.0, both_losses_of_stage_one, {"prior_weight": 1.0}, refused=(-1.0,)),
    "balance": Row(0.5, stage_one_loss, refused=(-1.0,)),
    "prior_weight": Row(0.5, switch, refused=(-1.0,)),
    "prior_steps": Row(4, prior_at_step_two, {"prior_weight": 1.0}, refused=(-1,)),
    "loss_steps": Row("stored", losses),
    "gamma": Row(0.5, value_loss, refused=(-0.1, 1.1)),
    "td_lambda": Row(0.9, value_loss, refused=(-0.1, 1.1)),
    "conservative": Row("constant", value_loss),
    "conservative_constant": Row(0.75, value_loss, CONSTANT),
    "alpha": Row(1.0, value_loss, CONSTANT),
    "phi": Row(1.0, value_loss),
    "target_update_interval": Row(3, target_at_step_three, refused=(0,)),
    "skills_from": Row("other.ckpt", first_weight),
    "refine_battles": Row(8, chunk_plan, {"prior_weight": 1.0}, refused=(-1,)),
    "refine_allocation": Row("defeats", chunk_plan, REFINES | {"refine_battles": 16}),
    "refine_skill_battles": Row(4, chunk_plan, REFINES, refused=(-1,)),
    "refine_epochs": Row(2, chunk_plan, REFINES, refused=(0,)),
    "refine_minibatches": Row(2, chunk_plan, REFINES, refused=(0,)),
    "refine_clip": Row(0.5, loss_of_a_policy_that_moved, REFINES, refused=(0.0,)),
    "refine_entropy": Row(0.5, loss_in_the_middle, REFINES, refused=(-1.0,)),
    "refine_distinct": Row(0.5, loss_in_the_middle, REFINES, refused=(-1.0,)),
    "refine_random_skills": Row(0.5, loss_in_the_middle, REFINES, refused=(-0.1, 1.0)),
    "teacher_weight": Row(0.5, loss_in_the_middle, REFINES, refused=(-1.0,)),
    "init_from": Row("other.ckpt", first_weight),
    "entity_width": Row(16, parameters, refused=(0,)),
    "critic_width": Row(64, parameters, refused=(0,)),
    "MAPPO.width": Row(16, parameters),
    "MAPPO.gamma": Row(0.5, loss_in_the_middle, refused=(-0.1, 1.1)),
    "gae_lambda": Row(0.5, loss_in_the_middle, refused=(-0.1, 1.1)),
    "clip": Row(0.5, loss_of_a_policy_that_moved, refused=(0.0,)),
    "entropy": Row(0.5, loss_in_the_middle, refused=(-1.0,)),
    "entropy_end": Row(0.5, loss_in_the_middle, refused=(-1.0,)),
    "value_weight": Row(0.5, loss_in_the_middle, refused=(-1.0,)),
    "reward_scale": Row(1.0, loss_in_the_middle, refused=(0.0,)),
    "num_envs": Row(8, chunk_plan, refused=(0,)),
    "chunk_env_steps": Row(8, chunk_plan, refused=(0,)),
    "epochs": Row(2, chunk_plan, refused=(0,)),
    "minibatches": Row(2, chunk_plan, refused=(0, 257)),
}
"""By option; one row for all algorithms that have it, unless `Algorithm.option` has its own."""

OPTIONS = [(kind, option) for kind, cls in ALGORITHMS.items() for option in signature(cls).parameters]


def row_of(kind: str, option: str) -> Row:
    assert f"{kind}.{option}" in ROWS or option in ROWS, f"what does {option} of {kind} change? Add a row"
    return ROWS.get(f"{kind}.{option}") or ROWS[option]


@pytest.mark.parametrize(("kind", "option"), OPTIONS, ids=[f"{kind}-{option}" for kind, option in OPTIONS])
def test_an_option_changes_what_it_should_change(
    kind: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = row_of(kind, option)
    monkeypatch.chdir(tmp_path)
    if row.other == "other.ckpt":
        other = build(kind, {})
        torch.nn.init.constant_(next(other.network.parameters()), 3.0)
        torch.save({"state_dict": other.state_dict()}, "other.ckpt")
    before, after = (
        row.changes(Steps(build(kind, {**row.beside, **options}), monkeypatch))
        for options in ({}, {option: row.other})
    )
    for one, other_one in zip(before, after, strict=True):
        assert one != other_one
        if isinstance(one, float):
            assert one != pytest.approx(other_one, rel=1e-6), "no more than another order of rounding"


@pytest.mark.parametrize(
    ("kind", "option", "value"), [(k, o, value) for k, o in OPTIONS for value in row_of(k, o).refused]
)
def test_an_impossible_value_is_refused_by_name(kind: str, option: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"--model.{option} is {value}"):
        build(kind, {option: value})


def test_no_row_is_left_of_an_option_that_is_gone() -> None:
    assert {key.rpartition(".")[2] for key in ROWS} == {option for _, option in OPTIONS}
