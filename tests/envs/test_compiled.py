"""Compiled battles: the same as uncompiled ones, bit for bit; and who decides which are played."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from arenas import random_actions
from torch.utils._pytree import tree_flatten, tree_unflatten

from hygen_lightning.benchmark.simulator import simulator as benchmark_simulator
from hygen_lightning.envs.simulator import compiled, switch
from hygen_lightning.envs.simulator.compiled import PHASES, Family
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.state import BattleState, root
from hygen_lightning.envs.simulator.step import Dynamics
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.tasks.maps import map_names

CPU = torch.device("cpu")
KINDS = ["3m", "2s3z", "MMM", "2s_vs_1sc", "bane_vs_bane", "6h_vs_8z", "3s_vs_5z"]
"""Battles with and without shields, Medivacs, splash, walls, and with a single enemy."""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiled code, no time spent, nothing said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(switch, "_spent_s", {})
    monkeypatch.setattr(switch, "_said", set())


def test_roots_are_rounded_correctly() -> None:
    squares = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) * 100
    expected = torch.tensor([math.sqrt(x) for x in squares.tolist()])
    assert torch.equal(root(squares), expected)


def parts(name: str) -> tuple[UnitParams, Terrain]:
    task = load_task(name)
    return UnitParams.of(task, CPU), Terrain.of(task.terrain, CPU)


def same(one: SimulatorEnv, other: SimulatorEnv, n_steps: int, restarts: bool) -> None:
    """Two environments play the same battles with random actions, bit for bit."""
    seeds, generator = torch.arange(one.num_envs), torch.Generator().manual_seed(0)
    observation = one.reset(seeds)
    other.reset(seeds)
    for _ in range(n_steps):
        seeds = seeds + one.num_envs
        actions = random_actions(observation.avail_actions, generator)
        mine, theirs = (env.step(actions, seeds if restarts else None) for env in (one, other))
        for field, value in vars(mine.observation).items():
            assert torch.equal(value, getattr(theirs.observation, field)), field
        for field in ("reward", "terminated", "truncated", "success"):
            assert torch.equal(getattr(mine, field), getattr(theirs, field)), field
        for field, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[field]), field
        observation = mine.observation


def uncompiled_phases(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the phases run as they are traced, without a compiler; input in memory has to be as traced."""
    params, terrain = parts(name)
    traced = {phase: tree_flatten(inputs) for phase, inputs in compiled._example_inputs(params).items()}

    def loaded(path: Path) -> Any:
        phase, (example, spec) = PHASES[path.stem](params, terrain), traced[path.stem]

        def run(flat: list[torch.Tensor]) -> Any:
            assert [x.dtype for x in flat] == [x.dtype for x in example]
            assert all(x.is_contiguous() for x in flat)
            return phase(*tree_unflatten(flat, spec))

        return run

    monkeypatch.setattr(compiled, "_loaded", loaded)
    monkeypatch.setattr(switch, "code_of", lambda *_: Path())


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_the_phases_that_are_traced_are_the_simulator(
    name: str, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncompiled_phases(monkeypatch, name)
    plain, traced = (SimulatorEnv(load_task(name), 3, compiled=way) for way in (False, True))
    same(plain, traced, 4, restarts)


def test_one_battle_alone_is_played_by_compiled_code_too(monkeypatch: pytest.MonkeyPatch) -> None:
    uncompiled_phases(monkeypatch, "3m")
    plain, traced = (SimulatorEnv(load_task("3m"), 1, compiled=way) for way in (False, True))
    same(plain, traced, 4, restarts=True)
    params, terrain = parts("3m")
    actions = torch.ones(3, 1, dtype=torch.int64)
    one, other = (env.dynamics.advance(params, terrain, plain.battles, actions) for env in (plain, traced))
    assert torch.equal(one.x, other.x)


@pytest.mark.parametrize(("made_for", "played"), [("3m", "5m_vs_6m"), ("2s3z", "4s6z"), ("3s5z", "3s_vs_3z")])
def test_code_made_for_one_battle_plays_all_of_its_family(
    made_for: str, played: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncompiled_phases(monkeypatch, made_for)
    plain, traced = (SimulatorEnv(load_task(played), 3, compiled=way) for way in (False, True))
    same(plain, traced, 4, restarts=True)


@pytest.mark.parametrize("name", map_names())
def test_the_numbers_of_every_battle_have_the_types_that_are_traced(name: str) -> None:
    """A table of whole numbers alone, as of the damage among Stalkers, is no table of integers."""
    params, _ = parts(name)
    numbers, example = (compiled._graph_params(p) for p in (params, compiled._example(params)))
    assert {k: v.dtype for k, v in numbers.items()} == {k: v.dtype for k, v in example.items()}
    assert {k for k, v in numbers.items() if v.dtype not in (torch.float32, torch.bool)} == {"step_limit"}
    assert all(v.is_contiguous() for v in numbers.values())


def placed_columns(env: SimulatorEnv) -> None:
    """Battles whose tensors [N, B] lie in memory as [B, N], as those of recordings do."""
    turned = {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in env.battles.tensors().items()}
    assert not turned["x"].is_contiguous()
    env.battles = BattleState(**turned)


def test_battles_that_lie_otherwise_in_memory_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    uncompiled_phases(monkeypatch, "2s3z")
    params, terrain = parts("2s3z")
    plain, traced = (SimulatorEnv(load_task("2s3z"), 3, compiled=way) for way in (False, True))
    actions = torch.ones(5, 3, dtype=torch.int64)
    for env in (plain, traced):
        env.reset(torch.arange(3))
        placed_columns(env)
    one, other = (e.dynamics.step(params, terrain, e.battles, actions, e.battles) for e in (plain, traced))
    assert all(torch.equal(v, other[0].tensors()[k]) for k, v in one[0].tensors().items())


def test_a_family_holds_battles_that_differ_in_numbers_alone() -> None:
    families = {name: Family.of(parts(name)[0]) for name in ("3m", "13m_vs_15m", "2s3z", "4s6z", "3s_vs_5z")}
    assert families["3m"] == families["13m_vs_15m"]
    assert families["2s3z"] == families["4s6z"]
    assert len(set(families.values())) == 3
    assert Family.of(parts("2s_vs_1sc")[0]).units == (("stalker",) * 2, ("spinecrawler",))
    assert Family.of(parts("so_many_baneling")[0]).units
    assert families["3m"].folder().parent != families["3m"].folder()
    assert len({family.folder() for family in families.values()}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS[2:])  # the first two are compiled below
def test_every_kind_of_battle_can_be_traced(name: str) -> None:
    params, terrain = parts(name)
    for phase, inputs in compiled._example_inputs(params).items():
        with torch.no_grad():
            compiled._traced(PHASES[phase](params, terrain), inputs)


def test_the_switch_takes_three_words(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("3m")
    monkeypatch.setenv(switch.SWITCH, "off")
    assert isinstance(SimulatorEnv(task, 2).dynamics, Dynamics)
    monkeypatch.setenv(switch.SWITCH, "auto")
    assert isinstance(SimulatorEnv(task, 2).dynamics, switch.AutoDynamics)
    assert isinstance(SimulatorEnv(task, 2, compiled=False).dynamics, Dynamics)
    monkeypatch.setenv(switch.SWITCH, "maybe")
    with pytest.raises(UserError, match="HYGEN_COMPILED is 'maybe'; give auto, on or off"):
        SimulatorEnv(task, 2)


def test_without_a_compiler_one_line_says_so_once_and_battles_are_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(switch.SWITCH, "auto")
    monkeypatch.setenv("CXX", "no-such-compiler")
    same(SimulatorEnv(load_task("3m"), 2), SimulatorEnv(load_task("3m"), 2, compiled=False), 2, False)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "no C++ compiler (no-such-compiler) found; battles are played uncompiled" in said.err
    monkeypatch.setenv(switch.SWITCH, "on")
    with pytest.raises(UserError, match=r"no C\+\+ compiler \(no-such-compiler\) found; install one; or set"):
        SimulatorEnv(load_task("3m"), 2)


@pytest.mark.parametrize(("worth_s", "asked"), [(0.0, 1), (1e9, 0)])
def test_battles_are_compiled_once_they_have_cost_as_much_as_that(
    worth_s: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncompiled_phases(monkeypatch, "3m")
    calls: list[object] = []
    monkeypatch.setattr(switch, "code_of", lambda *given: calls.append(given) or Path())
    monkeypatch.setattr(switch, "compiler", lambda: "g++")
    monkeypatch.setattr(switch, "WORTH_S", worth_s)
    monkeypatch.setenv(switch.SWITCH, "auto")
    env = SimulatorEnv(load_task("3m"), 3)
    assert not calls
    same(env, SimulatorEnv(load_task("3m"), 3, compiled=False), 4, restarts=True)
    assert len(calls) == asked


def test_code_that_differs_in_rounding_is_played_only_by_force(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    uncompiled_phases(monkeypatch, "3m")
    monkeypatch.setattr(switch, "code_of", lambda *_: tmp_path)
    monkeypatch.setattr(switch, "WORTH_S", 0.0)
    (tmp_path / switch.DIFFERS).touch()
    monkeypatch.setenv(switch.SWITCH, "auto")
    same(SimulatorEnv(load_task("3m"), 2), SimulatorEnv(load_task("3m"), 2, compiled=False), 2, False)
    assert "differ in rounding on this machine; battles are played uncompiled" in capsys.readouterr().err
    assert isinstance(SimulatorEnv(load_task("3m"), 2, compiled=True).dynamics, compiled.CompiledDynamics)


def test_a_compiler_that_fails_is_no_end_of_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("g++ was\nkilled")

    monkeypatch.setattr(switch, "compile_family", failing)
    monkeypatch.setattr(switch, "compiler", lambda: "g++")
    monkeypatch.setattr(switch, "WORTH_S", 0.0)
    monkeypatch.setenv(switch.SWITCH, "auto")
    same(SimulatorEnv(load_task("3m"), 2), SimulatorEnv(load_task("3m"), 2, compiled=False), 3, False)
    said = capsys.readouterr().err
    assert "battles could not be compiled (RuntimeError: g++ was killed)" in said
    with pytest.raises(UserError, match="could not be compiled"):
        SimulatorEnv(load_task("3m"), 2, compiled=True)


def test_the_check_of_new_code_sees_a_wrong_number(monkeypatch: pytest.MonkeyPatch) -> None:
    uncompiled_phases(monkeypatch, "3m")
    monkeypatch.setattr(switch, "CHECKED_STEPS", 3)
    params, terrain = parts("3m")
    assert switch.same_battles(params, terrain, Path())
    right = compiled._End.forward

    def wrong(*inputs: Any) -> Any:
        out = right(*inputs)
        return [out[0] + 1e-6, *out[1:]]

    monkeypatch.setattr(compiled._End, "forward", wrong)
    assert not switch.same_battles(params, terrain, Path())


@pytest.mark.slow
def test_compiled_battles_are_the_same_in_any_batch_and_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("3m", "5m_vs_6m", "10m_vs_12m"):
        for num_envs in (1, 7, 64):
            plain, code = (SimulatorEnv(load_task(name), num_envs, compiled=way) for way in (False, True))
            assert isinstance(code.dynamics, compiled.CompiledDynamics)
            same(plain, code, 30, restarts=True)
    assert capsys.readouterr().err.count("compiling battles") == 1
    monkeypatch.setattr(switch, "compile_family", lambda *_: pytest.fail("compiled a second time"))
    assert benchmark_simulator(map=["3m"], batch=4, seconds=0.01, compiled=True) == 0
    monkeypatch.setenv(switch.SWITCH, "on")
    SimulatorEnv(load_task("9m_vs_10m"), 4)


@pytest.mark.slow
def test_compiled_battles_are_the_same_where_shields_break_and_from_recorded_states() -> None:
    for name in ("2s3z", "2s4z", "3s5z"):
        plain, code = (SimulatorEnv(load_task(name), 64, compiled=way) for way in (False, True))
        same(plain, code, 60, restarts=True)
        assert bool(((plain.battles.shield == 0) & plain.battles.alive).any())
        placed_columns(plain)
        placed_columns(code)
        actions = random_actions(plain.observe().avail_actions, torch.Generator().manual_seed(1))
        assert torch.equal(code.observe().obs, plain.observe().obs)
        assert torch.equal(code.step(actions).observation.obs, plain.step(actions).observation.obs)
        assert torch.equal(code.battles.health, plain.battles.health)
        assert not (switch.code_of(*parts(name)) / switch.DIFFERS).exists()
