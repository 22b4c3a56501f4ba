"""What runs on the CPU runs on a GPU and gives the same numbers, but for rounding."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from arenas import random_actions
from devices import NEEDS_A_GPU
from factories import make_episodes
from tiny_runs import MAX_STEPS, callback, table, the_run, tiny_fit

from hygen_lightning import algorithms
from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.benchmark.update import loss_of
from hygen_lightning.cli import main
from hygen_lightning.envs import make_env, make_env_for_policy
from hygen_lightning.envs.base import DeviceTransferEnv
from hygen_lightning.envs.pettingzoo import parallel_env
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.models.trajectory_encoder import TemporalKind
from hygen_lightning.rollouts.runner import play
from hygen_lightning.rollouts.scripted import SCRIPTED_POLICIES, scripted_policy
from hygen_lightning.tasks import load_task

pytestmark = NEEDS_A_GPU

KINDS = [getattr(algorithms, name) for name in algorithms.__all__]
GPU_RUN = ("--trainer.accelerator", "gpu")


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


def assert_near(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], share: float) -> None:
    """Equal keys, and values that differ by at most this share of the largest number beside them."""
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        most = share * float(value.abs().max()) + 1e-6
        assert float((mine[name] - value).abs().max()) <= most, name


def losses_of(run: Path) -> list[float]:
    """The loss of every optimiser step."""
    rows = table(run / "metrics.csv")
    return [float(row["train/mean/loss"]) for row in rows if "train/mean/loss" in row]


@pytest.mark.parametrize("name", ["3m", "5m_vs_6m", "2s3z", "cn-4"])
@pytest.mark.parametrize("path", ["fast", "plain"])
def test_stage_two_has_the_loss_and_gradients_of_the_cpu(name: str, path: str) -> None:
    task = load_task(name)
    torch.manual_seed(2)
    model, episodes = HyGen(task.layout.widths), make_episodes(task, 6).trimmed()
    other = copy.deepcopy(model).to("cuda")
    losses = []
    for each, batch in ((model, episodes), (other, episodes.to("cuda"))):
        loss = loss_of(each, batch, "policy", path)
        loss.backward()
        losses.append(loss.detach().cpu())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)
    assert_near(gradients(other), gradients(model), 1e-2)


@pytest.mark.parametrize("name", ["3m", "5m_vs_6m", "2s3z", "cn-4"])
def test_stage_one_has_the_loss_and_gradients_of_the_plain_oracle(name: str) -> None:
    task = load_task(name)
    torch.manual_seed(2)
    model, episodes = HyGen(task.layout.widths).to("cuda"), make_episodes(task, 6).trimmed().to("cuda")
    found = []
    for path in ("fast", "plain"):
        model.zero_grad()
        torch.manual_seed(5)  # one draw of relaxed skills
        loss = loss_of(model, episodes, "pretrain", path)
        loss.backward()
        found.append((loss.detach(), gradients(model)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)
    assert_near(found[0][1], found[1][1], 1e-3)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("temporal", ["step", "gru", "bigru", "transformer"])
def test_every_network_learns_in_both_stages(
    temporal: TemporalKind, depth: int, precision: torch.dtype
) -> None:
    task = load_task("2s3z")
    model = HyGen(task.layout.widths, 5, 8, 2, depth, trajectory_encoder=temporal).to("cuda")
    episodes = make_episodes(task, 4).trimmed().to("cuda")
    for stage in ("pretrain", "policy"):
        model.zero_grad()
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            loss = loss_of(model, episodes, stage, "fast")
        loss.backward()
        assert all(bool(g.isfinite().all()) for g in gradients(model).values())
        assert gradients(model)


@pytest.mark.parametrize("name", ["3m", "2s3z", "MMM2", "bane_vs_bane", "6h_vs_8z", "2c_vs_64zg", "corridor"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_plays_any_task(kind: type[MultiTaskAlgorithm], name: str) -> None:
    task = load_task(name)
    model = kind(task.layout.widths, width=8, n_heads=1, id_bits=5).to("cuda").eval()  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(0)
    opening = torch.tensor([0, 3, 0, 2, 0])
    env = make_env("simulator", task, 3, "cuda")
    played = play(env, model, torch.arange(5, device="cuda"), 0.3, opening, generator)
    chosen = played.episodes.avail_actions.gather(-1, played.episodes.actions.unsqueeze(-1))[..., 0]
    assert chosen[played.episodes.filled].all()
    assert played.episodes.obs.device.type == "cpu"
    assert len(played.success) == len(played.returns) == 5


@pytest.mark.parametrize("player", SCRIPTED_POLICIES)
def test_scripted_players_play_there(player: str) -> None:
    env = make_env("simulator", load_task("2s3z"), 4, "cuda")
    played = play(env, scripted_policy(player), torch.arange(4, device="cuda"))
    assert played.episodes.terminated.any(1).all()


def test_few_battles_are_stepped_on_the_cpu_and_seen_on_the_gpu() -> None:
    task, few, gpu = load_task("2s3z"), 5, torch.device("cuda")
    env, itself = make_env_for_policy("simulator", task, few, gpu), make_env("simulator", task, few)
    assert isinstance(env, DeviceTransferEnv)
    generator = torch.Generator().manual_seed(0)
    seen, observation = env.reset(torch.arange(few, device=gpu)), itself.reset(torch.arange(few))
    for _ in range(10):
        assert {x.device.type for x in vars(seen).values()} == {"cuda"}
        assert torch.equal(seen.obs.cpu(), observation.obs)
        actions = random_actions(observation.avail_actions, generator)
        step, observation = env.step(actions.to(gpu)), itself.step(actions).observation
        assert step.reward.device.type == step.success.device.type == "cuda"
        seen = step.observation
    part = env.only(torch.tensor([1, 3], device=gpu))
    assert part is not None
    assert part.num_envs == 2
    assert isinstance(make_env_for_policy("simulator", task, 4096, gpu), SimulatorEnv)


def test_a_battle_is_the_same_bit_for_bit_in_any_batch() -> None:
    alone, crowd = (make_env("simulator", load_task("2s3z"), n, "cuda") for n in (1, 7))
    generator = torch.Generator("cuda").manual_seed(2)
    one, many = alone.reset(torch.tensor([5])), crowd.reset(torch.arange(1, 8))
    for _ in range(40):
        actions = random_actions(many.avail_actions, generator)
        many, one = crowd.step(actions).observation, alone.step(actions[4:5]).observation
        assert torch.equal(one.obs[0], many.obs[4])
        assert torch.equal(one.state[0], many.state[4])


def test_a_saved_battle_continues_on_the_other_device() -> None:
    there, here = (make_env("simulator", load_task("MMM"), 4, device) for device in ("cuda", "cpu"))
    generator = torch.Generator("cuda").manual_seed(3)
    observation = there.reset(torch.arange(4))
    for _ in range(12):
        observation = there.step(random_actions(observation.avail_actions, generator)).observation
    here.load_state_dict(there.state_dict())  # type: ignore[attr-defined]
    actions = random_actions(observation.avail_actions, generator)
    mine, theirs = here.step(actions.cpu()), there.step(actions)
    torch.testing.assert_close(mine.observation.obs, theirs.observation.obs.cpu(), rtol=0, atol=2e-3)


def test_pettingzoo_plays_there() -> None:
    env = parallel_env("3m", device="cuda")
    seen, _ = env.reset(seed=1)
    for _ in range(5):
        masks = {agent: seen[agent]["action_mask"] for agent in env.agents}
        seen, *_ = env.step({agent: int(mask.nonzero()[0][0]) for agent, mask in masks.items()})
    assert env.agents


OPTIONS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "bf16": ("--trainer.precision", "bf16-mixed"),
    "half": ("--trainer.precision", "16-mixed"),
    "no average": ("--model.ema_decay", "0"),
    "two blocks": ("--model.depth", "2"),
    "recordings in their files": ("--data.max_in_memory_gb", "0"),
    "a GRU": ("--model.trajectory_encoder", "bigru"),
    "skipping": ("--nonfinite.skip", "true"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_run_learns_saves_and_is_tested_on_either_device(options: tuple[str, ...], tmp_path: Path) -> None:
    assert main([*tiny_fit(tmp_path), *GPU_RUN, *options]) == 0
    run = the_run(tmp_path)
    losses = losses_of(run)
    assert len(losses) == MAX_STEPS
    assert all(map(math.isfinite, losses))
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    for accelerator in ("cpu", "gpu"):
        words = ["--ckpt_path", checkpoint, "--data.eval_tasks", "[3m]", "--data.test_episodes", "2"]
        words += ["--trainer.accelerator", accelerator, "--run.root", str(tmp_path / accelerator)]
        assert main(["test", *words]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["1", "2"])
def test_a_compiled_run_learns_the_same_but_for_rounding(depth: str, tmp_path: Path) -> None:
    losses = []
    for compiled in ("false", "true"):
        words = ("--model.depth", depth, "--model.compile", compiled, "--trainer.max_steps", "3")
        assert main([*tiny_fit(tmp_path / compiled), *GPU_RUN, *words]) == 0
        losses.append(losses_of(the_run(tmp_path / compiled)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_a_clone_learns_there(tmp_path: Path) -> None:
    tiny = tiny_fit(tmp_path)[1:]
    pairs = [
        pair for pair in zip(tiny[::2], tiny[1::2]) if "pretrain" not in pair[0] and "copy" not in pair[0]
    ]
    words = [piece for pair in pairs[1:] for piece in pair]
    assert main(["fit", "--config", "conf/bc.yaml", *words, *GPU_RUN]) == 0


@pytest.mark.parametrize("step", [3, 7])
def test_a_stopped_run_goes_on_near_the_uninterrupted_one(step: int, tmp_path: Path) -> None:
    assert main([*tiny_fit(tmp_path / "whole"), *GPU_RUN]) == 0
    words = [*tiny_fit(tmp_path / "parts"), *GPU_RUN, "--checkpoint.every_n_steps", "1"]
    assert main([*words, *callback("StopAt", step=step)]) == 130
    assert main([*words, "--resume", "auto"]) == 0
    whole, parts = losses_of(the_run(tmp_path / "whole")), losses_of(the_run(tmp_path / "parts"))
    assert parts == pytest.approx(whole, rel=0.02)


def test_a_run_of_the_gpu_goes_on_on_the_cpu(tmp_path: Path) -> None:
    words = [*tiny_fit(tmp_path), "--checkpoint.every_n_steps", "1"]
    assert main([*words, *GPU_RUN, *callback("StopAt", step=4)]) == 130
    assert main([*words, "--resume", "auto"]) == 0
    results: dict[str, Any] = json.loads((the_run(tmp_path) / "results.json").read_text())
    assert results["tasks"]["3m"]["episodes"] == 2


def test_a_loss_that_is_no_number_ends_the_run_with_a_dump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true_loss = HyGen.skill_loss

    def loss(self: HyGen, *args: Any) -> Any:
        value, metrics = true_loss(self, *args)
        return (value * torch.nan if self.global_step == 3 else value), metrics

    monkeypatch.setattr(HyGen, "skill_loss", loss)
    assert main([*tiny_fit(tmp_path), *GPU_RUN]) == 1
    assert "step 3: the loss of 3m is nan" in capsys.readouterr().err
    (dump,) = the_run(tmp_path).glob("nonfinite-*.pt")
    content = torch.load(dump, weights_only=True)
    assert {x.device.type for x in content["weights"].values()} == {"cpu"}
    assert set(content["generators"]) == {"torch", "cuda"}
