"""Endless battles: chunks that follow each other, restarts, and going on from a saved state."""

from __future__ import annotations

import copy

import pytest
import torch

from hygen_lightning.algorithms.mappo import MAPPO
from hygen_lightning.data.chunks import ChunkBuffer
from hygen_lightning.envs import make_env
from hygen_lightning.rollouts.endless import EndlessBattles
from hygen_lightning.specs import Chunk, UserError
from hygen_lightning.tasks import load_task

TASK = load_task("3m")


def policy(seed: int = 0) -> MAPPO:
    torch.manual_seed(seed)
    return MAPPO(TASK.layout.widths, width=8)


def battles(seed: int = 1) -> EndlessBattles:
    return EndlessBattles(make_env("simulator", TASK, 4), seed, "test")


def joined(first: Chunk, second: Chunk, name: str) -> torch.Tensor:
    return torch.cat([getattr(first, name), getattr(second, name)], dim=1)


def test_two_chunks_are_one_of_twice_the_length() -> None:
    once, twice, plays = battles(), battles(), policy()
    whole = once.play(plays, 8)
    first, second = twice.play(plays, 4), twice.play(plays, 4)
    for name in ("obs", "actions", "log_probs", "reward", "begins", "last_actions"):
        assert torch.equal(getattr(whole, name), joined(first, second, name)), name
    assert torch.equal(first.state[:, -1], second.state[:, 0])
    assert torch.equal(whole.state[:, -1], second.state[:, -1])
    assert second.hidden.abs().sum() > 0


def test_a_battle_that_ends_is_followed_by_a_new_one() -> None:
    chunk = battles().play(policy(), TASK.episode_limit_env_steps + 10)
    ends = chunk.terminated[:, :-1]
    assert ends.any()
    assert torch.equal(chunk.begins[:, 1:], ends)
    assert chunk.begins[:, 0].all()
    assert (chunk.clock[:, :-1][chunk.begins] == 0).all()
    assert torch.equal(chunk.clock[:, 1:][~chunk.terminated], chunk.clock[:, :-1][~chunk.terminated] + 1)
    assert (chunk.last_actions[chunk.begins] == -1).all()
    assert (chunk.last_actions[~chunk.begins] >= 0).all()
    healths = TASK.layout.split_state(chunk.state[:, :-1])[0][..., 0]
    assert (healths[chunk.begins] == 1).all()
    played = chunk.avail_actions.gather(-1, chunk.actions.unsqueeze(-1))
    assert played.all()


def test_its_log_probabilities_are_those_that_the_learner_computes() -> None:
    plays, endless = policy(), battles()
    endless.play(plays, 5)
    chunk = endless.play(plays, 40)
    logits = plays.network["actor"](
        TASK.layout, chunk.obs, chunk.last_actions, hidden=chunk.hidden, begins=chunk.begins
    )
    log_probs = logits.masked_fill(~chunk.avail_actions, -torch.inf).log_softmax(-1)
    torch.testing.assert_close(
        log_probs.gather(-1, chunk.actions.unsqueeze(-1))[..., 0].detach(), chunk.log_probs, atol=1e-5, rtol=0
    )


def test_a_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    endless, plays = battles(), policy()
    endless.play(plays, 30)
    saved = copy.deepcopy(endless.state_dict())
    expected = endless.play(plays, 30)
    other = battles(seed=7)
    other.load_state_dict(saved)
    found = other.play(plays, 30)
    for name, value in vars(expected).items():
        assert not isinstance(value, torch.Tensor) or torch.equal(value, getattr(found, name)), name


def test_where_battles_cannot_be_saved_they_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise UserError("this world cannot save its battles")

    endless, plays = battles(), policy()
    endless.play(plays, 30)
    monkeypatch.setattr(endless.env, "state_dict", refuse)
    other = battles(seed=7)
    other.load_state_dict(copy.deepcopy(endless.state_dict()))
    assert other.play(plays, 2).begins[:, 0].all()


def test_other_names_are_other_battles() -> None:
    plays = policy()
    one = EndlessBattles(make_env("simulator", TASK, 4), 1, 0, "3m").play(plays, 3)
    other = EndlessBattles(make_env("simulator", TASK, 4), 1, 1, "3m").play(plays, 3)
    assert not torch.equal(one.obs, other.obs)


# The minibatches of a chunk


def test_each_pass_shows_every_battle_once_and_what_is_left_survives_a_stop() -> None:
    plays = policy()
    chunk = plays.prepare(battles().play(plays, 3))
    buffer, generator = ChunkBuffer(TASK), torch.Generator().manual_seed(0)
    buffer.put(chunk, epochs=2, minibatches=2, generator=generator)
    drawn = [buffer.draw() for _ in range(3)]
    again = ChunkBuffer(TASK)
    again.load_state_dict(buffer.state_dict())
    drawn.append(again.draw())
    for one, two in (drawn[:2], drawn[2:]):
        together = torch.cat([one.log_probs, two.log_probs]).flatten(1)
        assert torch.equal(together.sort(dim=0).values, chunk.log_probs.flatten(1).sort(dim=0).values)
        assert len(one.hidden) == len(one.obs) == 2
    assert again.state_dict() == {"kind": "", "chunk": None, "rows": []}
    with pytest.raises(ValueError, match="no minibatch is left"):
        again.draw()
