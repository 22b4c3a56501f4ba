"""export: what torch alone plays from the file is what the checkpoint plays."""

from __future__ import annotations

import json
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import the_run, tiny_fit

from hygen_lightning import algorithms
from hygen_lightning.checkpoint import load_policy
from hygen_lightning.cli import main
from hygen_lightning.commands.export import act_program
from hygen_lightning.envs import make_env
from hygen_lightning.policy import Policy, PolicyOutput
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import Observation, TaskSpec, UserError
from hygen_lightning.tasks import load_task

pytestmark = pytest.mark.whole_battles
TASK = load_task("3m")

PLAIN_TORCH = """
import json, sys, torch
about = {"about.json": ""}
act = torch.export.load(sys.argv[1], extra_files=about).module()
seen = torch.load(sys.argv[2])
n, steps = seen["reward"].shape
hidden = [torch.zeros(n, *shape) for shape in json.loads(about["about.json"])["inputs"]["hidden"]]
last, reward, wrong = torch.full_like(seen["actions"][:, 0], -1), torch.zeros(n), 0
for t in range(steps):
    actions, hidden = act(seen["obs"][:, t], seen["avail_actions"][:, t], last, reward, hidden)
    wrong += int((actions != seen["actions"][:, t])[seen["filled"][:, t]].sum())
    last, reward = seen["actions"][:, t], seen["reward"][:, t]
print(wrong, int(seen["filled"].sum()), any(name.startswith("hygen") for name in sys.modules))
"""


class Exported:
    """A policy of the runner around a program."""

    def __init__(self, program: Any, hidden: list[list[int]]) -> None:
        self.program, self.shapes = program, hidden

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros(num_envs, *shape) for shape in self.shapes)

    def act(self, task: TaskSpec, observation: Observation, last_actions: Any, last_reward: Any, hidden: Any):
        seen = observation.obs, observation.avail_actions
        actions, hidden = self.program(*seen, last_actions, last_reward, list(hidden))
        return PolicyOutput(actions, tuple(hidden))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    few = ("--trainer.max_steps", "2", "--model.init_args.pretrain_steps", "1")
    lasting = ("--model.init_args.skill_steps", "3", "--model.init_args.prior_weight", "1")
    assert main([*tiny_fit(folder), *few, *lasting, "--trainer.val_check_interval", "2"]) == 0
    return the_run(folder) / "checkpoints" / "last.ckpt"


def test_torch_alone_plays_32_battles_as_the_checkpoint_does(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "there" / "policy.pt2"
    assert main(["export", str(checkpoint), str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["task"], told["bytes"]) == ("3m", out.stat().st_size)
    program, seeds = torch.export.load(out).module(), torch.arange(32)
    mine = play(make_env("simulator", TASK, 32), load_policy(checkpoint, TASK), seeds).episodes
    theirs = play(make_env("simulator", TASK, 32), Exported(program, told["inputs"]["hidden"]), seeds)
    assert torch.equal(mine.actions, theirs.episodes.actions)
    assert torch.equal(mine.obs, theirs.episodes.obs)

    names = ("obs", "avail_actions", "actions", "reward", "filled")
    torch.save({name: getattr(mine, name) for name in names}, tmp_path / "battles.pt")
    words = [sys.executable, "-I", "-c", PLAIN_TORCH, str(out), str(tmp_path / "battles.pt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["0", str(int(mine.filled.sum())), "False"]


@pytest.mark.parametrize("kind", algorithms.__all__)
def test_every_algorithm_is_exported_for_any_number_of_environments(kind: str) -> None:
    task = load_task("MMM")
    torch.manual_seed(0)
    cls = getattr(algorithms, kind)
    sizes = {name: n for name, n in {"width": 8, "n_heads": 1}.items() if name in signature(cls).parameters}
    policy = cls(task.layout.widths, **sizes).eval()
    program, about = act_program(policy, task)
    assert about["task"] == "MMM"
    for n in (1, 5):
        shape = (n, task.n_allies)
        obs, last = torch.rand(*shape, task.layout.obs_dim), torch.full(shape, -1)
        avail = torch.rand(*shape, task.layout.n_actions) < 0.5
        avail[..., 0] = True
        hidden = [torch.zeros(n, *shape) for shape in about["inputs"]["hidden"]]
        actions, _ = program.module()(obs, avail, last, torch.zeros(n), hidden)
        seen = Observation(obs, torch.zeros(n, task.layout.state_dim), avail)
        expected = policy.act(task, seen, last, torch.zeros(n), policy.initial_hidden(task, n))
        assert torch.equal(actions, expected.actions)


class Peeking:
    """A policy that no decentralised unit could follow."""

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> torch.Tensor:
        return torch.zeros(num_envs)

    def act(self, task: Any, observation: Observation, last_actions: Any, last_reward: Any, hidden: Any):
        return PolicyOutput((observation.state[:, :1] > 0).expand_as(last_actions).long(), hidden)


class Waking(Peeking):
    """A policy whose hidden state begins with ones."""

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> torch.Tensor:
        return torch.ones(num_envs)


@pytest.mark.parametrize(("policy", "why"), [(Peeking(), "cannot be exported: "), (Waking(), "not zeros")])
def test_what_cannot_be_exported_is_one_line(policy: Policy, why: str) -> None:
    with pytest.raises(UserError, match=why) as refusal:
        act_program(policy, TASK)
    assert "\n" not in str(refusal.value)


def test_wrong_words_are_one_line_each(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "x.pt2")
    for words in (
        [str(checkpoint), str(tmp_path / "x.pt")],
        [str(tmp_path / "none.ckpt"), out],
        [str(checkpoint), out, "--task", "5k"],
        [str(checkpoint), out, "--task", "2s3z"],
        [str(checkpoint), str(checkpoint / "x.pt2")],
    ):
        capsys.readouterr()
        assert main(["export", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
