"""The device that a command computes on: checked before the work starts, waited for when time is read."""

from __future__ import annotations

from hygen_lightning.specs import UserError


def check_device(name: str) -> None:
    """UserError if torch knows no such device, or if this machine cannot compute on it."""
    import torch

    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"--device {name} cannot be used on this machine; give cpu, or cuda where torch finds a GPU"
        ) from error


def wait_for(device: str) -> None:
    """Return when the device has done all that it was asked to do."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
