"""What all algorithms share: the learning rate's fall, the mean of the weights, the accuracy of actions."""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes

from hygen_lightning.algorithms.base import LRSchedule, MultiTaskAlgorithm, action_accuracy, ema, lr_factor
from hygen_lightning.algorithms.bc import BC
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.algorithms.mappo import MAPPO
from hygen_lightning.policy import (
    ExploresSkills,
    LearnsFromBattles,
    LearnsFromChunks,
    LearnsFromEpisodes,
    LearnsOnPolicy,
    SelectsCandidate,
)
from hygen_lightning.tasks import load_task


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.755, 0.51, 0.02]),
        ("cosine", [1.0, 0.02 + 0.98 * 0.853553, 0.51, 0.02]),
    ],
)
def test_the_learning_rate_falls_to_its_fiftieth_along_its_schedule(
    schedule: LRSchedule, factors: list[float]
) -> None:
    assert [lr_factor(schedule, share) for share in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(factors)
    assert lr_factor(schedule, -1.0) == factors[0]
    assert lr_factor(schedule, 2.0) == pytest.approx(factors[-1])


def test_the_average_is_never_slower_than_its_decay() -> None:
    mean, weight = torch.tensor([1.0]), torch.tensor([2.0])
    slow = [float(ema(mean, weight, torch.tensor(n), decay=0.3)) for n in (1, 10, 1000)]
    assert slow == pytest.approx([2 - 2 / 11, 1.7, 1.7])


def test_action_accuracy_counts_agents_that_had_a_choice_in_valid_steps_only() -> None:
    episodes = make_episodes("3m", 1, lengths=torch.tensor([4])).trimmed()
    episodes.avail_actions[:] = True
    episodes.avail_actions[:, :, 0, 1:] = False
    episodes.actions[:] = torch.tensor([0, 1, 2])
    episodes.actions[:, -1] = 1  # after the end
    logits = torch.zeros(1, 4, 3, 9)
    logits[..., 1] = 1.0
    assert action_accuracy(logits, episodes, episodes.mask) == 0.5, "of two that could choose one is right"


OFFERED = [
    (BC, {LearnsFromEpisodes}),
    (MAPPO, {LearnsOnPolicy, LearnsFromChunks}),
    (HyGen, {LearnsFromEpisodes, LearnsOnPolicy, LearnsFromBattles, SelectsCandidate, ExploresSkills}),
]


@pytest.mark.parametrize(("kind", "offered"), OFFERED)
def test_what_an_algorithm_learns_from_follows_from_its_methods(
    kind: type[MultiTaskAlgorithm], offered: set[type]
) -> None:
    every = (LearnsFromEpisodes, LearnsOnPolicy, LearnsFromChunks, LearnsFromBattles)
    every += (SelectsCandidate, ExploresSkills)
    assert {protocol for protocol in every if issubclass(kind, protocol)} == offered


def test_an_algorithm_that_learns_from_nothing_says_so_when_it_is_made() -> None:
    class Idle(MultiTaskAlgorithm):
        offline_phase_steps = 0  # type: ignore[assignment]
        initial_hidden = act = None  # type: ignore[assignment]

    with pytest.raises(TypeError, match="Idle learns from nothing: fill in `loss`, or `chunk_loss`"):
        Idle(load_task("3m").layout.widths, 1e-3, "constant", 0.0, False)
