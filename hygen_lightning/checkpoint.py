"""A checkpoint as a file: read whole, or one line that says what is wrong and what to give."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hygen_lightning.specs import UserError, check_is_file

if TYPE_CHECKING:
    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import TaskSpec

WHAT_TO_GIVE = "give a last.ckpt or best.ckpt, they lie in runs/<name>/<run>/checkpoints"


def read_checkpoint(path: str | Path, *parts: str) -> dict[str, Any]:
    """The content of a checkpoint, tensors on CPU; UserError if the file is none or lacks one of `parts`."""
    check_is_file(Path(path), WHAT_TO_GIVE)
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


def load_policy(ckpt_path: str | Path, task: TaskSpec) -> Policy:
    """The algorithm of a checkpoint, ready to act; its class may lie in any file that can be imported.

    UserError if the file is no checkpoint of this package, if its class cannot be imported, or if
    its policy plays another family of tasks.
    """
    content = read_checkpoint(ckpt_path, "model_config", "hyper_parameters", "trained_on", "state_dict")
    kind = _class(ckpt_path, content["model_config"]["class_path"])
    model = kind(**content["hyper_parameters"])
    model.on_load_checkpoint(content)
    model.load_state_dict(content["state_dict"])
    if model.widths != task.layout.widths:
        raise UserError(
            f"{ckpt_path} plays {', '.join(content['trained_on'])} and tasks like these; "
            f"{task.name} describes units by other features"
        )
    policy: Policy = model.eval()
    return policy


def weights_of(path: str, network: Any, option: str) -> dict[str, torch.Tensor]:
    """Weights for `network` out of a checkpoint: the average that plays, where it keeps one.

    option: the model's option that named the file. UserError if they are of another architecture.
    """
    try:
        state = read_checkpoint(path, "state_dict")["state_dict"]
    except UserError as error:
        raise UserError(f"--model.{option}: {error}") from error
    average = "average.module."
    prefix = average if any(name.startswith(average) for name in state) else "network."
    own = {name[len(prefix) :]: x for name, x in state.items() if name.startswith(prefix)}
    if {name: x.shape for name, x in own.items()} != _shapes(network):
        hint = "give the same --model options as its run (they are in its config.yaml)"
        raise UserError(f"--model.{option} {path} has another architecture; {hint}")
    return own


def _class(ckpt_path: str | Path, class_path: str) -> Any:
    """The class of a checkpoint's algorithm."""
    module, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{ckpt_path} is of the class {class_path}, which cannot be imported ({error}); "
            "put the folder of its file on PYTHONPATH"
        ) from error


def _other_architecture(model: Any, checkpoint: dict[str, Any]) -> str | None:
    """One line saying why a checkpoint's weights do not fit an algorithm; None if they do."""
    saved = checkpoint["state_dict"]
    if {name: x.shape for name, x in saved.items()} == _shapes(model):
        return None
    options = checkpoint.get("hyper_parameters", {})
    if options.get("widths") != asdict(model.widths):
        return "the checkpoint is of another task family: its entities have other features than these tasks"
    kind = checkpoint["model_config"]["class_path"].rpartition(".")[2]
    if kind != type(model).__name__:
        asked = type(model).__name__
        hint = f"leave --model out, or give a checkpoint of {asked}"
        return f"the checkpoint is of {kind}, the options ask for {asked}; {hint}"
    others = [
        f"{name} {model.hparams[name]} (the checkpoint's is {value})"
        for name, value in options.items()
        if name in model.hparams and model.hparams[name] != value and _shapes_follow(model, name, value)
    ]
    return (
        f"the checkpoint is of another architecture than the options ask for: {', '.join(others)}; "
        "leave these options out, a checkpoint brings its own"
    )


def check_architecture(model: Any, checkpoint: dict[str, Any]) -> None:
    """UserError where a checkpoint's weights do not fit an algorithm."""
    problem = _other_architecture(model, checkpoint)
    if problem is not None:
        raise UserError(problem)


def check_goes_on(model: Any, checkpoint: dict[str, Any], path: str | Path, max_steps: int) -> None:
    """UserError where training of `model` cannot go on from a checkpoint: other networks, weights alone, or
    more steps done than asked for (max_steps: -1 for no limit)."""
    done = checkpoint.get("global_step", 0)
    if 0 <= max_steps < done:
        raise UserError(f"{path} is of step {done}, --trainer.max_steps is {max_steps}; give more")
    check_architecture(model, checkpoint)
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"{path} holds weights only, no run goes on from it; "
            "give the last.ckpt beside it, or start anew from it with --model.init_args.skills_from"
        )


def _shapes_follow(model: Any, name: str, value: Any) -> bool:
    """Whether the sizes of an algorithm's networks would be others with this value of an option."""
    taken = signature(type(model)).parameters
    options = {key: known for key, known in model.hparams.items() if key in taken}
    try:
        other = type(model)(**{**options, "widths": model.widths, name: value})
    except UserError:  # a value that does not go with the others
        return True
    return _shapes(other) != _shapes(model)


def _shapes(model: Any) -> dict[str, torch.Size]:
    return {name: x.shape for name, x in model.state_dict().items()}
