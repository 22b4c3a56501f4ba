"""Stage two on-policy: what is learned from, how the loss is made up, and a run that does both stages."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_episodes
from refining_runs import TASK, both_stages, logged, refining
from tiny_runs import callback
from update_steps import Steps, batch_for

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.algorithms.refinement import REWARD_SCALE
from hygen_lightning.cli import main
from hygen_lightning.envs.base import BattleEnv
from hygen_lightning.rollouts.runner import Rollout, play
from hygen_lightning.specs import ChunkPlan, OnPolicyEpisodes, UserError


def battles_of(module: HyGen) -> OnPolicyEpisodes:
    battles = batch_for(module, "3m").chunks["3m"]
    assert isinstance(battles, OnPolicyEpisodes)
    return battles


@pytest.mark.parametrize("skill_steps", [1, 4, 0])
def test_a_policy_that_has_not_moved_has_ratio_one(skill_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = refining(skill_steps=skill_steps)
    Steps(module, monkeypatch)
    battles = battles_of(module)
    loss, metrics = module.chunk_loss(battles)
    assert torch.isfinite(loss)
    assert float(metrics["kl"]) == pytest.approx(0, abs=1e-5)
    assert float(metrics["clipped"]) == 0
    assert 0 < float(metrics["skill_entropy"]) <= 1.1


@pytest.mark.whole_battles
def test_skills_are_held_and_what_happens_after_the_end_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = refining(skill_steps=4)
    Steps(module, monkeypatch)
    battles = battles_of(module)
    skills = battles.skills[:, :8]
    assert torch.equal(skills[:, :4], skills[:, :1].expand(-1, 4, -1))
    assert torch.equal(skills[:, 4:], skills[:, 4:5].expand(-1, 4, -1))
    loss = module.chunk_loss(battles)[0]
    outside = ~battles.filled
    assert outside.any()
    battles.obs[outside], battles.state[outside] = torch.nan, torch.nan
    assert torch.equal(loss, module.chunk_loss(battles)[0])


def test_its_gradient_reaches_decoder_choice_and_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    module = refining()
    steps = Steps(module, monkeypatch)
    steps.step = 5
    module.training_step(batch_for(module, "3m"), 5).backward()
    module.on_after_backward()
    net = module.network
    for part in (net.action_decoder, net.q_head, net.observation_encoder, module.refinement.critic):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_recordings_count_by_the_offline_share_and_the_teachers_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = refining(teacher_weight=2.0)
    steps = Steps(module, monkeypatch)
    steps.step = 5
    episodes = make_episodes(TASK, 3)
    torch.manual_seed(1)
    whole = module.skill_loss(episodes)[0]
    torch.manual_seed(1)
    assert float(module.loss(episodes, 0.25)[0].detach()) == pytest.approx(0.5 * float(whole.detach()))


def test_the_critic_learns_discounted_returns_in_stage_one() -> None:
    module = refining(gamma=0.5)
    episodes = make_episodes(TASK, 1, lengths=torch.tensor([3])).trimmed()
    values = module.refinement.values(episodes).detach()[0, :2]
    first, second = (REWARD_SCALE * float(r) for r in episodes.reward[0, :2])
    errors = (float(values[0]) - first - 0.5 * second) ** 2 + (float(values[1]) - second) ** 2
    assert float(module.refinement.critic_loss(episodes).detach()) == pytest.approx(errors / 2, rel=1e-4)


@torch.no_grad()
def test_advantages_and_targets_of_battles_by_hand() -> None:
    """gamma 0.5, lambda 0.95, a battle that is decided in its second step."""
    module = refining(gamma=0.5)
    episodes = make_episodes(TASK, 1, lengths=torch.tensor([3])).trimmed()
    battles = module.prepare_battles(episodes, torch.zeros(1, 3, 3, dtype=torch.int64))
    value = module.refinement.values(episodes)[0]
    first, second = (REWARD_SCALE * float(r) for r in episodes.reward[0, :2])
    later = second - float(value[1])
    now = first + 0.5 * float(value[1]) - float(value[0]) + 0.5 * 0.95 * later
    assert battles.value_target[0, :2].tolist() == pytest.approx([now + float(value[0]), second], rel=1e-4)
    spread = abs(now - later) / 2**0.5
    normal = [(x - (now + later) / 2) / (spread + 1e-5) for x in (now, later)]
    for agent in range(TASK.n_allies):
        assert battles.advantage[0, :, agent].tolist() == pytest.approx([*normal, 0.0], rel=1e-3)


@torch.no_grad()
def test_distinct_skills_are_worth_what_the_trajectory_encoder_can_tell_of_them() -> None:
    """Logits of skills are put in by hand, and pooled over windows of two steps; one agent is once dead."""
    plain, module = refining(skill_steps=2), refining(skill_steps=2, refine_distinct=0.5)
    episodes = make_episodes(TASK, 1, lengths=torch.tensor([4])).trimmed()
    episodes.avail_actions[0, 1, 1] = torch.arange(episodes.avail_actions.shape[-1]) == 0
    skills = torch.tensor([[[0, 0, 1]] * 4])
    logits = torch.zeros(1, 4, 3, 3)
    logits[0, :2, 0, 0] = torch.tensor([1.0, 3.0])  # the mean of the window is 2
    logits[0, 2, 2, 1] = 4.0  # alone in its window
    told = torch.full((4, 3), -math.log(3.0))
    told[:2, 0] = 2 - math.log(math.exp(2) + 2)
    told[2:, 2] = 4 - math.log(math.exp(4) + 2)
    for made in (plain, module):
        made.network.skill_logits = lambda *_: logits
        made.acting.skill_logits = made.network.skill_logits
    before = plain.prepare_battles(episodes, skills)
    after = module.prepare_battles(episodes, skills)
    counted = episodes.mask[0]
    decides = counted[:, None] & (episodes.avail_actions[0].sum(dim=-1) > 1)
    assert decides[counted].sum() == 3 * counted.sum() - 1
    mean = torch.stack([told[:, :2][decides[:, :2]].mean()] * 2 + [told[:, 2][decides[:, 2]].mean()])
    expected = 0.5 * (told - mean) * counted[:, None]
    assert torch.allclose((after.advantage - before.advantage)[0], expected, atol=1e-4)
    assert torch.equal(after.skill_advantage, before.skill_advantage), "the battle alone counts"
    assert torch.equal(after.value_target, before.value_target), "the critic learns rewards alone"


@torch.no_grad()
def test_a_share_of_the_skills_is_drawn_by_chance() -> None:
    scores = torch.tensor([0.9, 0.1, 0.0]).log()
    by_score, mixed = (
        refining(refine_random_skills=share).refinement.skill_log_probs(scores).exp() for share in (0.0, 0.3)
    )
    assert by_score.tolist() == pytest.approx([0.9, 0.1, 0.0])
    assert mixed.tolist() == pytest.approx([0.63 + 0.1, 0.07 + 0.1, 0.1])


@torch.no_grad()
def test_sampled_play_draws_a_share_of_its_skills_by_chance() -> None:
    """The prior is sure of one skill, and the values are zeros."""
    module = refining(refine_random_skills=0.6)
    predict = torch.full((400, 1, 3), -100.0)
    predict[..., 1] = 100.0
    choose = module.sampling(torch.Generator().manual_seed(0)).choose  # type: ignore[attr-defined]
    shares = torch.bincount(choose(torch.zeros(400, 1, 3), predict).flatten(), minlength=3) / 400
    assert shares.tolist() == pytest.approx([0.2, 0.6, 0.2], abs=0.06)


def test_the_trajectory_encoder_learns_the_skills_that_were_played(monkeypatch: pytest.MonkeyPatch) -> None:
    module = refining(refine_distinct=0.5)
    steps = Steps(module, monkeypatch)
    steps.step = 5
    loss, told = module.chunk_loss(battles_of(module))
    assert float(told["recognition_loss"]) > 0
    loss.backward()
    gradient = [
        p.grad.abs().sum() for p in module.network.trajectory_encoder.parameters() if p.grad is not None
    ]
    assert sum(gradient) > 0
    assert "recognition_loss" not in refining().chunk_loss(battles_of(refining()))[1]


@torch.no_grad()
def test_a_skill_counts_where_it_is_chosen_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    module = refining(skill_steps=4)
    Steps(module, monkeypatch)
    battles = battles_of(module)
    as_played = module.chunk_loss(battles)[1]["kl"], module.chunk_loss(battles)[1]["skill_policy_loss"]
    for t, counts in ((1, False), (2, False), (4, True)):
        moved = replace(battles, skill_log_probs=battles.skill_log_probs.clone())
        moved.skill_log_probs[:, t] -= 0.1
        told = module.chunk_loss(moved)[1]
        assert (told["skill_policy_loss"] != as_played[1]) == counts
        assert told["kl"] == as_played[0], "that of actions"


def test_battles_are_played_and_learned_from_as_the_options_say() -> None:
    plan = refining(refine_battles=8, refine_epochs=5, refine_minibatches=2).chunk_plan
    assert plan == ChunkPlan(8, 0, 5, 2)


def test_without_a_policy_of_stage_one_there_is_nothing_to_refine() -> None:
    with pytest.raises(UserError, match=r"give a --model\.prior_weight above 0"):
        HyGen(TASK.layout.widths, refine_battles=4)


def test_battles_that_choose_a_skill_need_refinement() -> None:
    with pytest.raises(
        UserError, match=r"refine_skill_battles is 4, .* give a --model\.refine_battles above 0"
    ):
        HyGen(TASK.layout.widths, refine_skill_battles=4)


def test_a_minibatch_without_a_battle_is_refused() -> None:
    with pytest.raises(UserError, match=r"refine_minibatches is 5; give at most --model\.refine_battles, 4"):
        refining(refine_minibatches=5)


@pytest.mark.parametrize("steps", [5, 6])
def test_what_a_run_has_cost_counts_battles_after_the_last_evaluation(tmp_path: Path, steps: int) -> None:
    """Battles before the third and the fifth step; evaluations every three."""
    more = ["--trainer.val_check_interval=3", f"--trainer.max_steps={steps}"]
    assert main([*both_stages(tmp_path, "3m"), *more]) == 0
    told = [row["progress/episodes"] for row in logged(tmp_path) if row["progress/episodes"]]
    assert told == ["4.0", "8.0"]
    (results,) = tmp_path.rglob("results.json")
    assert json.loads(results.read_text())["battles"] == 8


def test_a_run_of_both_stages_learns_from_recordings_then_from_both(tmp_path: Path) -> None:
    assert main(both_stages(tmp_path, "3m")) == 0
    rows = logged(tmp_path)
    shares = [row["train/3m/offline_share"] for row in rows if row["train/mean/loss"]]
    assert shares == ["1.0", "1.0", "0.5", "0.25", "", ""]
    assert [bool(row["train/3m/kl"]) for row in rows if row["train/mean/loss"]] == [False] * 2 + [True] * 4


def won_on_3m_alone(env: BattleEnv, *args: Any) -> Rollout:
    """`play`, but all battles on 3m are won, all others lost."""
    played = play(env, *args)
    return replace(played, success=torch.full_like(played.success, env.task.name == "3m"))


def battles_by_chunk(folder: Path) -> list[tuple[str, str]]:
    """Battles of 3m and 5m in each chunk."""
    cells = [(row["rollout/3m/episodes"], row["rollout/5m/episodes"]) for row in logged(folder)]
    return [pair for pair in cells if any(pair)]


@pytest.mark.parametrize(("allocation", "second"), [("equal", ("8.0", "8.0")), ("defeats", ("2.0", "14.0"))])
def test_battles_follow_defeats_if_asked(
    allocation: str, second: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hygen_lightning.rollouts.callback.play", won_on_3m_alone)
    assert main(both_stages(tmp_path, "3m", "5m", refine_battles=8, refine_allocation=allocation)) == 0
    assert battles_by_chunk(tmp_path) == [("8.0", "8.0"), second]


def test_a_run_that_goes_on_knows_the_defeats_of_its_last_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hygen_lightning.rollouts.callback.play", won_on_3m_alone)
    words = both_stages(tmp_path, "3m", "5m", refine_battles=8, refine_allocation="defeats")
    words += ["--checkpoint.every_n_steps=1"]
    assert main([*words, *callback("StopAt", step=3)]) == 130
    assert battles_by_chunk(tmp_path) == [("8.0", "8.0")]
    assert main([*words, "--resume=auto"]) == 0
    assert battles_by_chunk(tmp_path) == [("8.0", "8.0"), ("2.0", "14.0")]


def test_battles_too_few_to_follow_defeats_are_refused() -> None:
    with pytest.raises(UserError, match=r"defeats needs --model\.refine_battles 8 or more, not 7"):
        refining(refine_battles=7, refine_minibatches=1, refine_allocation="defeats")


def test_a_task_that_may_get_no_battle_for_a_minibatch_is_refused() -> None:
    with pytest.raises(UserError, match=r"a task may get 2 of --model\.refine_battles 8, fewer than"):
        refining(refine_battles=8, refine_minibatches=4, refine_allocation="defeats")


@pytest.mark.parametrize(("skills", "used"), [([0, 0, -1, -1], 1), ([2, 0, 2, 0], 2), ([0, 1, 2, 3], 4)])
def test_skills_that_are_used_alike_count_in_full(
    skills: list[int], used: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play_battles(env: BattleEnv, *args: Any) -> Rollout:
        played = play(env, *args)
        assert played.skills is not None
        fixed = torch.tensor(skills).reshape(-1, 1, 1).expand_as(played.skills)
        return replace(played, skills=fixed)

    monkeypatch.setattr("hygen_lightning.rollouts.callback.play", play_battles)
    assert main(both_stages(tmp_path, "3m")) == 0
    told = [row["rollout/3m/skills_in_use"] for row in logged(tmp_path) if row["rollout/3m/skills_in_use"]]
    assert [float(use) for use in told] == pytest.approx([used, used])
