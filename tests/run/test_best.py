"""Whose weights are kept: chosen on seen tasks, later ones where chance explains a lower score."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hygen_lightning.run.best import Best
from hygen_lightning.run.checkpoint import RunCheckpoint
from hygen_lightning.specs import UserError


@pytest.mark.parametrize(
    ("tolerance", "kept"),
    [(0.0, 300), (0.5, 300), (1.0, 400), (2.0, 500)],
)
def test_later_weights_are_kept_where_chance_explains_their_lower_score(tolerance: float, kept: int) -> None:
    """The best score is .9 at step 300; step 400 is .04 below it, of which .05 is one standard error, and
    step 500 .08 below it, though no more than that below step 400."""
    best = Best()
    for step, score in ((100, 0.2), (200, 0.1), (300, 0.9), (400, 0.86), (500, 0.82)):
        best = best.after(score, 0.03 if step == 300 else 0.04, step, tolerance) or best
    assert best == Best(0.9, 0.03, kept)


@pytest.mark.parametrize(("tolerance", "kept"), [(1.0, 2), (0.0, 1)])
def test_the_tolerance_decides_whose_weights_play(tolerance: float, kept: int, tmp_path: Path) -> None:
    """The same score at steps 1 and 2."""
    checkpoint = RunCheckpoint(tolerance=tolerance)
    checkpoint.folder, saved = tmp_path, []

    def save(path: Path, weights_only: bool) -> None:
        saved.append(trainer.global_step)

    metrics = {"val/mean/seen_score": torch.tensor(0.5), "val/mean/seen_score_error": torch.tensor(0.1)}
    trainer: Any = SimpleNamespace(
        state=SimpleNamespace(fn="fit"),
        strategy=SimpleNamespace(broadcast=bool, checkpoint_io=None),
        sanity_checking=False,
        fast_dev_run=False,
        save_checkpoint=save,
    )
    learner: Any = SimpleNamespace(policy_has_learned=True)
    for step in (1, 2):
        trainer.global_step, trainer.callback_metrics = step, metrics
        checkpoint.on_validation_end(trainer, learner)
    assert checkpoint.best.step == saved[-1] == kept


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_number_of_errors_is_refused(tolerance: float) -> None:
    with pytest.raises(UserError, match=r"--checkpoint\.tolerance is .*; give standard errors, 0 or more"):
        RunCheckpoint(tolerance=tolerance)
