"""What the machine that a command runs on can do, and whether it is done."""

from __future__ import annotations

from hygen_lightning.specs import UserError


def check_device(name: str) -> None:
    """UserError if torch knows no such device, or if this machine cannot compute on it."""
    import torch

    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name} cannot be used on this machine; {_usable()}") from error


def _usable() -> str:
    """What may be given instead, in words."""
    import torch

    n_gpus = torch.cuda.device_count()
    return f"give cpu or cuda (GPUs found: {n_gpus})" if n_gpus else "torch finds no GPU here, so give cpu"


def can_compile(device: str) -> bool:
    """Whether code can be compiled for this device: a CPU needs a C++ compiler, a GPU needs Triton."""
    import torch

    from hygen_lightning.envs.simulator.switch import compiler

    if torch.device(device).type == "cpu":
        return compiler() is not None
    try:
        torch.compile(torch.sin)(torch.zeros(1, device=device))
    except RuntimeError:
        return False
    return True


def check_compiler(device: str) -> None:
    """UserError if nothing can be compiled for this device."""
    if not can_compile(device):
        raise UserError(
            f"--compiled true: nothing can be compiled for {device} here; install a C++ compiler"
            " (for a GPU, Triton), or give --compiled false"
        )
