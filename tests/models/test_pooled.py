"""The pooled networks: any numbers of units, nothing of the absent, one chunk as its steps."""

from __future__ import annotations

import pytest
import torch
from factories import make_episodes

from hygen_lightning.models.agents import SkillInput
from hygen_lightning.models.pooled import PooledActor, PooledCritic, PooledEncoder
from hygen_lightning.tasks import load_task

WIDTHS = load_task("3m").layout.widths


@pytest.mark.parametrize("name", ["3m", "5m_vs_6m", "27m_vs_30m"])
def test_one_actor_and_one_critic_serve_any_teams(name: str) -> None:
    task = load_task(name)
    actor, critic = PooledActor(WIDTHS, 8, 4), PooledCritic(WIDTHS, 8, 4)
    obs = torch.randn(2, task.n_allies, task.layout.obs_dim)
    last = torch.full((2, task.n_allies), -1)
    logits, hidden = actor.act(task.layout, obs, last, actor.initial_hidden(2, task.n_allies))
    assert logits.shape == (2, task.n_allies, task.layout.n_actions)
    assert hidden.shape == (2, task.n_allies, 8)
    assert critic(task.layout, torch.randn(2, task.layout.state_dim), torch.zeros(2)).shape == (2,)


def test_a_chunk_is_its_steps_one_after_another_and_a_new_battle_remembers_nothing() -> None:
    task = load_task("3m")
    episodes = make_episodes(task, 2, lengths=torch.tensor([6, 6]))
    torch.manual_seed(0)
    actor = PooledActor(WIDTHS, 8, 4)
    first = torch.randn(2, 3, 8)
    begins = torch.zeros(2, 6, dtype=torch.bool)
    begins[1, 3] = True
    obs, last = episodes.obs[:, :6], episodes.last_actions[:, :6]
    together = actor(task.layout, obs, last, hidden=first, begins=begins)
    hidden = first
    for t in range(6):
        if t == 3:
            hidden = torch.stack([hidden[0], torch.zeros(3, 8)])
        logits, hidden = actor.act(task.layout, obs[:, t], last[:, t], hidden)
        torch.testing.assert_close(together[:, t], logits)


@pytest.mark.parametrize("skill_input", ["bias", "token"])
def test_whole_episodes_are_their_steps_one_after_another_and_zeros_behind_their_ends(
    skill_input: SkillInput,
) -> None:
    """What stands behind the end of an episode, even NaN, reaches neither outputs nor gradients."""
    task = load_task("3m")
    episodes = make_episodes(task, 3, lengths=torch.tensor([2, 6, 4]))
    torch.manual_seed(0)
    actor = PooledActor(WIDTHS, 8, 4, n_skills=2, skill_input=skill_input)
    encoder = PooledEncoder(WIDTHS, 8, 4)
    filled, last = episodes.filled, episodes.last_actions
    obs = episodes.obs.masked_fill(~filled[..., None, None], torch.nan)
    skill = torch.rand(*filled.shape, 3, 2)
    logits, own = actor(task.layout, obs, last, skill, filled), encoder(task.layout, obs, last, filled)
    (logits.square().sum() + own.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in actor.parameters())
    hidden, seen = actor.initial_hidden(3, 3), encoder.initial_hidden(3, 3)
    for t in range(filled.shape[1]):
        of_step, hidden = actor.act(task.layout, episodes.obs[:, t], last[:, t], hidden, skill[:, t])
        own_step, seen = encoder.act(task.layout, episodes.obs[:, t], last[:, t], seen)
        goes_on = filled[:, t]
        torch.testing.assert_close(logits[goes_on, t], of_step[goes_on])
        torch.testing.assert_close(own[goes_on, t], own_step[goes_on])
        assert not logits[~goes_on, t].any()
        assert not own[~goes_on, t].any()


def test_a_chunk_that_lacks_a_part_or_has_skills_is_refused() -> None:
    task, actor = load_task("3m"), PooledActor(WIDTHS, 8, 4)
    episodes = make_episodes(task, 1, lengths=torch.tensor([3]))
    seen = task.layout, episodes.obs, episodes.last_actions
    hidden, begins = actor.initial_hidden(1, 3), torch.zeros(episodes.filled.shape, dtype=torch.bool)
    parts: list[dict[str, torch.Tensor]] = [
        {"hidden": hidden},
        {"begins": begins},
        {"hidden": hidden, "begins": begins, "filled": episodes.filled},
        {"hidden": hidden, "begins": begins, "skill": torch.rand(1, 3, 3, 2)},
    ]
    for wrong in parts:
        with pytest.raises(ValueError, match="a chunk has hidden and begins"):
            actor(*seen, **wrong)


def test_units_that_are_not_there_change_nothing() -> None:
    """5m in which two allies and two enemies are dead or out of sight is 3m: same base logits and value."""
    small, large = load_task("3m"), load_task("5m")
    torch.manual_seed(0)
    actor, critic = PooledActor(WIDTHS, 8, 4), PooledCritic(WIDTHS, 8, 4)
    obs = torch.randn(1, 3, small.layout.obs_dim)
    _, enemies, allies = small.layout.split_obs(obs)
    wide = torch.zeros(1, 5, large.layout.obs_dim)
    _, wide_enemies, wide_allies = large.layout.split_obs(wide)
    wide_enemies[:, :3, :3], wide_allies[:, :3, :2] = enemies, allies
    for mine, theirs in zip(large.layout.own, small.layout.own):
        wide[:, :3, slice(*mine)] = obs[..., slice(*theirs)]
    one, _ = actor.act(small.layout, obs, torch.full((1, 3), -1), actor.initial_hidden(1, 3))
    other, _ = actor.act(large.layout, wide, torch.full((1, 5), -1), actor.initial_hidden(1, 5))
    torch.testing.assert_close(one, other[:, :3, : small.layout.n_actions])
    state, wide_state = torch.randn(1, small.layout.state_dim), torch.zeros(1, large.layout.state_dim)
    for units, wide_units in zip(small.layout.split_state(state), large.layout.split_state(wide_state)):
        assert units is not None
        assert wide_units is not None
        wide_units[:, :3, : units.shape[-1]] = units
    values = critic(small.layout, state, torch.zeros(1)), critic(large.layout, wide_state, torch.zeros(1))
    torch.testing.assert_close(*values)


def test_the_critic_is_told_the_time() -> None:
    task, critic = load_task("3m"), PooledCritic(WIDTHS, 8, 4)
    state = torch.randn(1, task.layout.state_dim)
    early, late = (critic(task.layout, state, torch.full((1,), time)).item() for time in (0.0, 1.0))
    assert early != late
