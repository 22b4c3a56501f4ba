"""NaN and infinity in a loss or a gradient: the run says so and stops, or skips and counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import callback, table, the_run, tiny_fit, weights
from torch import Tensor

from hygen_lightning.algorithms import HyGen
from hygen_lightning.cli import main

Spoil = Callable[[Tensor, Tensor], Tensor]
"""(loss, a parameter) -> a loss gone wrong."""

SPOILED: dict[str, tuple[Spoil, str]] = {
    "nan loss": (lambda loss, p: loss * torch.nan, "the loss of 3m is nan"),
    "infinite loss": (lambda loss, p: loss + torch.inf, "the loss of 3m is inf"),
    "nan gradient": (lambda loss, p: loss + (p * 0).sqrt().sum(), "the gradient of the loss of 3m"),
}


@pytest.fixture
def spoil_step_three(monkeypatch: pytest.MonkeyPatch) -> Callable[[Spoil], None]:
    def spoil(how: Spoil) -> None:
        true_loss = HyGen.skill_loss

        def loss(self: HyGen, *args: Any) -> tuple[Tensor, dict[str, Tensor]]:
            value, metrics = true_loss(self, *args)
            parameter = self.network.skill_head.weight
            return (how(value, parameter) if self.global_step == 3 else value), metrics

        monkeypatch.setattr(HyGen, "skill_loss", loss)

    return spoil


@pytest.mark.parametrize("kind", SPOILED)
def test_a_number_that_is_none_stops_the_run_with_one_line_and_a_dump(
    kind: str,
    spoil_step_three: Callable[[Spoil], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    how, message = SPOILED[kind]
    spoil_step_three(how)
    assert main(tiny_fit(tmp_path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (dump,) = the_run(tmp_path).glob("nonfinite-*.pt")
    assert line.startswith(f"hygen_lightning fit: step 3: {message}")
    assert str(dump) in line
    content = torch.load(dump, weights_only=True)
    assert content["step"] == 3
    assert content["episodes"]["3m"]["obs"].shape[0] == 2
    assert all(bool(x.isfinite().all()) for x in content["weights"].values())
    assert {x.device.type for x in content["weights"].values()} == {"cpu"}
    assert ("cuda" in content["generators"]) == torch.cuda.is_available()


@pytest.mark.parametrize("kind", SPOILED)
def test_a_skipped_batch_changes_no_weight_and_is_counted(
    kind: str, spoil_step_three: Callable[[Spoil], None], tmp_path: Path
) -> None:
    assert main(tiny_fit(tmp_path / "three", "--trainer.max_steps=3")) == 0
    spoil_step_three(SPOILED[kind][0])
    assert main(tiny_fit(tmp_path / "four", "--trainer.max_steps=4", "--nonfinite.skip=true")) == 0
    three, four = weights(the_run(tmp_path / "three")), weights(the_run(tmp_path / "four"))
    assert all(torch.equal(three[name], four[name]) for name in three)
    rows = table(the_run(tmp_path / "four") / "metrics.csv")
    counts = [row["train/mean/skipped_batches"] for row in rows if "train/mean/skipped_batches" in row]
    assert counts == ["0.0", "0.0", "0.0", "1.0"]


def test_the_count_of_skipped_batches_survives_a_stop(
    spoil_step_three: Callable[[Spoil], None], tmp_path: Path
) -> None:
    spoil_step_three(SPOILED["nan loss"][0])
    words = tiny_fit(
        tmp_path, "--nonfinite.skip=true", "--checkpoint.every_n_steps=1", "--trainer.max_steps=6"
    )
    assert main([*words, *callback("StopAt", step=4)]) == 130
    assert main([*words, "--resume", "auto"]) == 0
    rows = table(the_run(tmp_path) / "metrics.csv")
    counts = [row["train/mean/skipped_batches"] for row in rows if "train/mean/skipped_batches" in row]
    assert counts == ["0.0", "0.0", "0.0", "1.0", "1.0", "1.0"]


def test_the_task_of_a_chunk_is_named_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"width": 8, "num_envs": 4, "chunk_env_steps": 5, "minibatches": 2, "reward_scale": 1e38}
    command, *words = tiny_fit(tmp_path)
    words = [word for pair in zip(words[::2], words[1::2]) if "model" not in pair[0] for word in pair]
    words += ["--model", "MAPPO", *(f"--model.init_args.{k}={v}" for k, v in sizes.items())]
    assert main([command, *words]) == 1
    assert "the loss of 3m is" in capsys.readouterr().err
    (dump,) = the_run(tmp_path).glob("nonfinite-*.pt")
    assert torch.load(dump, weights_only=True)["chunks"]["3m"]["obs"].shape[:2] == (2, 5)


def test_a_learning_rate_far_too_high_is_told_from_a_bug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny_fit(tmp_path, "--model.init_args.lr=1e36")) == 1
    assert "Lower the learning rate" in capsys.readouterr().err
