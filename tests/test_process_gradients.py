"""Two processes with half the batch each give the gradient of one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories import make_episodes
from torch import Tensor, distributed, multiprocessing

from hygen_lightning.algorithms import hygen
from hygen_lightning.losses import masked_mean, per_process
from hygen_lightning.specs import Episodes
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
LENGTHS = torch.tensor([4, 30, 61, 9, 17, 44])
"""Stored steps of the six episodes: the halves differ in number and in the longest."""

STAGES = ("skills", "weighted", "policy")


def gradients(stage: str, episodes: Episodes) -> dict[str, Tensor]:
    """Gradients of one stage's loss for a small network with fixed weights and without noise."""
    torch.manual_seed(0)
    weighted = stage == "weighted"
    options = {"return_weight": 2.0, "prior_weight": 1.0} if weighted else {}
    model = hygen.HyGen(TASK.layout.widths, width=8, n_heads=1, **options).double()
    hygen.relaxed_skill = lambda logits: logits.softmax(dim=-1)
    loss, _ = model.policy_loss(episodes, 0.5) if stage == "policy" else model.skill_loss(episodes)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def half_of(episodes: Episodes, rank: int) -> Episodes:
    return episodes[rank * 3 : rank * 3 + 3].trimmed()


def all_episodes() -> Episodes:
    episodes = make_episodes(TASK, 6, seed=3, lengths=LENGTHS)
    return episodes.map(lambda x: x.double() if x.is_floating_point() else x)


def process(rank: int, folder: str) -> None:
    """One of two: its half of the batch, then the mean of both gradients, as DDP computes it."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    for stage in STAGES:
        found = gradients(stage, half_of(all_episodes(), rank))
        for gradient in found.values():
            distributed.all_reduce(gradient)
            gradient /= 2
        if rank == 0:
            torch.save(found, f"{folder}/{stage}.pt")
    counts = per_process(torch.tensor([4, 2] if rank == 0 else [1]))
    assert counts.tolist() == [2.5, 1.0]
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert masked_mean(torch.ones(1, 3), nothing).item() == 0.0
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def mean_gradients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gradients")
    multiprocessing.spawn(process, (str(folder),), nprocs=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_half_the_batch_on_each_of_two_processes_is_the_whole_batch(
    stage: str, mean_gradients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hygen, "relaxed_skill", hygen.relaxed_skill)  # put back after the test
    whole = gradients(stage, all_episodes())
    mean = torch.load(mean_gradients / f"{stage}.pt", weights_only=True)
    assert mean.keys() == whole.keys()
    for name, gradient in whole.items():
        assert torch.allclose(mean[name], gradient, rtol=1e-6, atol=1e-9), name


def test_one_process_counts_for_itself() -> None:
    counts = torch.tensor([3, 0])
    assert per_process(counts) is counts
