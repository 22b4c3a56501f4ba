"""SMAC's own package, with the simulator's units for a game, tells what our simulator tells.

Needs an interpreter that has the package: python3 -m venv ~/smac-env and, with that one's pip,
install git+https://github.com/oxwhirl/smac.git; tests take another as --smac_python=PATH.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hygen_lightning.envs import make_env
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.rollouts.scripted import scripted_policy
from hygen_lightning.specs import Observation, TimeStep
from hygen_lightning.tasks import BattleTask, battle_task
from hygen_lightning.tasks.maps import terrain_levels

MAPS = ["3m", "5m_vs_6m", "2s3z", "MMM2", "corridor", "bane_vs_bane"]
REPLAYED = Path(__file__).parent.parent / "replayed_game.py"
ENEMY_KINDS = {
    "marine": 48,
    "marauder": 51,
    "medivac": 54,
    "stalker": 74,
    "zealot": 73,
    "baneling": 9,
    "zergling": 105,
}
"""Unit types of StarCraft II; SMAC's allies have types of their own, numbered one after another."""
FIRST_ALLY_KIND = 1970
TOLD = ("x", "y", "health", "shield", "energy", "cooldown")


def played(task: BattleTask) -> tuple[dict[str, np.ndarray], Observation, list[torch.Tensor], list[TimeStep]]:
    """A battle in the simulator: its units over time, first view, actions and steps."""
    env, policy = SimulatorEnv(task, 1), scripted_policy("nearest_attack")
    first = observation = env.reset(torch.tensor([3]))
    hidden, units, actions, steps = policy.initial_hidden(task, 1), [], [], []
    last, reward = torch.full((1, task.n_allies), -1), torch.zeros(1)
    while not steps or not steps[-1].terminated:
        units.append([getattr(env.battles, name)[:, 0].numpy().copy() for name in TOLD])
        output = policy.act(task, observation, last, reward, hidden)
        hidden, last = output.hidden, output.actions
        actions.append(last)
        steps.append(env.step(last))
        observation, reward = steps[-1].observation, steps[-1].reward
    units.append([getattr(env.battles, name)[:, 0].numpy().copy() for name in TOLD])
    params, order = env.params, task.ally_types or task.ally_units[:1]
    kinds = [FIRST_ALLY_KIND + order.index(unit) for unit in task.ally_units]
    rows = terrain_levels(task.terrain)
    about = {
        "kinds": np.array([*kinds, *(ENEMY_KINDS[unit] for unit in task.enemy_units)]),
        "health_max": params.health[:, 0].numpy(),
        "shield_max": params.shield[:, 0].numpy() * [u in ("stalker", "zealot") for u in params.names],
        "n_allies": np.array(task.n_allies),
        "pathing": np.array([[row[x] != "0" for row in rows] for x in range(len(rows[0]))]),
    }
    return about | dict(zip(TOLD, np.stack(units).swapaxes(0, 1))), first, actions, steps


def assert_same(shown: Observation, expected: Observation) -> None:
    assert torch.equal(shown.avail_actions, expected.avail_actions)
    assert torch.allclose(shown.obs, expected.obs, atol=1e-5)
    assert torch.allclose(shown.state, expected.state, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_a_whole_battle_is_told_as_the_package_tells_it(
    smac_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = battle_task(name)
    game, first, actions, steps = played(task)
    np.savez(tmp_path / "game.npz", **game)  # type: ignore[arg-type]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{smac_python}" "{REPLAYED}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    maps = tmp_path / "StarCraftII" / "Maps" / "SMAC_Maps"
    maps.mkdir(parents=True)
    (tmp_path / "StarCraftII" / "Versions").mkdir()
    (maps / f"{name}.SC2Map").touch()
    monkeypatch.setenv("SC2PATH", str(tmp_path / "StarCraftII"))
    monkeypatch.setenv("REPLAYED_GAME", str(tmp_path / "game.npz"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    world = tmp_path / "smac.yaml"
    world.write_text(yaml.safe_dump({"env": "smac", "python": str(python)}), encoding="utf-8")
    env = make_env(str(world), task, 1)
    assert_same(env.reset(torch.zeros(1, dtype=torch.int64)), first)
    for order, expected in zip(actions, steps):
        step = env.step(order)
        assert torch.allclose(step.reward, expected.reward, atol=1e-5)
        for flag in ("terminated", "truncated", "success"):
            assert torch.equal(getattr(step, flag), getattr(expected, flag)), flag
        assert_same(step.observation, expected.observation)
    env.close()
