"""Skills that last, at play and in the losses, and who else may choose them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from factories import make_episodes
from update_steps import Steps, batch_of

from hygen_lightning.algorithms import skills
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.algorithms.skills import SkillPolicy
from hygen_lightning.envs import make_env
from hygen_lightning.rollouts.runner import play
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def model(**options: Any) -> HyGen:
    torch.manual_seed(0)
    return HyGen(TASK.layout.widths, width=8, n_heads=2, pretrain_steps=2, **options)


def skills_played(policy: Any, n: int = 4) -> torch.Tensor:
    """Skills [B, T, A] of a few battles, -1 after the end."""
    found = play(make_env("simulator", TASK, n), policy, torch.arange(n)).skills
    assert found is not None
    return found


@pytest.mark.parametrize("steps", [1, 4, 0])
def test_a_skill_is_kept_for_its_steps_and_chosen_anew_after_them(steps: int) -> None:
    chance = skills.by_chance(5, torch.Generator().manual_seed(1))
    played = skills_played(SkillPolicy(model(skill_steps=steps), chance))
    changed = ((played[:, 1:] != played[:, :-1]) & (played[:, 1:] >= 0)).any(dim=2).any(dim=0)
    at = (changed.nonzero()[:, 0] + 1).tolist()
    if steps == 0:
        assert at == []
    else:
        assert at == [t for t in range(1, played.shape[1]) if t % steps == 0 and t <= at[-1]]


def test_each_choice_plays_what_it_says() -> None:
    hygen = model()
    assert set(skills_played(SkillPolicy(hygen, skills.fixed(3))).unique().tolist()) <= {-1, 3}
    with torch.no_grad():
        for head in (hygen.network.skill_head, hygen.network.q_head):
            head.weight.zero_()
        hygen.network.skill_head.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0]))
        hygen.network.q_head.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0, 0.0]))
    assert skills_played(SkillPolicy(hygen, skills.predicted)).max() == 2
    assert skills_played(hygen).max() == 1
    draw = torch.Generator().manual_seed(1)
    assert torch.equal(skills_played(hygen.exploring(0.0, draw)), skills_played(hygen))
    always = skills_played(hygen.exploring(1.0, draw))
    assert set(always[always >= 0].tolist()) == set(range(5))


def test_chance_is_over_the_skills_that_there_are() -> None:
    hygen, draw, q = model(n_skills=3), torch.Generator().manual_seed(1), torch.zeros(64, 3, 3)
    found = skills.choices(hygen, draw)
    assert {*found} == {"learned", "predicted", "random", "skill 0", "skill 1", "skill 2"}
    for choose in (found["random"], skills.exploring(hygen.choose, 1.0, 3, draw)):
        assert set(choose(q, q).flatten().tolist()) == {0, 1, 2}


def test_a_prior_holds_the_choice_to_the_prediction_until_values_outweigh_it() -> None:
    hygen = model(prior_weight=2.0)
    local = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]])
    assert hygen.choose(torch.zeros(1, 5), local).tolist() == [1]
    assert hygen.choose(torch.tensor([[1.9, 0.0, 0.0, 0.0, 0.0]]), local).tolist() == [1]
    assert hygen.choose(torch.tensor([[2.1, 0.0, 0.0, 0.0, 0.0]]), local).tolist() == [0]


def test_the_prior_falls_over_stage_two_and_a_checkpoint_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hygen = model(prior_weight=2.0, prior_steps=4)
    steps, weights = Steps(hygen, monkeypatch, max_steps=10), []
    for _ in range(8):
        steps.take(batch_of("3m"))
        weights.append(float(hygen.prior))
    assert weights == [2.0, 2.0, 2.0, 1.5, 1.0, 0.5, 0.0, 0.0]
    other = model(prior_weight=2.0, prior_steps=4)
    other.load_state_dict(hygen.state_dict())
    assert float(other.prior) == 0.0


def test_the_switch_keeps_what_stage_one_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    hygen = model(prior_weight=1.0, ema_decay=0.5)
    steps = Steps(hygen, monkeypatch)
    for _ in range(2):
        steps.take(batch_of("3m"))
    before = skills_played(hygen)
    hygen.on_train_batch_start(None, 2)
    assert torch.equal(skills_played(hygen), before)
    assert torch.equal(before, skills_played(SkillPolicy(hygen, skills.predicted)))


@pytest.mark.whole_battles
@pytest.mark.parametrize("length", [3, 0])
def test_lasting_skills_are_one_relaxed_draw_per_window(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hygen, drawn = model(skill_steps=length), []
    decode = hygen.network.decode
    monkeypatch.setattr(hygen.network, "decode", lambda *args: (drawn.append(args[3]), decode(*args))[1])
    hygen.skill_loss(make_episodes("3m", 2, lengths=torch.tensor([6, 8])).trimmed())
    skill = drawn[0]
    assert skill.shape[1] == 7
    for t in range(1, 7):
        same = torch.equal(skill[:, t], skill[:, t - 1])
        assert same == (length == 0 or t % length != 0)


def labels_by_hand(logits: torch.Tensor, mask: torch.Tensor, length: int) -> torch.Tensor:
    """The best skill of the mean logits of each window's valid steps: [B, T, A, Z] -> [B, T, A]."""
    labels = torch.zeros(logits.shape[:3], dtype=torch.int64)
    for b, t in itertools.product(range(logits.shape[0]), range(logits.shape[1])):
        start = t - t % length
        valid = [logits[b, s] for s in range(start, min(start + length, logits.shape[1])) if mask[b, s]]
        labels[b, t] = sum(valid, torch.zeros(logits.shape[2:])).argmax(-1)
    return labels


def distillation_by_hand(local: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean over valid steps and agents of -log p(label)."""
    nats = -local.log_softmax(-1).gather(-1, labels.unsqueeze(-1))[..., 0]
    return float(nats[mask].mean())


@pytest.mark.whole_battles
@torch.no_grad()
def test_the_loss_of_lasting_skills_in_stage_one_tells_agents_each_windows_own() -> None:
    episodes = make_episodes("3m", 2, lengths=torch.tensor([6, 8])).trimmed()
    losses, told = [], {}
    for phi in (1.0, 3.0):
        hygen = model(skill_steps=2, prior_weight=1.0, phi=phi)
        torch.manual_seed(1)
        loss, told = hygen.skill_loss(episodes)
        losses.append(float(loss))
    net, mask = hygen.network, episodes.mask[:, :-1]
    logits = net.skill_logits(TASK.layout, episodes.state, episodes.actions, episodes.filled)[:, :-1]
    seen = episodes.obs[:, :-1], episodes.last_actions[:, :-1], episodes.filled[:, :-1]
    by_hand = distillation_by_hand(
        net.predict_skills(TASK.layout, *seen), labels_by_hand(logits, mask, 2), mask
    )
    assert float(told["distillation_loss"]) == pytest.approx(by_hand, rel=1e-5)
    assert losses[1] - losses[0] == pytest.approx(2 * by_hand, rel=1e-4)


@pytest.mark.whole_battles
@torch.no_grad()
def test_the_loss_of_lasting_skills_in_stage_two_by_hand() -> None:
    """A decision every two steps, with their discounted rewards; one that the end cuts short counts too."""
    hygen = model(skill_steps=2, mixer="sum", gamma=0.5, phi=3.0, conservative="constant", alpha=0.0)
    episodes = make_episodes("3m", 2, lengths=torch.tensor([6, 8])).trimmed()
    net, mask = hygen.network, episodes.mask
    logits = net.skill_logits(TASK.layout, episodes.state, episodes.actions, episodes.filled)
    q, local = net.observe(TASK.layout, episodes.obs, episodes.last_actions, episodes.filled)
    labels, errors = labels_by_hand(logits, mask, 2), []
    for b, n_steps in enumerate((5, 7)):
        for t in range(0, n_steps, 2):
            chosen = q[b, t].gather(-1, labels[b, t].unsqueeze(-1)).sum()
            rewards = sum(0.5**k * episodes.reward[b, t + k] for k in range(min(2, n_steps - t)))
            follows = q[b, t + 2].max(-1).values.sum() if t + 2 < n_steps else 0.0
            errors.append(float(chosen - rewards - 0.25 * follows) ** 2)
    by_hand = sum(errors) / len(errors) + 3 * distillation_by_hand(local, labels, mask)
    loss, told = hygen.policy_loss(episodes, 1.0)
    assert float(loss) == pytest.approx(by_hand, rel=1e-4)
    assert float(told["td_loss"]) == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_sampled_actions_are_available_ones_and_follow_their_seed() -> None:
    logits = torch.tensor([[[0.0, -torch.inf, 0.0]]]).expand(64, 1, 3)
    first, again = (skills.sampled_action(torch.Generator().manual_seed(2))(logits) for _ in range(2))
    assert torch.equal(first, again)
    assert set(first.flatten().tolist()) == {0, 2}
