"""The phases of a step as machine code: compiled once per family of battles, kept in the cache folder.

Code is compiled for symbolic numbers of battles B and of units, so one compilation serves every batch of
every battle of a family (`Family`). A graph knows two numbers of units, N and A, and E = N - A: tensors of
the enemies travel between the phases as [N, B], with zeros for the allies on top.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.data.files import cache_dir
from hygen_lightning.envs.simulator import constants as c
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.step import FUSED, conclude, game_loop, give_orders
from hygen_lightning.envs.simulator.targeting import Plan, penalties
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.specs import Observation, TimeStep
from hygen_lightning.tasks.battles import BattleTask

Tensors = dict[str, Tensor]

OF_ENEMIES = ("look_loop", "not_shot_at", "goal_x", "goal_y", "look", "enemy_types")
"""Tensors [E, ...] that travel as [N, ...]."""
STATE = tuple(f.name for f in fields(BattleState))
ORDERED = ("cooldown", "last_action", "step")
PLAN = ("target", "east", "north", "look", "jitter", "lot")
"""What `give_orders` changes, and what it plans; `Plan.penalty` follows from `target`."""
SHOWN = ("obs", "state", "avail_actions")
BROUGHT = ("reward", "terminated", "truncated", "success")
EXAMPLE_ALLIES, EXAMPLE_ENEMIES, EXAMPLE_BATTLES = 11, 13, 192
"""Sizes of the tensors that are traced, no two alike; also the hint of how large a batch will be."""
FEWEST_BATTLES = 2
"""A compiler takes a size of 1 for a constant: one battle is played twice."""
FEWEST_UNITS, MOST_UNITS = (3, 2), 1000
"""Allies and enemies from which their numbers can be symbols (A - 1 is a size, too); most units in all."""


@dataclass(frozen=True)
class Family:
    """What code is compiled for; everything else is input. units: of battles whose numbers of units are
    compiled in, because rows count (splash) or a side is too small; else empty."""

    terrain: str
    has_shields: bool
    has_zerg: bool
    has_medivacs: bool
    ally_shield: bool
    enemy_shield: bool
    types: tuple[int, int]
    units: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, params: UnitParams) -> Family:
        task = params.task
        rows_count = bool(params.line_splashers or params.bursters)
        fixed = rows_count or task.n_allies < FEWEST_UNITS[0] or task.n_enemies < FEWEST_UNITS[1]
        return cls(
            terrain=task.terrain,
            has_shields=params.has_shields,
            has_zerg=params.has_zerg,
            has_medivacs=params.has_medivacs,
            ally_shield=task.ally_shield,
            enemy_shield=task.enemy_shield,
            types=(params.ally_types.shape[1], params.enemy_types.shape[1]),
            units=(task.ally_units, task.enemy_units) if fixed else (),
        )

    def folder(self) -> Path:
        """Where its code is kept: another folder for another source, torch, processor or use of threads."""
        threads = "threads" if torch.get_num_threads() > 1 else "thread"
        about = (asdict(self), _source(), torch.__version__, torch.backends.cpu.get_cpu_capability(), threads)
        name = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
        return cache_dir() / "compiled" / f"{self.terrain}-{name}"


@cache
def _source() -> str:
    """A hash of the simulator's source text."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


class CompiledDynamics:
    """A step of battles of one task in compiled code, on CPU; `Dynamics` says what each method does."""

    def __init__(self, params: UnitParams, folder: Path) -> None:
        """folder: of the family, as `compile_family` left it."""
        self._params = graph_params(params)
        self._orders, self._loop, self._end = (_loaded(folder / f"{name}.pt2") for name in PHASES)

    def step(
        self,
        params: UnitParams,
        terrain: Terrain,
        before: BattleState,
        actions: Tensor,
        fresh: BattleState | None = None,
    ) -> tuple[BattleState, TimeStep]:
        if actions.shape[1] < FEWEST_BATTLES:
            twice = torch.zeros(FEWEST_BATTLES, dtype=torch.int64)
            begun = None if fresh is None else fresh.columns(twice)
            battles, step = self.step(params, terrain, before.columns(twice), actions[:, twice], begun)
            return battles.columns(twice[:1]), _first(step)
        n = params.n_allies
        old = _as_traced(before, n)
        after = self._advanced(old, actions)
        new = old if fresh is None else _as_traced(fresh, n)
        begins = torch.tensor(fresh is not None)
        out = self._end([*self._params, *old.values(), *after.values(), *new.values(), begins])
        battles = BattleState(**_unpadded(dict(zip(STATE, out)), n))
        shown, brought = out[len(STATE) :][: len(SHOWN)], out[-len(BROUGHT) :]
        return battles, TimeStep(Observation(*shown), *brought)

    def advance(
        self, params: UnitParams, terrain: Terrain, before: BattleState, actions: Tensor
    ) -> BattleState:
        if actions.shape[1] < FEWEST_BATTLES:
            twice = torch.zeros(FEWEST_BATTLES, dtype=torch.int64)
            return self.advance(params, terrain, before.columns(twice), actions[:, twice]).columns(twice[:1])
        n = params.n_allies
        return BattleState(**_unpadded(self._advanced(_as_traced(before, n), actions), n))

    def _advanced(self, before: Tensors, actions: Tensor) -> Tensors:
        """The battles after the game loops of a step."""
        out = self._orders([*self._params, *before.values(), actions.contiguous()])
        s = before | dict(zip(ORDERED, out))
        plan = out[len(ORDERED) :]
        for loop in torch.arange(c.LOOPS_PER_STEP).unbind():
            s = dict(zip(STATE, self._loop([*self._params, *s.values(), *plan, loop])))
        return s


def _first(step: TimeStep) -> TimeStep:
    return TimeStep(step.observation[:1], *(getattr(step, name)[:1] for name in BROUGHT))


@cache
def _loaded(path: Path) -> Any:
    """A compiled phase: a list of tensors in, a list of tensors out."""
    from torch._inductor import aoti_load_package

    return aoti_load_package(str(path)).loader.run


# What is traced


def graph_params(params: UnitParams) -> list[Tensor]:
    """The tensors of the unit parameters as the graphs take them."""
    return list(_graph_params(params).values())


def _graph_params(params: UnitParams) -> Tensors:
    tensors = {k: v for k, v in vars(params).items() if isinstance(v, Tensor) and k != "draw"}
    notice = torch.zeros_like(params.reach)
    notice[: params.n_allies, params.n_allies :] = params.notice
    return _padded(tensors, params.n_allies) | {"notice": notice}


def _padded(tensors: Tensors, n_allies: int) -> Tensors:
    """With zeros on top of what enemies have."""
    return {
        k: torch.cat([v.new_zeros(n_allies, *v.shape[1:]), v]) if k in OF_ENEMIES else v
        for k, v in tensors.items()
    }


def _as_traced(battles: BattleState, n_allies: int) -> Tensors:
    """Input of the phases. Code reads memory in the order that was traced, and asks no tensor for its own."""
    return {k: v.contiguous() for k, v in _padded(battles.tensors(), n_allies).items()}


def _unpadded(tensors: Tensors, n_allies: Any) -> Tensors:
    return {k: v[n_allies:] if k in OF_ENEMIES else v for k, v in tensors.items()}


class _Phase(torch.nn.Module):
    """A phase as a function of tensors alone; numbers of units are read from their shapes."""

    def __init__(self, params: UnitParams, terrain: Terrain) -> None:
        super().__init__()
        self.like, self.terrain = params, terrain

    def params(self, tensors: Tensors, state: Tensors) -> UnitParams:
        n_units, n = state["x"].shape[0], state["last_action"].shape[0]
        changed: dict[str, Any] = {
            **_unpadded(tensors, n),
            "notice": tensors["notice"][:n, n:],
            "draw": torch.arange(2 * n_units - n).unsqueeze(1),
        }
        return replace(self.like, n_allies=n, n_enemies=n_units - n, **changed)


class _Orders(_Phase):
    def forward(self, tensors: Tensors, state: Tensors, actions: Tensor) -> list[Tensor]:
        params = self.params(tensors, state)
        s, plan = give_orders(params, BattleState(**_unpadded(state, params.n_allies)), actions)
        planned = _padded({k: getattr(plan, k) for k in PLAN}, params.n_allies)
        return [*(getattr(s, k) for k in ORDERED), *planned.values()]


class _Loop(_Phase):
    def forward(self, tensors: Tensors, state: Tensors, plan: Tensors, loop: Tensor) -> list[Tensor]:
        params = self.params(tensors, state)
        n = params.n_allies
        penalty = penalties(plan["target"], n, params.n_enemies)
        planned = Plan(**_unpadded(plan, n), penalty=penalty)
        s = game_loop(params, self.terrain, BattleState(**_unpadded(state, n)), planned, loop)
        return list(_padded(s.tensors(), n).values())


class _End(_Phase):
    def forward(
        self, tensors: Tensors, before: Tensors, after: Tensors, fresh: Tensors, begins: Tensor
    ) -> list[Tensor]:
        params = self.params(tensors, before)
        n = params.n_allies
        old, now, new = (BattleState(**_unpadded(s, n)) for s in (before, after, fresh))
        battles, step = conclude(params, self.terrain, old, now, new, begins)
        shown = [getattr(step.observation, k) for k in SHOWN]
        brought = [getattr(step, k) for k in BROUGHT]
        return [*_padded(battles.tensors(), n).values(), *shown, *brought]


PHASES: dict[str, type[_Phase]] = {"orders": _Orders, "loop": _Loop, "end": _End}


# Compiling


def compile_family(params: UnitParams, terrain: Terrain, folder: Path) -> None:
    """Write the compiled phases of a family into `folder`, which appears when they are whole.

    Raises whatever torch raises where it cannot compile: RuntimeError, OSError and others.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Path(place) / "phases"
        made.mkdir()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _scratch(Path(place) / "scratch"):
            for name, inputs in _example_inputs(params).items():
                _compile(PHASES[name](params, terrain), inputs, made / f"{name}.pt2")
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)


def _example(params: UnitParams) -> UnitParams:
    """Parameters of a battle of the family with the numbers of units to trace; their values do not matter."""
    if Family.of(params).units:
        return params
    task, a, e = params.task, EXAMPLE_ALLIES, EXAMPLE_ENEMIES
    larger: BattleTask = replace(
        task,
        layout=replace(task.layout, n_allies=a, n_enemies=e),
        ally_units=task.ally_units[:1] * a,
        enemy_units=task.enemy_units[:1] * e,
    )
    return UnitParams.of(larger, params.draw.device)


def _example_inputs(params: UnitParams) -> dict[str, tuple[Any, ...]]:
    """Inputs of every phase to trace it with."""
    example, b = _example(params), EXAMPLE_BATTLES
    n, n_units = example.n_allies, example.n_units
    tensors = _graph_params(example)
    blank = BattleState.blank(n, example.n_enemies, torch.zeros(b, dtype=torch.int64))
    state = _padded(blank.tensors(), n)
    actions = torch.zeros(n, b, dtype=torch.int64)
    lot, look = torch.zeros(n_units, b), torch.zeros(n_units, b, dtype=torch.int64)
    heading = torch.zeros(n, b)
    after, fresh = ({k: v.clone() for k, v in state.items()} for _ in range(2))  # one tensor is one input
    plan = dict(zip(PLAN, (actions, heading, heading.clone(), look, lot, lot.clone())))
    return {
        "orders": (tensors, state, actions),
        "loop": (tensors, state, plan, torch.tensor(0)),
        "end": (tensors, state, after, fresh, torch.tensor(True)),
    }


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """Let the compiler work in this folder."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        if before is not None:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


def _traced(phase: _Phase, inputs: tuple[Any, ...]) -> Any:
    """The graph of a phase, an `ExportedProgram`, for any numbers of battles and of units of the family."""
    from torch.export import Dim, export
    from torch.utils._pytree import tree_map

    sizes = {EXAMPLE_BATTLES: Dim("B", min=FEWEST_BATTLES, max=1 << 24)}
    if not Family.of(phase.like).units:
        sizes[EXAMPLE_ALLIES] = Dim("A", min=FEWEST_UNITS[0], max=MOST_UNITS - FEWEST_UNITS[1])
        sizes[EXAMPLE_ALLIES + EXAMPLE_ENEMIES] = Dim("N", min=sum(FEWEST_UNITS), max=MOST_UNITS)
    shapes = tree_map(lambda x: {i: sizes[n] for i, n in enumerate(x.shape) if n in sizes}, inputs)
    return export(phase, inputs, dynamic_shapes=shapes, strict=False)


def _compile(phase: _Phase, inputs: tuple[Any, ...], path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    aoti_compile_and_package(
        _traced(phase, inputs), package_path=str(path), inductor_configs=FUSED | {"cpp.dynamic_threads": True}
    )
