"""What a user may name as a policy: a scripted one, our checkpoint, an agent of PyMARL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.checkpoint import load_policy, read_checkpoint
from hygen_lightning.envs import environment_class, own_environment
from hygen_lightning.specs import TaskSpec, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hygen_lightning.policy import AgentInputs, Policy, PolicyOutput
    from hygen_lightning.specs import Observation

SMOOTHING = 0.05
"""Share (0..1) of random actions where a policy tells no probabilities to draw from."""

CHECKPOINT, PYMARL = ".ckpt", (".th", ".pt", ".pkl")
"""Suffixes of our checkpoints, and of the state dicts of PyMARL and EPyMARL."""


def named_policy(
    name: str,
    task: TaskSpec,
    env: str | None = None,
    seed: int = 0,
    policy_inputs: AgentInputs | None = None,
) -> Policy:
    """The policy of this name for a task, ready to play.

    name: a scripted policy of the task or of the environment `env` (the task's own, if not given), the
    path of a checkpoint (.ckpt), or that of an agent of PyMARL (a state dict .th, .pt, .pkl, or its
    folder). seed: of a scripted policy that draws. policy_inputs: what an agent of PyMARL sees, where
    its width does not say it.
    UserError for everything else.
    """
    from hygen_lightning.rollouts.scripted import scripted_policies

    scripted, path = scripted_policies(task, env or own_environment(task)), Path(name)
    if name in scripted:
        return scripted[name](seed)
    if path.suffix in PYMARL or path.is_dir():
        from hygen_lightning.rollouts.pymarl import load_pymarl_agent

        return load_pymarl_agent(path, task, policy_inputs)
    if path.suffix == CHECKPOINT or path.is_file():
        return load_policy(path, task)
    raise UserError(
        f"unknown policy {name!r}; choose one of {', '.join(scripted)}, a checkpoint (*{CHECKPOINT}) "
        f"or an agent of PyMARL (*{', *'.join(PYMARL)})"
    )


class Sampled:
    """A policy that draws its actions from the probabilities it tells, by torch's global generator."""

    def __init__(self, policy: Any) -> None:
        """policy: has `sample`, which takes what `act` takes."""
        self._policy = policy
        self.initial_hidden = policy.initial_hidden

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B battles; see `Policy.act`."""
        output: PolicyOutput = self._policy.sample(task, observation, last_actions, last_reward, hidden)
        return output


def smoothed(policy: Policy) -> tuple[Policy, float]:
    """The same policy without its near-ties, and the share (0..1) of random actions to play it with.

    Greedy win rates of neighbouring checkpoints differ by tens of points, smoothed ones by few.
    """
    return (Sampled(policy), 0.0) if hasattr(policy, "sample") else (policy, SMOOTHING)


def environment_of(policies: Sequence[str], env: str | None) -> str | None:
    """Where policies play: in `env` if it is given, else where the first checkpoint among them learned.

    None where neither says it: then the tasks do. A file that is imported for it may register tasks.
    """
    if env is None:
        checkpoints = [name for name in policies if Path(name).suffix == CHECKPOINT]
        known = [read_checkpoint(name).get("environment") for name in checkpoints]
        env = next((found for found in known if found), None)
    if env is not None:
        environment_class(env)
    return env


def policy_label(name: str) -> str:
    """How tables and pictures call a policy: a scripted one by its name, a file by its own."""
    return Path(name).name
