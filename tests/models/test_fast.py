"""What is done for speed: it changes no result. (`test_agents` holds it against the definition.)"""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes
from made_up_episodes import make_episodes as made_up
from made_up_episodes import make_layout, make_network

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.benchmark.update import loss_of
from hygen_lightning.models import fast
from hygen_lightning.models.fast import rows
from hygen_lightning.models.fast.folding import compiled_folded_block
from hygen_lightning.models.fast.rows import Chunking, DistinctEnemies
from hygen_lightning.models.layers import TransformerBlock
from hygen_lightning.tasks import load_task


@pytest.mark.parametrize("stage", ["pretrain", "policy"])
def test_pieces_of_any_size_have_the_same_loss(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("5m_vs_6m")
    torch.manual_seed(0)
    model, episodes = HyGen(task.layout.widths, width=8, n_heads=1), make_episodes(task, 3).trimmed()
    losses = []
    for sizes in (rows.CPU, rows.GPU, Chunking(tokens=40, least_tokens=1, states=7)):
        monkeypatch.setattr(rows, "CPU", sizes)
        torch.manual_seed(5)  # one draw of relaxed skills
        losses.append(loss_of(model, episodes, stage, "fast"))
    torch.testing.assert_close(losses[1:], losses[:1] * 2, rtol=1e-5, atol=1e-6)


def test_a_gpu_works_on_more_at_once() -> None:
    assert rows.chunking(torch.zeros(1)) is rows.CPU
    assert rows.chunking(torch.zeros(1, device="meta")) is rows.GPU
    assert rows.GPU.tokens > rows.CPU.tokens


def test_unseen_enemies_share_one_query_and_seen_ones_keep_their_own() -> None:
    enemies = torch.zeros(3, 4, 3)
    enemies[..., 2] = 1  # what carries the bias
    enemies[0, 1, 0] = 5.0
    enemies[0, 3, 1] = 7.0
    enemies[1, :, 0] = torch.arange(1.0, 5.0)
    distinct = DistinctEnemies.of(enemies, 2)
    assert distinct.place.tolist() == [[2, 0, 2, 1], [0, 1, 2, 3], [0, 0, 0, 0]]
    assert distinct.order.tolist() == [2, 0, 1]
    assert distinct.groups == [(1, 1), (3, 1), (4, 1)]
    assert torch.equal(distinct.queries[1, :3], enemies[0][[1, 3, 0]])
    assert torch.equal(distinct.queries[0, 0], enemies[2, 0])
    assert torch.equal(distinct.queries[2], enemies[1])


def test_scores_return_to_the_enemies_they_belong_to() -> None:
    enemies = torch.zeros(5, 3, 2)
    enemies[..., 1] = 1
    enemies[:, :, 0] = torch.tensor([[0, 2, 0], [3, 4, 5], [0, 0, 0], [0, 0, 6], [7, 0, 0]])
    distinct = DistinctEnemies.of(enemies, 1)
    scores = distinct.queries[..., 0] * 10
    assert torch.equal(distinct.spread(scores), enemies[..., 0] * 10)


def test_enemies_that_are_not_asked_about_cost_no_query() -> None:
    enemies = torch.zeros(3, 3, 2)
    enemies[..., 1] = 1
    enemies[:, :, 0] = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    asked = torch.tensor([[False, True, False], [False, False, False], [True, False, True]])
    distinct = DistinctEnemies.of(enemies, 1, asked)
    assert distinct.groups == [(0, 1), (1, 1), (2, 1)]
    assert torch.equal(distinct.spread(distinct.queries[..., 0])[asked], enemies[..., 0][asked])


def test_chunks_cover_every_row_keep_within_their_size_and_small_ones_join_the_next() -> None:
    enemies = torch.zeros(7, 2, 2)
    enemies[:3, 0, 0] = 1
    distinct = DistinctEnemies.of(enemies, 1)
    assert distinct.chunks(6, 0) == [(1, 3), (1, 1), (2, 2), (2, 1)]
    assert distinct.chunks(1, 0) == [(1, 1)] * 4 + [(2, 1)] * 3
    assert distinct.chunks(100, 100) == [(2, 7)]
    assert distinct.chunks(6, 3) == [(1, 3), (2, 2), (2, 2)]


@pytest.mark.parametrize("switch", ["DISTINCT", "CHUNKED"])
def test_each_saving_can_be_switched_off_alone(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = make_layout("marines", 3, 4)
    network, batch = make_network(layout), made_up(layout, 4, 6, lengths=[6, 2, 4, 6])
    monkeypatch.setattr(rows, "CPU", Chunking(tokens=20, least_tokens=8, states=3))
    skill = torch.randn(4, 6, 3, 5).softmax(-1)

    def outputs() -> list[torch.Tensor]:
        return [
            *network.observe(layout, batch.obs, batch.last_actions, batch.filled),
            network.decode(layout, batch.obs, batch.last_actions, skill, batch.filled),
            network.skill_logits(layout, batch.state, batch.actions, batch.filled),
        ]

    everything = outputs()
    monkeypatch.setattr(rows, switch, False)
    if switch == "DISTINCT":
        monkeypatch.setattr(torch, "bincount", None)  # what sorts rows by their distinct enemies
    torch.testing.assert_close(outputs(), everything, rtol=1e-5, atol=1e-5)


def test_the_definition_holds_within_its_block_and_no_longer() -> None:
    assert fast.is_on()
    with fast.by_definition():
        with fast.by_definition():
            pass
        assert not fast.is_on()
    assert fast.is_on()


def test_a_block_is_folded_anew_only_where_it_must_be() -> None:
    network = make_network(make_layout("marines", 2, 2))
    entities = network.action_decoder.entities
    block, tokens = entities.transformer.blocks[0], entities.tokens
    assert isinstance(block, TransformerBlock)
    assert entities.folds.of(block, tokens) is not entities.folds.of(block, tokens), "gradients are asked for"
    with torch.no_grad():
        kept = entities.folds.of(block, tokens)
        assert entities.folds.of(block, tokens) is kept
        tokens.enemy.weight.mul_(1.1)
        assert entities.folds.of(block, tokens) is not kept
    entities.compile_blocks()
    assert type(entities.folds.of(block, tokens)) is compiled_folded_block()
