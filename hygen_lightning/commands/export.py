"""Write a checkpoint's acting step as a program that torch alone can run."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.specs import Observation, UserError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import TaskSpec

ABOUT = "about.json"
"""The extra file beside the program: its task and the shapes of its inputs."""


def export(ckpt_path: Path, out: Path, task: str | None = None, json: bool = False) -> int:
    """Write one step of the policy on one task, any number of environments at once, with `torch.export`.

    No file of this package is needed to run it:

        program = torch.export.load("policy.pt2").module()
        actions, hidden = program(obs, avail_actions, last_actions, last_reward, hidden)

    obs [B, A, obs_dim] float32, avail_actions [B, A, K] bool, last_actions [B, A] int64 (-1 before
    the first step), last_reward [B] float32, hidden a list of tensors [B, ...], zeros before the
    first step -> actions [B, A] int64 and the next hidden. `extra_files={"about.json": ""}` given
    to `load` receives the task's name and these shapes.

    Args:
        ckpt_path: the checkpoint whose policy acts
        out: the file to write; its name ends in .pt2
        task: the task to act on (if not given, the first that the policy was trained on)
        json: one JSON object on stdout, instead of a line
    """
    import torch

    from hygen_lightning.checkpoint import load_policy, read_checkpoint
    from hygen_lightning.commands.output import print_json
    from hygen_lightning.data.files import check_place, replacing
    from hygen_lightning.envs import environment_class
    from hygen_lightning.tasks import load_task

    if out.suffix != ".pt2":
        raise UserError(f"{out}: the name of an exported program ends in .pt2")
    check_place(out, is_file=True)
    content = read_checkpoint(ckpt_path, "trained_on")
    if "environment" in content:
        environment_class(content["environment"])  # a file that is imported for it may register tasks
    named = [task] if task is not None else list(content["trained_on"].values())
    if not named:
        raise UserError(f"{ckpt_path} does not say what it was trained on; give --task")
    spec = load_task(named[0])
    policy = load_policy(ckpt_path, spec)
    program, about = act_program(policy, spec)
    with replacing(out) as temporary, temporary.open("wb") as file:
        torch.export.save(program, file, extra_files={ABOUT: json_format.dumps(about)})
    found = {"out": str(out), **about, "bytes": out.stat().st_size}
    if json:
        print_json(found)
    else:
        print(f"{out}: acts on {spec.name}, {found['bytes'] / 1e6:.1f} MB")
    return 0


def act_program(policy: Policy, task: TaskSpec) -> tuple[ExportedProgram, dict[str, Any]]:
    """One step of a policy as a program, and what `about.json` says of it.

    UserError if the policy cannot be exported: it starts from a hidden state that is not zeros, reads
    the state, or chooses what it computes by the numbers that it sees.
    """
    import torch
    from torch.export import Dim
    from torch.utils import _pytree as trees

    from hygen_lightning.models import fast

    n, layout = 2, task.layout
    hidden, tree = trees.tree_flatten(policy.initial_hidden(task, n))
    if any(bool(x.any()) for x in hidden):
        raise UserError("this policy cannot be exported: its first hidden state is not zeros")

    class Act(torch.nn.Module):
        """The acting step; the policy's weights become constants of the program."""

        def forward(self, obs, avail_actions, last_actions, last_reward, hidden):  # type: ignore[no-untyped-def]
            seen = Observation(obs, None, avail_actions)  # type: ignore[arg-type]
            state = trees.tree_unflatten(hidden, tree)
            output = policy.act(task, seen, last_actions, last_reward, state)
            return output.actions, trees.tree_leaves(output.hidden)

    agents = (n, layout.n_allies)
    inputs: dict[str, Any] = {
        "obs": torch.rand(*agents, layout.obs_dim),
        "avail_actions": torch.ones(*agents, layout.n_actions, dtype=torch.bool),
        "last_actions": torch.full(agents, -1),
        "last_reward": torch.zeros(n),
        "hidden": hidden,
    }
    batch = Dim("num_envs", min=1)
    dynamic = {name: {0: batch} if name != "hidden" else [{0: batch} for _ in hidden] for name in inputs}
    try:
        with fast.by_definition(), torch.no_grad():
            program = torch.export.export(Act(), tuple(inputs.values()), dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # whatever a policy does that cannot be traced
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"this policy cannot be exported: {reason}") from error
    shapes = {name: list(x.shape[1:]) for name, x in inputs.items() if name != "hidden"}
    shapes["hidden"] = [list(x.shape[1:]) for x in hidden]
    return program, {"task": task.name, "inputs": shapes}
