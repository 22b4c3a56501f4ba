"""What the command line asks for, against what a checkpoint was trained with."""

from __future__ import annotations

from typing import Any


def differences(saved: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """One line per value of `asked` that differs from the checkpoint's; the asked one is used.

    Both hold class_path and init_args of a model, as `checkpoint_model` and a parsed config do.
    """
    lines = []
    saved_class, asked_class = (str(config["class_path"]).rpartition(".")[2] for config in (saved, asked))
    if saved_class != asked_class:
        lines.append(f"--model {asked_class}, the checkpoint's was {saved_class}")
    old, new = saved["init_args"], asked["init_args"]
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            lines.append(f"--model.init_args.{name} {new[name]}, the checkpoint's was {old[name]}")
    return lines
