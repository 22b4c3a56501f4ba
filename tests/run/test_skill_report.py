"""What skills carry: hand-counted tests of equality, agreement of actions, and the warning."""

from __future__ import annotations

import pytest
import torch

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.run.skill_report import SkillReport, best_tried, homogeneity, measure_skills, verdict_on
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def model(carries: bool) -> HyGen:
    """Three skills; where they carry nothing, the decoder does not see them. Else skill 0 stands
    still and skill 1 walks east."""
    torch.manual_seed(0)
    hygen = HyGen(TASK.layout.widths, n_skills=3, width=8, n_heads=1, skill_steps=0)
    decoder = hygen.network.action_decoder
    with torch.no_grad():
        decoder.head.weight[:, 8:] = 0
        if carries:
            decoder.skill.weight.zero_()
            decoder.skill.bias.zero_()
            decoder.skill.weight[0, :2] = torch.tensor([1.0, -1.0])
            decoder.head.weight[1, 8], decoder.head.weight[4, 8] = 1000.0, -1000.0
    return hygen


def test_equal_win_rates_are_likely_of_equal_skills_and_far_ones_are_not() -> None:
    assert homogeneity([0.5, 0.5], 100) == 1.0
    assert homogeneity([1.0, 1.0, 1.0], 32) == 1.0
    assert homogeneity([0.5], 32) == 1.0
    # chi-square of 60 and 40 of 100 each is 8, with one degree of freedom
    assert homogeneity([0.6, 0.4], 100) == pytest.approx(0.0047, abs=1e-4)


def test_skills_that_the_decoder_does_not_see_act_alike_and_are_warned_of() -> None:
    report = measure_skills(model(carries=False), TASK, 2, "simulator", seed=1, ways=["greedy"])
    assert list(report.win_rates) == [
        *("learned", "predicted", "random", "skill 0", "skill 1", "skill 2", "best tried")
    ]
    assert report.agreement == 1.0
    assert float(report.use.sum()) == pytest.approx(1.0)
    assert report.use_by_step.shape == (report.use_by_step.shape[0], 3)
    assert report.battle.min() >= 0
    assert "skills carry nothing" in verdict_on([report])
    assert "the same action in 100 % of the steps" in verdict_on([report])


def test_skills_that_act_differently_are_seen_to_do_so() -> None:
    report = measure_skills(model(carries=True), TASK, 2, "simulator", seed=1, ways=["greedy"])
    assert report.agreement < 1.0


def test_the_best_skill_of_one_half_of_the_battles_is_counted_in_the_other() -> None:
    # Battles 0 and 2 choose skill 0, which wins one of 1 and 3; these choose skill 1, which wins one of 0, 2.
    won = [torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 1.0, 1.0])]
    assert best_tried(won) == pytest.approx((0 + 1 + 0 + 1) / 4)
    assert best_tried([torch.tensor([1.0])] * 2) == 1.0, "nothing was tried before the only battle"


def test_one_line_says_whether_skills_win_or_act_differently_on_one_of_the_tasks() -> None:
    def report(p_value: float, agreement: float) -> SkillReport:
        rates = {"skill 0": {"greedy": 0.9}, "skill 1": {"greedy": 0.1}}
        x = torch.zeros(1)
        return SkillReport("3m", 32, rates, agreement, x, x, x, p_value)  # type: ignore[arg-type]

    assert verdict_on([report(0.5, 1.0), report(0.001, 1.0)]).startswith(
        "skills differ in what they win (3m 10 to"
    )
    assert verdict_on([report(0.5, 0.95), report(0.5, 0.7)]).startswith("skills act differently")
    assert "the same action in 70 % of the steps" in verdict_on([report(0.5, 0.95), report(0.5, 0.7)])
    assert verdict_on([report(0.5, 0.95)]).startswith(
        "skills carry nothing: every fixed skill wins alike (3m 10"
    )
