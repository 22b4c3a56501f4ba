"""Which skill each unit uses over the time of a battle, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hygen_lightning.report.style import AXIS_INK, INK, SERIES_COLOURS, new_figure, save_figure, tidy_axes


def skill_colour(skill: int) -> str:
    """The colour of a skill; they repeat after eight."""
    return SERIES_COLOURS[skill % len(SERIES_COLOURS)]


def draw_skills(battles: Mapping[str, np.ndarray], n_skills: int, picture: Path) -> None:
    """Draw a battle of each task: a row per unit, a cell per environment step in its skill's colour.

    battles: task -> skills [T, A] int, of the steps played.
    """
    from matplotlib.patches import Patch

    heights = [0.6 + 0.22 * skills.shape[1] for skills in battles.values()]
    figure = new_figure(width=8.0, height=0.7 + sum(heights))
    plots = figure.subplots(len(battles), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (task, skills) in zip(plots, battles.items()):
        tidy_axes(axes, task, "environment steps")
        axes.grid(visible=False)
        for unit, row in enumerate(skills.T):
            for step, skill in enumerate(row):
                axes.barh(unit, 1.0, left=step, height=0.8, color=skill_colour(int(skill)))
        axes.set_yticks(range(skills.shape[1]), [f"ally {unit + 1}" for unit in range(skills.shape[1])])
        axes.invert_yaxis()
        axes.set_xlim(0, max(len(skills), 1))
    patches = [Patch(color=skill_colour(skill), label=f"skill {skill}") for skill in range(n_skills)]
    figure.legend(handles=patches, loc="outside upper right", ncols=n_skills, frameon=False, labelcolor=INK)
    figure.suptitle("Skills over a battle", x=0.01, ha="left", color=AXIS_INK, fontsize=10)
    save_figure(figure, picture)
