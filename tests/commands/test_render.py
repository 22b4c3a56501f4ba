"""The command `render`: a battle of a scripted policy, of a checkpoint, or of a recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hygen_lightning.cli import main
from hygen_lightning.commands import render as command
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs import make_env
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.seeding import battle_seeds
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import STOP

pytestmark = pytest.mark.whole_battles

render = command.render


@pytest.fixture(autouse=True)
def _few_battles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "CANDIDATES", 3)


def test_a_scripted_battle_becomes_a_strip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "strip.png"
    assert render(task="2s3z", policy="focus_fire", out=out) == 0
    assert "2s3z by focus_fire" in capsys.readouterr().out
    with Image.open(out) as strip:
        assert strip.width == 3 * 400 + 12


def test_json_says_what_was_drawn_and_the_seed_decides_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[dict[str, Any]] = []
    bytes_of: list[bytes] = []
    for seed in ("1", "1", "2"):
        out = tmp_path / f"{len(told)}.png"
        options = ["--policy", "random", "--seed", seed, "--pick", "failure", "--out", str(out), "--json"]
        assert main(["render", *options]) == 0
        told.append(json.loads(capsys.readouterr().out))
        bytes_of.append(out.read_bytes())
    assert told[0]["success"] is False
    assert told[0]["bytes"] == len(bytes_of[0])
    assert told[0]["length"] == told[1]["length"]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_the_longest_battle_is_the_longest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(policy="random", pick="longest", seed=1, out=tmp_path / "a.png", json=True)
    longest = json.loads(capsys.readouterr().out)["length"]
    seeds = battle_seeds(command.CANDIDATES, 1, "render", "3m")
    env, random = make_env("simulator", load_task("3m"), len(seeds)), scripted_policy("random", 1)
    lengths = play(env, random, seeds).lengths.tolist()
    assert longest == max(lengths) > min(lengths)


def test_a_recorded_episode_is_drawn_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = load_task("3m")
    seeds = torch.arange(2)
    played = play(make_env("simulator", task, 2), scripted_policy("random", 3), seeds)
    write_run(tmp_path / "3m" / "medium" / "run", played.episodes)
    render(recording=tmp_path / "3m" / "medium", out=tmp_path / "r.png", json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["length"], told["success"]) == (int(played.lengths[0]), bool(played.success[0]))


class _Statue:
    """A policy that stands still and always chooses skill 2."""

    def initial_hidden(self, task: Any, num_envs: int) -> None:
        """Nothing."""

    def act(
        self, task: Any, observation: Any, last_actions: torch.Tensor, last_reward: Any, hidden: Any
    ) -> PolicyOutput:
        alive = observation.avail_actions[..., STOP]
        return PolicyOutput(torch.where(alive, STOP, 0), None, torch.full_like(last_actions, 2))


def test_a_checkpoints_policy_plays_with_its_skills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []

    def load_policy(path: Path, task: TaskSpec) -> _Statue:
        asked.append(path)
        return _Statue()

    monkeypatch.setattr("hygen_lightning.rollouts.policies.load_policy", load_policy)
    checkpoint = tmp_path / "best.ckpt"
    torch.save({"environment": "simulator"}, checkpoint)
    render(policy=str(checkpoint), out=tmp_path / "c.png", json=True)
    told = json.loads(capsys.readouterr().out)
    assert asked == [checkpoint]
    assert (told["by"], told["success"]) == ("best.ckpt", False)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"policy": "random", "pick": "success"}, "none of 3 battles of 3m was a success"),
        ({"recording": Path("nowhere")}, "nowhere"),
        ({"env": "chess"}, "unknown environment 'chess'"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(
    options: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint):
        render(**{"out": tmp_path / "a.png", **options})
    assert not (tmp_path / "a.png").exists()
