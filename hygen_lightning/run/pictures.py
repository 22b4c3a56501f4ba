"""The pictures at the end of a run: learning curves, one unseen battle, and what skills do."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from hygen_lightning.envs import make_env
from hygen_lightning.report.battle_picture import draw_battle
from hygen_lightning.report.learning_curves import draw_learning_curves
from hygen_lightning.report.results import write_atomically
from hygen_lightning.report.skill_plot import draw_skills
from hygen_lightning.rollouts.runner import play
from hygen_lightning.run.skill_report import measure_skills, verdict_on
from hygen_lightning.seeding import battle_seeds
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from hygen_lightning.algorithms.base import MultiTaskAlgorithm
    from hygen_lightning.algorithms.hygen import HyGen
    from hygen_lightning.data.datamodule import HybridDataModule


def draw_curves(model: MultiTaskAlgorithm, data: HybridDataModule, folder: Path) -> None:
    """learning_curves.png beside the metrics.csv that it is drawn from, if there is one."""
    metrics = folder / "metrics.csv"
    if not metrics.is_file():
        return
    try:
        switch = model.offline_phase_steps
        draw_learning_curves(metrics, folder / "learning_curves.png", sorted(data.seen), switch)
    except UserError as error:  # a run of a few steps logs nothing to draw; its results stand
        print(error, flush=True)


def draw_unseen_battle(model: MultiTaskAlgorithm, data: HybridDataModule, folder: Path, env: str) -> None:
    """battle.gif: the first unseen task (or, without one, the first task), played greedily."""
    unseen = [task for task in data.eval_tasks if task.name not in data.seen]
    task = (unseen or data.eval_tasks)[0]
    with closing(make_env(env, task, 1)) as battles:
        played = play(battles, model.eval().cpu(), battle_seeds(1, data.seed, "picture", task.name))
    success = bool(played.success[0])
    title = "unseen in training" if unseen else ""
    try:
        draw_battle(folder / "battle.gif", task, played.episodes, played.skills, success=success, title=title)
    except UserError as error:  # a world without places has no picture; the run's results stand
        print(f"no battle.gif: {error}", flush=True)


SKILL_BATTLES = 32
"""Battles per choice of skills at the end of a run; the command `skills` plays more, and in more ways."""


def show_skills(model: HyGen, data: HybridDataModule, folder: Path, env: str) -> None:
    """skills.json and skills.png: the first training task and the first unseen one, played greedily with
    each skill fixed and otherwise chosen; one line that says whether they differ."""
    unseen = [task for task in data.eval_tasks if task.name not in data.seen]
    tasks, on = [data.train_tasks[0], *unseen[:1]], model.cpu()
    reports = [measure_skills(on, task, SKILL_BATTLES, env, data.seed, ["greedy"]) for task in tasks]
    told = {report.task: report.to_json() for report in reports}
    write_atomically(folder / "skills.json", json.dumps(told, indent=2) + "\n")
    battles = {report.task: report.battle.numpy() for report in reports}
    draw_skills(battles, model.network.n_skills, folder / "skills.png")
    print(verdict_on(reports), flush=True)
