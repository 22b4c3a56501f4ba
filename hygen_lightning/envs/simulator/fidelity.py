"""How faithful the simulator is: recorded transitions and episodes against simulated ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.observation import battle_view, outcome, reward
from hygen_lightning.envs.simulator.recorded import battle_state
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.tracking import Tracker
from hygen_lightning.specs import FIRST_TARGET, NO_OP, STOP, Episodes, TaskSpec

BLOCK_EPISODES = 256
"""Episodes followed at once, which bounds the memory."""
CPU = torch.device("cpu")


def fidelity_report(task: TaskSpec, episodes: Episodes, n_particles: int, seed: int) -> dict[str, Any]:
    """All measures of issue form: exactness of views, errors of one step, free-running episodes.

    n_particles: simulated copies per episode that estimate what the recordings hide.
    """
    return {
        "episodes": len(episodes),
        **view_errors(task, episodes),
        **transition_errors(task, episodes, n_particles, seed),
        "free_running": free_running(task, episodes, seed),
    }


def view_errors(task: TaskSpec, episodes: Episodes) -> dict[str, float]:
    """Largest errors of our observations, available actions and rewards, from the recorded states."""
    roster, terrain = Roster.of(task, CPU), Terrain.of(task.terrain, CPU)
    observation = recorded_reward = 0.0
    mismatches = 0
    for block in _blocks(episodes):
        filled, follows = block.filled, block.filled[:, 1:]
        view = battle_view(roster, terrain, battle_state(roster, block.state[filled]))
        observation = max(observation, float((view.obs - block.obs[filled]).abs().max()))
        mismatches += int((view.avail_actions != block.avail_actions[filled]).sum())
        before = battle_state(roster, block.state[:, :-1][follows])
        after = battle_state(roster, block.state[:, 1:][follows])
        gained = reward(roster, before, after, outcome(roster, after)[1])
        recorded_reward = max(recorded_reward, float((gained - block.reward[:, :-1][follows]).abs().max()))
    return {
        "observation_max_error": observation,
        "availability_mismatches": mismatches,
        "reward_max_error": recorded_reward,
    }


def transition_errors(task: TaskSpec, episodes: Episodes, n_particles: int, seed: int) -> dict[str, Any]:
    """Errors of one simulated step from every recorded state, with the recorded actions."""
    roster, terrain = Roster.of(task, CPU), Terrain.of(task.terrain, CPU)
    n = roster.n_allies
    distances: dict[str, list[Tensor]] = {"ally": [], "enemy": []}
    exact: dict[str, list[Tensor]] = {"ally": [], "enemy": []}
    rewards: list[Tensor] = []
    for number, block in enumerate(_blocks(episodes)):
        for before, guess, after in _followed(roster, terrain, block, n_particles, seed + number):
            stays = before.alive & guess.alive & after.alive
            offset = torch.hypot(guess.x - after.x, guess.y - after.y)
            for side, rows in (("ally", slice(0, n)), ("enemy", slice(n, None))):
                distances[side].append(offset[rows][stays[rows]])
                exact[side].append((guess.health[rows] == after.health[rows]).all(0))
            wrong = _reward(roster, before, guess) - _reward(roster, before, after)
            rewards.append(wrong.abs())
    error = torch.cat(rewards)
    return {
        "transitions": len(error),
        "ally_position_error": _quantiles(torch.cat(distances["ally"])),
        "enemy_position_error": _quantiles(torch.cat(distances["enemy"])),
        "ally_health_exact_share": float(torch.cat(exact["ally"]).float().mean()),
        "enemy_health_exact_share": float(torch.cat(exact["enemy"]).float().mean()),
        "predicted_reward_error": {"mean": float(error.mean()), **_quantiles(error)},
    }


def _followed(
    roster: Roster, terrain: Terrain, block: Episodes, n_particles: int, seed: int
) -> Iterator[tuple[BattleState, BattleState, BattleState]]:
    """(recorded state, the simulator's guess, recorded next state) [N, episodes] for every step."""
    block = block[block.length.argsort(descending=True)]
    tracker = Tracker(roster, terrain, block.state[:, 0], n_particles, seed)
    for step in range(block.n_steps - 1):
        active = int(block.filled[:, step + 1].sum())
        if active == 0:
            return
        tracker.drop_after(active)
        last = block.actions[:active, step - 1] if step else None
        before = battle_state(roster, block.state[:active, step])
        if last is not None:
            before.last_action = last.t()
        after = battle_state(roster, block.state[:active, step + 1])
        tracker.predict(before, block.actions[:active, step].t(), step)
        yield before, tracker.most_common(), after
        tracker.learn(after)


def free_running(task: TaskSpec, episodes: Episodes, seed: int) -> dict[str, Any]:
    """Length and outcome of battles in which the recorded actions are replayed from the start.

    Where an action is not available, and when the recording is over, a living agent attacks the
    first enemy in range, or stops.
    """
    env = SimulatorEnv(task, len(episodes))
    env.reset(torch.arange(len(episodes)) + seed)
    view = env.placed(battle_state(env.roster, episodes.state[:, 0]))
    length = torch.zeros(len(episodes))
    won = torch.zeros(len(episodes), dtype=torch.bool)
    for step in range(task.episode_limit_env_steps):
        recorded = episodes.actions[:, min(step, episodes.n_steps - 1)]
        step_taken = env.step(_possible(recorded, view.avail_actions))
        length += (~env.battles.over | step_taken.terminated).float()
        won |= step_taken.won
        view = step_taken.view
        if bool(env.battles.over.all()):
            break
    final = episodes.length - 1
    last = torch.arange(len(episodes))
    _, recorded_won = outcome(env.roster, battle_state(env.roster, episodes.state[last, final]))
    return {
        "recorded": _summary(final.float(), recorded_won),
        "simulated": _summary(length, won),
    }


def _possible(actions: Tensor, available: Tensor) -> Tensor:
    """actions [B, A], where available [B, A, K]; else the first target, else stop, else no-op."""
    asked = available.gather(2, actions.unsqueeze(2)).squeeze(2)
    targets = available[..., FIRST_TARGET:]
    fallback = torch.where(targets.any(-1), targets.int().argmax(-1) + FIRST_TARGET, STOP)
    fallback = torch.where(available[..., NO_OP], NO_OP, fallback)
    return torch.where(asked, actions, fallback)


def _blocks(episodes: Episodes) -> Iterator[Episodes]:
    for start in range(0, len(episodes), BLOCK_EPISODES):
        yield episodes[slice(start, start + BLOCK_EPISODES)].trimmed()


def _reward(roster: Roster, before: BattleState, after: BattleState) -> Tensor:
    return reward(roster, before, after, outcome(roster, after)[1])


def _quantiles(x: Tensor) -> dict[str, float]:
    """Median, 90th and 99th percentile; zeros where there is nothing."""
    values = x.sort().values
    return {
        name: float(values[min(int(share * len(values)), len(values) - 1)]) if len(values) else 0.0
        for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


def _summary(length: Tensor, won: Tensor) -> dict[str, float]:
    return {
        "win_rate": float(won.float().mean()),
        "mean_length": float(length.mean()),
        **{f"{name}_length": value for name, value in _quantiles(length).items() if name != "p99"},
        "p10_length": float(length.sort().values[int(0.1 * len(length))]),
    }
