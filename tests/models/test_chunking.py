"""Work in pieces: their size changes no result."""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.commands.benchmark_update import LOSSES
from hygen_lightning.models import chunking
from hygen_lightning.models.chunking import Chunking
from hygen_lightning.tasks import load_task


@pytest.mark.parametrize("stage", ["pretrain", "policy"])
def test_pieces_of_any_size_have_the_same_loss(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("5m_vs_6m")
    torch.manual_seed(0)
    model, episodes = HyGen(task.layout.widths, width=8, n_heads=1), make_episodes(task, 3).trimmed()
    losses = []
    for sizes in (chunking.CPU, chunking.GPU, Chunking(tokens=40, least_tokens=1, states=7)):
        monkeypatch.setattr(chunking, "CPU", sizes)
        torch.manual_seed(5)  # one draw of relaxed skills
        losses.append(LOSSES[stage, "fast"](model, task, episodes))
    torch.testing.assert_close(losses[1:], losses[:1] * 2, rtol=1e-5, atol=1e-6)


def test_a_gpu_works_on_more_at_once() -> None:
    assert chunking.chunking(torch.zeros(1)) is chunking.CPU
    assert chunking.chunking(torch.zeros(1, device="meta")) is chunking.GPU
    assert chunking.GPU.tokens > chunking.CPU.tokens
