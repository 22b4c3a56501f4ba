"""HyGen as a LightningModule: stages, switch, frozen networks, target networks."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from factories import make_episodes
from update_steps import Steps, batch_of

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.algorithms.skills import skill_use
from hygen_lightning.models.agents import EntityTransformer
from hygen_lightning.specs import Episodes, UserError
from hygen_lightning.tasks import load_task

WIDTHS = load_task("3m").layout.widths


def small(**options: object) -> HyGen:
    torch.manual_seed(0)
    sizes = {"width": 8, "n_heads": 2, "pretrain_steps": 2, "target_update_interval": 2}
    return HyGen(WIDTHS, **{**sizes, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pretrain_steps", "trained"),
    [
        (2, {"trajectory_encoder", "skill_head", "action_decoder"}),
        (0, {"observation_encoder", "q_head", "mixer"}),
    ],
    ids=["stage one", "stage two"],
)
def test_each_stage_trains_its_networks_and_leaves_the_others(
    pretrain_steps: int, trained: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = small(pretrain_steps=pretrain_steps)
    net = module.network
    before = {name: [p.detach().clone() for p in part.parameters()] for name, part in net.named_children()}
    Steps(module, monkeypatch).take(batch_of("3m"))
    moved = {
        name
        for name, part in net.named_children()
        if any(not torch.equal(a, b) for a, b in zip(before[name], part.parameters()))
    }
    assert moved == trained


def test_the_switch_gives_stage_two_a_fresh_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small()
    steps = Steps(module, monkeypatch)
    steps.take(batch_of("3m"))
    steps.take(batch_of("3m"))
    decoder = set(module.network.action_decoder.parameters())
    assert decoder <= set(steps.optimizer.state)
    steps.take(batch_of("3m"))
    assert not decoder & set(steps.optimizer.state), "moments of stage one are gone"
    assert {int(s["step"]) for s in steps.optimizer.state.values()} == {1}


def test_target_networks_are_copied_at_the_switch_and_every_n_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = small(pretrain_steps=0, target_update_interval=2)
    steps = Steps(module, monkeypatch)
    equal = []
    for _ in range(5):
        module.on_train_batch_start(None, steps.step)
        fast = module.network.q_head.weight
        equal.append(torch.equal(fast, module.target["q_head"].weight))
        steps.take(batch_of("3m"))
    assert equal == [True, False, True, False, True]


def test_the_average_is_the_exponential_mean_of_the_weights_and_plays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = small(ema_decay=0.3, pretrain_steps=3)
    steps = Steps(module, monkeypatch)
    weight = module.network.skill_head.weight
    steps.take(batch_of("3m"))
    expected = weight.detach().clone()
    for decay in (2 / 11, 3 / 12):
        steps.take(batch_of("3m"))
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(module.average.module.skill_head.weight, expected)
    assert not torch.equal(weight, expected)
    assert module.acting is module.average.module
    module.on_train_batch_start(None, steps.step)
    assert torch.equal(weight, module.acting.skill_head.weight), "stage two starts from the average"


def test_without_a_decay_the_weights_themselves_play() -> None:
    module = small()
    assert module.acting is module.network
    assert not any(name.startswith("average") for name in module.state_dict())


def test_no_checkpoint_of_stage_one_can_be_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small(pretrain_steps=2)
    learned = []
    for step in range(5):
        monkeypatch.setattr(HyGen, "global_step", step)
        learned.append(module.policy_has_learned)
    assert learned == [False, False, False, True, True]


def test_a_cosine_falls_over_each_stage_and_starts_anew_at_the_switch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = small(pretrain_steps=4, lr=1.0, lr_schedule="cosine")
    steps = Steps(module, monkeypatch)
    steps.optimizer.step()
    rates = []
    for _ in range(10):
        rates.append(steps.optimizer.param_groups[0]["lr"])
        steps.scheduler.step()
    assert rates[0] == rates[4] == 1.0
    assert rates[2] == pytest.approx(0.51), "half way down a cosine from 1 to 0.02"
    assert all(a > b for a, b in itertools.pairwise(rates[:4]))
    assert all(a > b for a, b in itertools.pairwise(rates[4:]))


def test_a_cosine_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HyGen, "trainer", SimpleNamespace(max_steps=-1))
    with pytest.raises(UserError, match="max_steps"):
        small(lr_schedule="cosine").configure_optimizers()


def test_compile_of_several_blocks_compiles_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(self))
    transformer = EntityTransformer(WIDTHS, width=8, n_heads=1, depth=2)
    transformer.compile_blocks()
    assert compiled == list(transformer.transformer.blocks)


@pytest.mark.slow
def test_compiled_networks_give_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("3m")
    gradients = []
    for wanted in (False, True):
        torch.manual_seed(0)
        module = HyGen(WIDTHS, width=8, n_heads=2, compile=wanted)
        Steps(module, monkeypatch)
        module.on_fit_start()
        for seed, lengths in enumerate(([5, 3, 2], [4, 4, 4])):
            episodes = make_episodes(task, 3, seed=seed, lengths=torch.tensor(lengths)).trimmed()
            torch.manual_seed(1)
            module.skill_loss(episodes)[0].backward()
        gradients.append([p.grad for p in module.parameters() if p.grad is not None])
    for plain, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-5)


def test_the_loss_of_a_step_is_the_sum_over_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small(pretrain_steps=0)
    steps = Steps(module, monkeypatch)
    both, first, second = batch_of("3m", "4m"), batch_of("3m"), batch_of("4m")
    parts = [module.training_step(b, 0) for b in (first, second)]
    torch.testing.assert_close(module.training_step(both, 0), parts[0] + parts[1])
    assert steps.step == 0


@pytest.mark.parametrize(
    ("mode", "expected"), [("off", 0.0), ("constant", 0.25), ("share", 0.7)], ids=["off", "constant", "share"]
)
def test_the_conservative_weight_is_none_a_constant_or_the_offline_share(mode: str, expected: float) -> None:
    module = small(conservative=mode, conservative_constant=0.25)
    assert module.conservative_weight(0.7) == expected


def test_networks_of_stage_one_can_start_stage_two_alone(tmp_path: Path) -> None:
    first = small()
    path = tmp_path / "skills.ckpt"
    torch.save({"state_dict": first.state_dict()}, path)
    torch.manual_seed(1)
    second = HyGen(WIDTHS, width=8, n_heads=2, pretrain_steps=0, skills_from=str(path))
    for a, b in zip(first.network.parameters(), second.network.parameters()):
        assert torch.equal(a, b)
    averaged = small(ema_decay=0.5)
    with torch.no_grad():
        averaged.average.module.skill_head.weight.add_(1.0)
    torch.save({"state_dict": averaged.state_dict()}, path)
    third = HyGen(WIDTHS, width=8, n_heads=2, pretrain_steps=0, skills_from=str(path))
    assert torch.equal(third.network.skill_head.weight, averaged.average.module.skill_head.weight)
    with pytest.raises(UserError, match="another architecture"):
        HyGen(WIDTHS, width=16, n_heads=2, skills_from=str(path))
    with pytest.raises(UserError, match="no such file; give a last"):
        HyGen(WIDTHS, skills_from=str(tmp_path / "missing.ckpt"))


@pytest.mark.whole_battles
def test_padding_changes_neither_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small()
    Steps(module, monkeypatch)
    episodes = make_episodes("3m", 3, lengths=torch.tensor([5, 9, 7]))
    for loss in (module.skill_loss, lambda e: module.policy_loss(e, 0.5)):
        values = []
        for batch in (episodes.trimmed(), _poisoned(episodes)):
            torch.manual_seed(0)
            values.append(loss(batch)[0])
        # Stage one samples skills for padded steps too, so only stage two draws equal numbers.
        assert torch.isfinite(values[1])
    torch.testing.assert_close(values[0], values[1])


def _poisoned(episodes: Episodes) -> Episodes:
    """NaN in the observations, states and rewards behind each episode's end."""
    empty = ~episodes.filled
    poisoned = episodes.map(torch.clone)
    for x in (poisoned.obs, poisoned.state, poisoned.reward):
        x[empty] = torch.nan
    return poisoned


def test_skill_use_sums_to_one_over_valid_steps() -> None:
    skills = torch.tensor([[[0, 1], [1, 1], [2, 2]]])
    mask = torch.tensor([[True, True, False]])
    use = skill_use(skills, mask, 3)
    shares = {name: float(share) for name, share in use.items()}
    assert shares == {"skill0_use": 0.25, "skill1_use": 0.75, "skill2_use": 0.0}
