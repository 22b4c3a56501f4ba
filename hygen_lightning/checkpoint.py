"""A checkpoint as a file: read whole, or one line that says what is wrong and what to give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hygen_lightning.specs import UserError

WHAT_TO_GIVE = "give a last.ckpt or best.ckpt, they lie in runs/<name>/<run>/checkpoints"


def read_checkpoint(path: str | Path, *parts: str) -> dict[str, Any]:
    """The content of a checkpoint, tensors on CPU; UserError if the file is none or lacks one of `parts`."""
    if not Path(path).is_file():
        raise UserError(f"no checkpoint at {path}; {WHAT_TO_GIVE}")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = sorted(set(parts) - set(content))
    except PermissionError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; make it readable or give another"
        ) from error
    except Exception as error:  # whatever another kind of file or a damaged pickle raises
        raise UserError(
            f"{path} cannot be read as a checkpoint, it is another kind of file or damaged; {WHAT_TO_GIVE}"
        ) from error
    if missing:
        raise UserError(
            f"{path} is not a whole checkpoint of this package, {missing[0]} is missing; {WHAT_TO_GIVE}"
        )
    return content
