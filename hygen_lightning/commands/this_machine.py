"""What the machine that a command runs on can do, and whether it is done."""

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


def can_compile() -> bool:
    """Whether `torch.compile` works here: it needs a C++ compiler (on a GPU, Triton)."""
    import torch

    try:
        torch.compile(torch.sin)(torch.zeros(1))
    except RuntimeError:
        return False
    return True


def check_compiler(option: str) -> None:
    """UserError if `torch.compile` does not work here. option: what asked for it, "--compiled true"."""
    if not can_compile():
        raise UserError(
            f"{option}: torch.compile does not work on this machine; install a C++ compiler, or give"
            " --compiled false"
        )
