"""Where a run writes: `runs/<name>/<time>-s<seed>/`, and how a stopped run is found again."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hygen_lightning.data.files import check_place
from hygen_lightning.specs import UserError

_RUN_DIR_VARIABLE = "HYGEN_LIGHTNING_RUN_DIR"
"""Tells the other processes of one multi-process run which folder the first one chose."""


def new_run_dir(root: str, name: str, seed: int) -> Path:
    """A folder that does not exist yet; all processes of one run get the same one."""
    inherited = os.environ.get(_RUN_DIR_VARIABLE)
    if inherited and os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(inherited)
    stem = Path(root) / name / f"{time.strftime('%Y%m%d-%H%M%S')}-s{seed}"
    check_place(stem)
    folder, count = stem, 1
    while folder.exists():
        count += 1
        folder = stem.with_name(f"{stem.name}-{count}")
    os.environ[_RUN_DIR_VARIABLE] = str(folder)
    return folder


def last_checkpoint(root: str, name: str, seed: int) -> Path | None:
    """`last.ckpt` of the newest unfinished run of this name and seed; None if there is none."""
    runs = sorted((Path(root) / name).glob(f"*-s{seed}*"), key=lambda p: p.name, reverse=True)
    for run in runs:
        checkpoint = run / "checkpoints" / "last.ckpt"
        if checkpoint.is_file() and not (run / "results.json").exists():
            return checkpoint
    return None


def run_dir_of(checkpoint: Path) -> Path:
    """The run folder that a checkpoint lies in (`<run>/checkpoints/<file>`)."""
    if not checkpoint.is_file():
        raise UserError(
            f"no checkpoint at {checkpoint}; give --ckpt_path FILE, it lies in runs/<name>/<run>/checkpoints"
        )
    return checkpoint.resolve().parent.parent
