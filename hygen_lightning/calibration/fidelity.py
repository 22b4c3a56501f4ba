"""Fidelity of the simulator: recorded transitions and episodes compared with simulated ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.calibration.ceiling import ceiling, kind_of, share_by_kind
from hygen_lightning.calibration.recorded import battle_state
from hygen_lightning.calibration.retreats import retreats
from hygen_lightning.calibration.tracking import Tracker
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.observation import battle_observation, outcome, reward
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.step import Dynamics
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import Episodes
from hygen_lightning.tasks.battles import FIRST_TARGET, NO_OP, STOP, BattleTask

PAIRS_AT_ONCE = {"cpu": 36 * 2**15, "cuda": 36 * 2**21}
"""Pairs of units in a batch of copies: bounds the memory and decides the speed (3m has 36 per copy; on 2 CPU
cores 106 000 copies step per second in batches of 2 ** 15, 93 000 in batches of 2 ** 17: one run, simulator
version 6, not compiled; assumed for GPUs). Other devices use the CPU's."""
EPISODES_AT_ONCE = 256
"""Episodes whose observations are computed at once."""
CPU = torch.device("cpu")


def fidelity_report(
    task: BattleTask,
    episodes: Episodes,
    n_particles: int,
    seed: int,
    with_ceiling: bool = False,
    device: torch.device = CPU,
    compiled: bool = False,
    done: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """All measures: errors of observations, errors of one step, free-running episodes, stepping back.

    n_particles: simulated copies per episode that estimate the hidden variables.
    with_ceiling: also follow the free-running episodes, as if they were recorded (see `ceiling`).
    device: where the copies are stepped (random numbers differ between devices).
    compiled: fuse the steps of the copies with `torch.compile` (results differ in rounding).
    done: called with the number of episodes just followed; with_ceiling, twice as many in total.
    """
    dynamics = Dynamics.compiled(dynamic=True) if compiled else Dynamics.plain()
    steps = transitions(task, episodes, n_particles, seed, device, dynamics, done)
    battles, success = replayed(task, episodes, seed)
    report = {
        "episodes": len(episodes),
        **observation_errors(task, episodes),
        **transition_errors(steps),
        "free_running": free_running(task, episodes, battles, success),
        "stepping_back": {"recorded": retreats(task, episodes), "simulated": retreats(task, battles)},
    }
    if with_ceiling:
        # If both seeds were 0, a copy would draw the same numbers as the battle that it follows.
        own = transitions(task, battles, n_particles, seed + 1, device, dynamics, done)
        report |= ceiling(*(share_by_kind(part.kind, part.ally_exact) for part in (steps, own)))
    return report


def observation_errors(task: BattleTask, episodes: Episodes) -> dict[str, float]:
    """Largest errors of observations, available actions and rewards computed from the recorded states."""
    params, terrain = UnitParams.of(task, CPU), Terrain.of(task.terrain, CPU)
    obs_error = reward_error = 0.0
    mismatches = 0
    for block in _blocks(episodes):
        filled, follows = block.filled, block.filled[:, 1:]
        observation = battle_observation(params, terrain, battle_state(params, block.state[filled]))
        obs_error = max(obs_error, float((observation.obs - block.obs[filled]).abs().max()))
        mismatches += int((observation.avail_actions != block.avail_actions[filled]).sum())
        before = battle_state(params, block.state[:, :-1][follows])
        after = battle_state(params, block.state[:, 1:][follows])
        gained = _reward(params, before, after)
        reward_error = max(reward_error, float((gained - block.reward[:, :-1][follows]).abs().max()))
    return {
        "observation_max_error": obs_error,
        "availability_mismatches": mismatches,
        "reward_max_error": reward_error,
    }


@dataclass
class Transitions:
    """One simulated step from each of M recorded states, compared with the next recorded state.

    kind [M, 2] int64: see `kind_of`. ally_exact, enemy_exact [M] bool: the health of all units of the
    side is right. ally_offset, enemy_offset: map units, one number per unit that stays alive.
    reward_error [M].
    """

    kind: Tensor
    ally_exact: Tensor
    enemy_exact: Tensor
    ally_offset: Tensor
    enemy_offset: Tensor
    reward_error: Tensor

    @classmethod
    def of(
        cls, params: UnitParams, before: BattleState, guess: BattleState, after: BattleState
    ) -> Transitions:
        """States [N, M]: recorded, one simulated step later, one recorded step later."""
        n = params.n_allies
        stays = before.alive & guess.alive & after.alive
        offset = torch.hypot(guess.x - after.x, guess.y - after.y)
        exact = guess.health == after.health
        return cls(
            kind=kind_of(params, before),
            ally_exact=exact[:n].all(0),
            enemy_exact=exact[n:].all(0),
            ally_offset=offset[:n][stays[:n]],
            enemy_offset=offset[n:][stays[n:]],
            reward_error=(_reward(params, before, guess) - _reward(params, before, after)).abs(),
        )


@torch.inference_mode()  # else torch.compile compiles anew for views
def transitions(
    task: BattleTask,
    episodes: Episodes,
    n_particles: int,
    seed: int,
    device: torch.device,
    dynamics: Dynamics,
    done: Callable[[int], object],
) -> Transitions:
    """One simulated step from every recorded state, with the recorded actions; the result is on CPU."""
    params, terrain = UnitParams.of(task, device), Terrain.of(task.terrain, device)
    pairs = PAIRS_AT_ONCE.get(device.type, PAIRS_AT_ONCE["cpu"])
    n_together = pairs // (params.n_units**2 * n_particles)
    parts = []
    for number, block in enumerate(_blocks(episodes, n_together)):
        states = _followed(params, terrain, block.to(device), n_particles, seed + number, dynamics)
        parts += [Transitions.of(params, *of_step) for of_step in states]
        done(len(block))
    return Transitions(
        **{f.name: torch.cat([getattr(part, f.name) for part in parts]).cpu() for f in fields(Transitions)}
    )


def transition_errors(steps: Transitions) -> dict[str, Any]:
    """Errors of one simulated step, over all transitions."""
    error = steps.reward_error
    return {
        "transitions": len(error),
        "ally_position_error": _quantiles(steps.ally_offset),
        "enemy_position_error": _quantiles(steps.enemy_offset),
        "ally_health_exact_share": float(steps.ally_exact.float().mean()),
        "enemy_health_exact_share": float(steps.enemy_exact.float().mean()),
        "predicted_reward_error": {"mean": float(error.mean()), **_quantiles(error)},
    }


def _followed(
    params: UnitParams,
    terrain: Terrain,
    block: Episodes,
    n_particles: int,
    seed: int,
    dynamics: Dynamics,
) -> Iterator[tuple[BattleState, BattleState, BattleState]]:
    """(recorded state, the simulator's guess, recorded next state) [N, episodes] for every step."""
    block = block[block.length.argsort(descending=True)]
    tracker = Tracker(params, terrain, block.state[:, 0], n_particles, seed, dynamics)
    for step in range(block.n_steps - 1):
        active = int(block.filled[:, step + 1].sum())
        if active == 0:
            return
        tracker.drop_after(active)
        last = block.actions[:active, step - 1] if step else None
        before = battle_state(params, block.state[:active, step])
        if last is not None:
            before.last_action = last.t()
        after = battle_state(params, block.state[:active, step + 1])
        tracker.predict(before, block.actions[:active, step].t(), step)
        yield before, tracker.most_common(), after
        tracker.learn(after)


def replayed(task: BattleTask, episodes: Episodes, seed: int) -> tuple[Episodes, Tensor]:
    """Battles in which the recorded actions are replayed from the recorded start; success [B] bool.

    Where an action is not available, and when the recording is over, a living agent attacks the
    first enemy in range, or stops. The battles have the seeds seed, seed + 1, ...
    """
    env = SimulatorEnv(task, len(episodes))
    env.reset(torch.arange(len(episodes)) + seed)
    observation = env.placed(battle_state(env.params, episodes.state[:, 0]))
    filled, success = (torch.full((len(episodes),), flag) for flag in (True, False))
    rows: list[dict[str, Tensor]] = []
    while True:
        recorded = episodes.actions[:, min(len(rows), episodes.n_steps - 1)]
        row = {
            "obs": observation.obs,
            "state": observation.state,
            "avail_actions": observation.avail_actions,
            "actions": _possible(recorded, observation.avail_actions),
            "filled": filled,
            "reward": torch.zeros(len(episodes)),
            "terminated": torch.zeros_like(success),
            "truncated": torch.zeros_like(success),
        }
        rows.append(row)
        filled = ~env.battles.over
        if not bool(filled.any()):
            break
        step = env.step(row["actions"])
        row |= {"reward": step.reward, "terminated": step.terminated, "truncated": step.truncated}
        success, observation = success | step.success, step.observation
    stacked = {name: torch.stack([row[name] for row in rows], dim=1) for name in rows[0]}
    return Episodes(task=task, **stacked), success


def free_running(task: BattleTask, episodes: Episodes, battles: Episodes, success: Tensor) -> dict[str, Any]:
    """Length and outcome of recorded episodes, and of the battles `replayed` from their starts."""
    params = UnitParams.of(task, CPU)
    final = episodes.length - 1
    last = torch.arange(len(episodes))
    _, recorded_won = outcome(params, battle_state(params, episodes.state[last, final]))
    return {
        "recorded": _summary(final.float(), recorded_won),
        "simulated": _summary((battles.length - 1).float(), success),
    }


def _possible(actions: Tensor, available: Tensor) -> Tensor:
    """actions [B, A], where available [B, A, K]; else the first target, else stop, else no-op."""
    asked = available.gather(2, actions.unsqueeze(2)).squeeze(2)
    targets = available[..., FIRST_TARGET:]
    fallback = torch.where(targets.any(-1), targets.int().argmax(-1) + FIRST_TARGET, STOP)
    fallback = torch.where(available[..., NO_OP], NO_OP, fallback)
    return torch.where(asked, actions, fallback)


def _blocks(episodes: Episodes, n_together: int = EPISODES_AT_ONCE) -> Iterator[Episodes]:
    """So many episodes at a time (at least one), each block as long as its longest."""
    n_together = max(1, n_together)
    for start in range(0, len(episodes), n_together):
        yield episodes[slice(start, start + n_together)].trimmed()


def _reward(params: UnitParams, before: BattleState, after: BattleState) -> Tensor:
    """[B]: reward of the step that led from one state to the other."""
    return reward(params, before, after, outcome(params, after)[1])


def _quantiles(x: Tensor) -> dict[str, float]:
    """Median, 90th and 99th percentile; zeros where there is nothing."""
    values = x.sort().values
    return {
        name: float(values[min(int(share * len(values)), len(values) - 1)]) if len(values) else 0.0
        for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


def _summary(length: Tensor, success: Tensor) -> dict[str, float]:
    """Win rate (0..1) and lengths in environment steps. length, success [B]."""
    return {
        "win_rate": float(success.float().mean()),
        "mean_length": float(length.mean()),
        **{f"{name}_length": value for name, value in _quantiles(length).items() if name != "p99"},
        "p10_length": float(length.sort().values[int(0.1 * len(length))]),
    }
