"""Battles without exploration: one record per battle, and the environment that plays them."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hygen_lightning import BattleEvaluation, OnlineRollouts, evaluate, load_task, make_env, play
from hygen_lightning.envs import environment_for
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.rollouts.evaluation import BattleRecord, _mean_metrics
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.specs import BattleRequest, TaskSpec, UserError

TASKS = [load_task("3m"), load_task("5m")]


class Elsewhere(SimulatorEnv):
    """The simulator under another name."""

    name = "elsewhere"


ELSEWHERE = f"{__name__}:Elsewhere"


def test_every_battle_is_one_record_and_tells_who_survived() -> None:
    seeds = torch.tensor([4, 9, 2])
    records = evaluate(
        scripted_policy("pull_back"), TASKS, lambda task, n: make_env("simulator", task, n), lambda _: seeds
    )
    assert [(r.task, r.seed) for r in records] == [(task.name, s) for task in TASKS for s in (4, 9, 2)]
    played = play(make_env("simulator", TASKS[1], 3), scripted_policy("pull_back"), seeds)
    assert [r.success for r in records[3:]] == played.success.tolist()
    assert [r.ret for r in records[3:]] == played.returns.tolist()
    healths = [units[..., 0] for units in TASKS[1].layout.split_state(played.episodes.final_state)[:2]]
    for side, left in zip(healths, ("allies_left", "enemies_left")):
        assert [getattr(r, left) for r in records[3:]] == (side > 0).sum(1).tolist()


@pytest.mark.parametrize(("noisy", "expected"), [(None, 0.75), ([False, False, True, False], 0.5)])
def test_the_best_checkpoint_wins_greedily_and_with_random_actions(
    noisy: list[bool] | None, expected: float
) -> None:
    """Three of four battles won, and one of them once more: (3/4 + 1/4) / 2, and a return of 10."""
    won = [True, True, True, False]
    again = [None] * 4 if noisy is None else noisy
    records = [BattleRecord("3m", i, won[i], 10.0, 20, 1, 0, again[i]) for i in range(4)]
    means = _mean_metrics("val", {"3m": records}, {"3m": "seen"})
    assert means["val/mean/seen_score"] == pytest.approx(expected + 0.01)


@pytest.mark.parametrize(
    ("noisy", "error"),
    [([None] * 4, (2 / 9 / 4) ** 0.5), ([False, False, True, False], 0.25)],
)
def test_the_error_of_the_score_counts_a_win_and_a_defeat_more(noisy: list[Any], error: float) -> None:
    """Of four battles three are won: m = 4/6. With those with random actions 0.5, 0.5, 1 and 0: m = 3/6."""
    won = [True, True, True, False]
    records = [BattleRecord("3m", i, won[i], 10.0, 20, 1, 0, noisy[i]) for i in range(4)]
    means = _mean_metrics("val", {"3m": records}, {"3m": "seen"})
    assert means["val/mean/seen_score_error"] == pytest.approx(error)
    two = {"3m": records, "5m": records, "4m": records[:1]}
    means = _mean_metrics("val", two, {"3m": "seen", "5m": "seen", "4m": "unseen"})
    assert means["val/mean/seen_score_error"] == pytest.approx(error / 2**0.5)


class Learner:
    """What the callback sees of a LightningModule."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.checked: list[str] = []
        self.initial_hidden, self.act = (
            getattr(scripted_policy("kiting"), n) for n in ("initial_hidden", "act")
        )

    def check_tasks(self, tasks: Any) -> None:
        self.checked += [task.name for task in tasks]


def environment_after_setup(evaluation: BattleEvaluation, *others: Any) -> str:
    """Which environment plays in a run with these callbacks."""
    data = SimpleNamespace(eval_tasks=TASKS, extra_tasks=[], train_tasks=TASKS[:1])
    trainer: Any = SimpleNamespace(datamodule=data, callbacks=[*others, evaluation])
    learner: Any = Learner()
    evaluation.setup(trainer, learner, "fit")
    assert learner.checked == ["3m", "3m", "5m"]
    played = evaluation._play(learner, BattleRequest(TASKS[0], seen=True, seeds=torch.arange(2)))
    assert len(played.success) == 2
    return evaluation.env_name


def test_null_follows_the_rollouts_and_a_name_does_not() -> None:
    assert inspect.signature(BattleEvaluation).parameters.keys() == {"env", "noise"}
    assert environment_after_setup(BattleEvaluation()) == "simulator"
    assert environment_after_setup(BattleEvaluation(), OnlineRollouts(env=ELSEWHERE)) == ELSEWHERE
    assert (
        environment_after_setup(BattleEvaluation("simulator"), OnlineRollouts(env=ELSEWHERE)) == "simulator"
    )
    assert environment_after_setup(BattleEvaluation(ELSEWHERE), OnlineRollouts()) == ELSEWHERE


def test_the_same_battles_are_played_once_more_with_random_actions() -> None:
    request = BattleRequest(TASKS[0], seen=True, seeds=torch.arange(8))
    outcomes = []
    for noise in (0.0, 1.0, 1.0):
        evaluation, learner = BattleEvaluation(noise=noise), Learner()
        evaluation._play(learner, request, noise)  # type: ignore[arg-type]
        outcomes.append([(r.success, r.success_noisy) for r in evaluation.records])
    without, noisy, again = outcomes
    assert noisy == again, "the draws are named by the battles"
    assert {noisy for _, noisy in without} == {None}
    assert [greedy for greedy, _ in without] == [greedy for greedy, _ in noisy]
    assert any(greedy for greedy, _ in noisy)
    assert not any(won for _, won in noisy), "nobody wins by chance"


@pytest.mark.parametrize("noise", [-0.1, 1.5])
def test_a_share_beyond_everything_is_refused(noise: float) -> None:
    with pytest.raises(UserError, match=f"--evaluation.noise is {noise}"):
        BattleEvaluation(noise=noise)


def test_tasks_choose_their_environment_where_nobody_names_one() -> None:
    walk = load_task("cn-2")
    assert environment_for([walk, load_task("cn-4")]) == "navigation"
    assert environment_for([walk], "simulator") == "simulator"
    with pytest.raises(UserError, match=r"different environments \(cn-2 in navigation, 3m in simulator\)"):
        environment_for([walk, TASKS[0]])
    chess = TaskSpec("chess", 5, walk.layout)
    with pytest.raises(UserError, match="no known environment plays chess; name the one that does"):
        environment_for([chess])


@pytest.mark.parametrize("seen", [True, False])
def test_tasks_are_told_apart_by_group(seen: bool) -> None:
    evaluation, learner = BattleEvaluation(), Learner()
    evaluation._play(learner, BattleRequest(TASKS[0], seen=seen, seeds=torch.arange(2)))  # type: ignore[arg-type]
    assert evaluation.tasks_of("seen" if seen else "unseen") == {"3m"}
    assert evaluation.tasks_of("extra") == set()
    assert [record.seed for record in evaluation.records] == [0, 1]
