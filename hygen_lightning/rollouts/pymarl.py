"""A recurrent agent of PyMARL or EPyMARL as a policy: the weights that those write as agent.th.

    x = relu(fc1([obs | last action, one-hot | agent number, one-hot]))
    h = rnn(x, h)                 a GRU cell
    q = fc2(h)                    the available action of the highest value is taken

The last action is zeros before the first step. Whether it and the agent number are appended is not
in the file: it follows from the width of fc1, or is said by `inputs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from hygen_lightning.policy import AgentInputs, PolicyOutput
from hygen_lightning.specs import TaskSpec, UserError

if TYPE_CHECKING:
    from hygen_lightning.specs import Observation

_LINEAR, _GRU = ("weight", "bias"), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_LAYERS = {"fc1": _LINEAR, "rnn": _GRU, "fc2": _LINEAR}
_WEIGHTS = {f"{layer}.{name}" for layer, names in _LAYERS.items() for name in names}


class PymarlAgent(nn.Module):
    """Plays the one task that it was trained on: its vectors have that task's sizes.

    obs_dim, n_actions (K) and n_agents (A) are those of the task, hidden_dim the width of the GRU.
    """

    def __init__(
        self, obs_dim: int, n_actions: int, n_agents: int, hidden_dim: int, inputs: AgentInputs
    ) -> None:
        super().__init__()
        self.n_actions, self.n_agents, self.inputs = n_actions, n_agents, inputs.split("+")
        self.fc1 = nn.Linear(input_dim(obs_dim, n_actions, n_agents, inputs), hidden_dim)
        self.rnn = nn.GRUCell(hidden_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, n_actions)

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> Tensor:
        """[B, A, hidden_dim] zeros."""
        return self.fc1.weight.new_zeros(num_envs, self.n_agents, self.rnn.hidden_size)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B environments; see `Policy.act`."""
        parts = [observation.obs]
        if "last_action" in self.inputs:
            nothing_yet = (last_actions < 0).unsqueeze(-1)
            one_hot = nn.functional.one_hot(last_actions.clamp(min=0), self.n_actions)
            parts.append(one_hot.masked_fill(nothing_yet, 0))
        if "agent_id" in self.inputs:
            parts.append(
                torch.eye(self.n_agents, device=last_actions.device).expand(len(last_actions), -1, -1)
            )
        x = torch.relu(self.fc1(torch.cat(parts, dim=-1).flatten(0, 1)))  # [B A, hidden_dim]
        hidden = self.rnn(x, hidden.flatten(0, 1)).view_as(hidden)
        values = self.fc2(hidden).masked_fill(~observation.avail_actions, -torch.inf)  # [B, A, K]
        return PolicyOutput(values.argmax(dim=-1), hidden)


def input_dim(obs_dim: int, n_actions: int, n_agents: int, inputs: AgentInputs) -> int:
    """Width of fc1 for these inputs."""
    widths = {"obs": obs_dim, "last_action": n_actions, "agent_id": n_agents}
    return sum(widths[part] for part in inputs.split("+"))


def load_pymarl_agent(path: str | Path, task: TaskSpec, inputs: AgentInputs | None = None) -> PymarlAgent:
    """The agent of a state dict, or of the folder that PyMARL saved it in, ready to play `task`.

    inputs: what is appended to the observation; None: what the width of fc1 says. UserError where
    the file is none, where its sizes are not the task's, and where the width allows two readings.
    """
    file = Path(path) / "agent.th" if Path(path).is_dir() else Path(path)
    state = _read(file)
    sizes = task.layout.obs_dim, task.layout.n_actions, task.n_allies
    n_actions, hidden_dim = state["fc2.weight"].shape
    if n_actions != task.layout.n_actions:
        raise UserError(
            f"{file}: the agent chooses among {n_actions} actions, {task.name} has {task.layout.n_actions}"
        )
    agent = PymarlAgent(*sizes, hidden_dim, _inputs(file, state["fc1.weight"].shape[1], task, inputs))
    try:
        agent.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{file}: its layers do not fit one another, no agent of PyMARL") from error
    return agent.eval().requires_grad_(False)


def _inputs(file: Path, width: int, task: TaskSpec, said: AgentInputs | None) -> AgentInputs:
    """What the agent sees; UserError where its width fits no reading, or two and none was said."""
    sizes = task.layout.obs_dim, task.layout.n_actions, task.n_allies
    readings: list[AgentInputs] = [said] if said else list(get_args(AgentInputs))
    fitting = [reading for reading in readings if input_dim(*sizes, reading) == width]
    if not fitting:
        known = ", ".join(f"{reading} {input_dim(*sizes, reading)}" for reading in readings)
        raise UserError(f"{file}: the agent's input is {width} wide, of {task.name} it would be: {known}")
    if len(fitting) > 1:
        raise UserError(f"{file}: an input {width} wide may be {' or '.join(fitting)}; give --policy_inputs")
    return fitting[0]


def _read(file: Path) -> dict[str, Tensor]:
    """The weights in a file; UserError if it is none of a recurrent agent."""
    if not file.is_file():
        raise UserError(f"no agent at {file}; give the agent.th that PyMARL saved")
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever another kind of file or a damaged pickle raises
        raise UserError(
            f"{file} cannot be read as a state dict, it is another kind of file or damaged"
        ) from error
    names = set(state) if isinstance(state, dict) else set()
    if names != _WEIGHTS:
        odd = sorted(names ^ _WEIGHTS)[0]
        raise UserError(
            f"{file}: no recurrent agent of PyMARL: {odd} is {'not known' if odd in names else 'missing'}; "
            "agents that share no weights, those without a GRU, and those with more layers are not played"
        )
    return {name: weight.float() for name, weight in state.items()}
