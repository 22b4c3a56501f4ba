"""Hand-placed battles (a few units at chosen places, the rest of the team dead) and random orders."""

from __future__ import annotations

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.step import game_loop, give_orders
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.battles import NO_OP, STOP

NEVER = 8
"""A loop that no step has."""


def arena(
    name: str, allies: list[tuple[float, float]], enemies: list[tuple[float, float]], num_envs: int = 1
) -> SimulatorEnv:
    """Battles with these units alive at these places, the rest dead; enemies hold their places.

    The battles differ in their seeds: 3, 4, ...
    """
    env = SimulatorEnv(load_task(name), num_envs)
    env.reset(torch.arange(num_envs) + 3)
    s, n = env.battles, env.params.n_allies
    s.health = torch.zeros_like(s.health)
    for first, places in ((0, allies), (n, enemies)):
        for row, (x, y) in enumerate(places, start=first):
            s.x[row], s.y[row] = x, y
            s.health[row] = env.params.health[row]
    s.goal_x, s.goal_y = s.x[n:].clone(), s.y[n:].clone()
    env.placed(s)
    env.battles.goal_x, env.battles.goal_y = s.goal_x, s.goal_y
    return env


def act(env: SimulatorEnv, *actions: int) -> Tensor:
    """One step; agents that are not named stop, or do nothing if dead. Returns the rewards [B]."""
    alive = env.battles.alive[: env.params.n_allies, 0]
    chosen = [int(STOP) if a else int(NO_OP) for a in alive]
    chosen[: len(actions)] = actions
    return env.step(torch.tensor([chosen]).expand(env.num_envs, -1)).reward


def after(env: SimulatorEnv, actions: list[int], look: int, loops: int) -> BattleState:
    """The one battle after some loops of a step in which every enemy looks around in loop `look`."""
    env.battles.look_loop = torch.full_like(env.battles.look_loop, look)
    s, plan = give_orders(env.params, env.battles, torch.tensor(actions).unsqueeze(1))
    plan.look = torch.full_like(plan.look, look)
    for loop in torch.arange(loops).unbind():
        s = game_loop(env.params, env.terrain, s, plan, loop)
    return s


def lost(env: SimulatorEnv, row: int) -> float:
    """Health that a unit of the first battle has lost."""
    return float(env.params.health[row, 0] - env.battles.health[row, 0])


def random_actions(available: Tensor, generator: torch.Generator) -> Tensor:
    """available [B, A, K] -> [B, A], one available action each."""
    rows = available.flatten(0, 1).float()
    return torch.multinomial(rows, 1, generator=generator).view(available.shape[:2])
