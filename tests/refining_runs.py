"""HyGen that refines: a small module of it, and a short run of both stages."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from factories import make_episodes

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def refining(**options: Any) -> HyGen:
    torch.manual_seed(0)
    given = {"width": 8, "n_heads": 1, "n_skills": 3, "pretrain_steps": 2, "refine_battles": 4} | options
    return HyGen(TASK.layout.widths, prior_weight=1.0, td_lambda=0.95, **given)


def both_stages(folder: Path, *tasks: str, **options: Any) -> list[str]:
    """`fit` with two steps of stage one and four of stage two; the tasks' recordings are written first."""
    for task in tasks:
        write_run(folder / "data" / task / "medium" / "run", make_episodes(load_task(task), 8))
    words = ["fit", "--model", "HyGen", "--run.root", str(folder / "runs")]
    words += [f"--data.train_tasks=[{','.join(tasks)}]"]
    words += [f"--data.dataset_dir={folder / 'data'}", "--data.quality=medium", "--data.batch_size=4"]
    words += ["--data.eval_episodes=2", "--data.test_episodes=2", "--trainer.log_every_n_steps=1"]
    words += ["--files.curve=false", "--files.battle_gif=false", "--trainer.accelerator=cpu"]
    given = {"width": 8, "n_heads": 1, "pretrain_steps": 2, "prior_weight": 1, "refine_battles": 4}
    given |= {"refine_epochs": 1, "refine_minibatches": 2, "skill_steps": 5} | options
    words += [f"--model.init_args.{name}={value}" for name, value in given.items()]
    words += ["--data.share_begin=0.5", "--data.share_end=0", "--data.share_steps=2"]
    return [*words, "--trainer.max_steps=6", "--files.skills=false"]


def logged(folder: Path) -> list[dict[str, str]]:
    """The rows of the run's metrics.csv."""
    (table,) = folder.rglob("metrics.csv")
    return list(csv.DictReader(table.open()))
