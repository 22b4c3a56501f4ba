"""What the command line asks for, against what a run was started with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hygen_lightning.run.arguments import checkpoint_model

NOT_COMPARED = ("ckpt_path", "resume", "config", "weights_only", "trainer.callbacks")
"""Options that say how a run goes on, or that hold whole objects."""


def started_with(checkpoint: Path, command: str) -> dict[str, Any]:
    """The nested config that a checkpoint's run was started with; of other commands the model only."""
    path = checkpoint.resolve().parent.parent / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8")) if command == "fit" and path.is_file() else {}
    return {**(config or {}), "model": checkpoint_model(checkpoint)}


def differences(saved: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """One line per option in both nested configs whose values differ; the asked one is used."""
    old, new = dict(_flat(saved)), dict(_flat(asked))
    return [
        f"--{name} {new[name]}, the run's was {old[name]}"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name] and not name.startswith(NOT_COMPARED)
    ]


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested config; of a class only its name counts."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif key == "class_path":
            yield f"{prefix}{key}", str(value).rpartition(".")[2]
        else:
            yield f"{prefix}{key}", value
