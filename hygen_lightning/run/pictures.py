"""The pictures at the end of a run: learning curves, and one unseen battle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hygen_lightning.report.learning_curves import draw_learning_curves

if TYPE_CHECKING:
    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.data.datamodule import HybridDataModule
    from hygen_lightning.run.files import RunFiles


def draw_unseen_battle(
    model: MultiTaskAlgorithm, data: HybridDataModule, folder: Path, wanted: RunFiles
) -> None:
    """learning_curves.png and battle.gif in the run folder, where they are wanted."""
    metrics = folder / "metrics.csv"
    if wanted.curve and metrics.is_file():
        draw_learning_curves(metrics, folder / "learning_curves.png", sorted(data.seen))
