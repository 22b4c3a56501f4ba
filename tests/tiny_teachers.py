"""Teachers for tests of `collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CLONES: dict[str, Any] = {
    "fit": {
        "--config": "conf/bc.yaml",
        "--data.quality": "expert",
        "--run.record_episodes": 100,
        "--run.teachers": "scripted",
        "--data.batch_size": 16,
        "--data.test_episodes": 2,
        "--model.init_args.width": 16,
        "--model.init_args.lr": 5e-3,
        "--files.curve": False,
        "--files.battle_gif": False,
        "--trainer.accelerator": "cpu",
        "--trainer.val_check_interval": 1000,
        "--checkpoint.every_n_steps": 5,
    },
    "styles": [{}, {"--model.init_args.width": 8}],
    "max_steps": {"others": 60},
    "env_steps_per_step": 1,
    "points": 4,
    "point_battles": 16,
    "choice_battles": 16,
    "within": 1.0,
    "least_expert": 0.0,
}
"""Teachers that learn in seconds: clones of the scripted recordings."""


def clones(folder: Path, **other: Any) -> Path:
    """A recipe of such teachers, in this folder."""
    path = folder / "clones.yaml"
    path.write_text(yaml.safe_dump({**CLONES, **other}), encoding="utf-8")
    return path
