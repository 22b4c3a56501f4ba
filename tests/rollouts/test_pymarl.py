"""Agents of PyMARL: made-up weights whose play is computed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hygen_lightning.cli import main
from hygen_lightning.data.hdf5 import read_folder
from hygen_lightning.envs import make_env
from hygen_lightning.policy import AgentInputs
from hygen_lightning.rollouts.policies import named_policy
from hygen_lightning.rollouts.pymarl import input_dim, load_pymarl_agent
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
HIDDEN = 7


def made_up(task: TaskSpec = TASK, inputs: AgentInputs = "obs+last_action+agent_id") -> dict[str, Tensor]:
    """A state dict with the names and shapes that PyMARL writes."""
    layout, generator = task.layout, torch.Generator().manual_seed(1)
    shapes = {
        "fc1.weight": (HIDDEN, input_dim(layout.obs_dim, layout.n_actions, task.n_allies, inputs)),
        "fc1.bias": (HIDDEN,),
        "rnn.weight_ih": (3 * HIDDEN, HIDDEN),
        "rnn.weight_hh": (3 * HIDDEN, HIDDEN),
        "rnn.bias_ih": (3 * HIDDEN,),
        "rnn.bias_hh": (3 * HIDDEN,),
        "fc2.weight": (layout.n_actions, HIDDEN),
        "fc2.bias": (layout.n_actions,),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def saved(folder: Path, state: object, name: str = "agent.th") -> Path:
    torch.save(state, folder / name)
    return folder / name


def by_hand(w: dict[str, Tensor], x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """x [rows, in], h [rows, HIDDEN] -> values [rows, K], h: the equations of a GRU written out."""
    x = (x @ w["fc1.weight"].T + w["fc1.bias"]).clamp(min=0)
    from_x = (x @ w["rnn.weight_ih"].T + w["rnn.bias_ih"]).chunk(3, dim=-1)
    from_h = (h @ w["rnn.weight_hh"].T + w["rnn.bias_hh"]).chunk(3, dim=-1)
    reset, update = (torch.sigmoid(from_x[k] + from_h[k]) for k in (0, 1))
    new = torch.tanh(from_x[2] + reset * from_h[2])
    h = (1 - update) * new + update * h
    return h @ w["fc2.weight"].T + w["fc2.bias"], h


def one_hot(actions: Tensor) -> Tensor:
    """actions [A] -> [A, K]; -1 becomes zeros."""
    rows = torch.zeros(len(actions), TASK.layout.n_actions)
    for row, action in zip(rows, actions.tolist()):
        if action >= 0:
            row[action] = 1.0
    return rows


@pytest.mark.parametrize("inputs", ["obs", "obs+last_action", "obs+agent_id", "obs+last_action+agent_id"])
def test_an_agent_plays_as_its_equations_say(tmp_path: Path, inputs: AgentInputs) -> None:
    weights = made_up(inputs=inputs)
    policy = named_policy(str(saved(tmp_path, weights)), TASK)
    episodes = play(make_env("simulator", TASK, 3), policy, torch.arange(3)).episodes
    assert int(episodes.length.min()) > 3
    for row in range(3):
        hidden = torch.zeros(3, HIDDEN)
        for step in range(int(episodes.length[row])):
            x = {
                "obs": episodes.obs[row, step],
                "last_action": one_hot(episodes.last_actions[row, step]),
                "agent_id": torch.eye(3),
            }
            seen = torch.cat([x[part] for part in inputs.split("+")], dim=-1)
            values, hidden = by_hand(weights, seen, hidden)
            values[~episodes.avail_actions[row, step]] = -torch.inf
            assert episodes.actions[row, step].tolist() == values.argmax(-1).tolist(), (row, step)


def test_the_folder_that_pymarl_saved_into_names_the_agent_too(tmp_path: Path) -> None:
    weights = made_up()
    saved(tmp_path, weights)
    agent = load_pymarl_agent(tmp_path, TASK)
    assert torch.equal(agent.fc2.bias, weights["fc2.bias"])


def test_two_readings_of_a_width_are_refused_until_the_user_says_one(tmp_path: Path) -> None:
    equal = load_task("cn-5")
    assert equal.layout.n_actions == equal.n_allies == 5
    path = saved(tmp_path, made_up(equal, "obs+agent_id"))
    with pytest.raises(UserError, match=r"obs\+last_action or obs\+agent_id; give --policy_inputs"):
        load_pymarl_agent(path, equal)
    assert load_pymarl_agent(path, equal, "obs+agent_id").inputs == ["obs", "agent_id"]
    assert load_pymarl_agent(path, equal, "obs+last_action").inputs == ["obs", "last_action"]


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("state", "task", "complaint"),
    [
        (made_up(), "8m", "chooses among 9 actions, 8m has 14"),
        (made_up(), "2s3z", "chooses among 9 actions, 2s3z has 11"),
        (
            made_up() | {"fc1.weight": torch.zeros(HIDDEN, 31)},
            "3m",
            "input is 31 wide, of 3m it would be: obs 30,",
        ),
        (made_up() | {"rnn.bias_hh": torch.zeros(4)}, "3m", "do not fit one another"),
        (without(made_up(), "fc2.bias"), "3m", "fc2.bias is missing"),
        (made_up() | {"q_network.weight": torch.zeros(4)}, "3m", "q_network.weight is not known"),
        ({"agents.0.fc1.weight": torch.zeros(4)}, "3m", "agents that share no weights"),
        ([1, 2], "3m", "no recurrent agent of PyMARL"),
    ],
)
def test_other_files_and_sizes_are_one_line(tmp_path: Path, state: object, task: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        named_policy(str(saved(tmp_path, state)), load_task(task))
    assert "\n" not in str(caught.value)


def test_a_missing_and_a_damaged_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no agent at"):
        named_policy(str(tmp_path / "agent.th"), TASK)
    (tmp_path / "agent.pt").write_bytes(b"no weights")
    with pytest.raises(UserError, match="another kind of file or damaged"):
        named_policy(str(tmp_path / "agent.pt"), TASK)


def test_collect_and_players_play_an_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved(tmp_path, made_up()))
    assert main(["players", "--tasks", "[3m]", "--policies", f"[random,{path}]", "--episodes", "3"]) == 0
    assert "agent.th" in capsys.readouterr().out
    argv = ["collect", "3m", "--dataset_dir", str(tmp_path), "--episodes", "3", "--policy", path]
    assert main([*argv, "--policy_inputs", "obs"]) == 2
    assert "input is 42 wide" in capsys.readouterr().err
    assert main(argv) == 0
    assert len(read_folder(tmp_path / "3m", TASK)) == 3
