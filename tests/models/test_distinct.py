from __future__ import annotations

import torch

from hygen_lightning.models.distinct import DistinctEnemies


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


def test_chunks_cover_every_row_and_keep_within_their_size() -> None:
    enemies = torch.zeros(7, 2, 2)
    enemies[:3, 0, 0] = 1
    distinct = DistinctEnemies.of(enemies, 1)
    assert distinct.chunks(6, 0) == [(1, 3), (1, 1), (2, 2), (2, 1)]
    assert distinct.chunks(1, 0) == [(1, 1)] * 4 + [(2, 1)] * 3


def test_small_chunks_join_the_next() -> None:
    enemies = torch.zeros(7, 2, 2)
    enemies[:3, 0, 0] = 1
    distinct = DistinctEnemies.of(enemies, 1)
    assert distinct.chunks(100, 100) == [(2, 7)]
    assert distinct.chunks(6, 3) == [(1, 3), (2, 2), (2, 2)]
