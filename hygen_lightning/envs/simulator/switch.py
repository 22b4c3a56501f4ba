"""Whether compiled code plays the battles on a CPU: HYGEN_COMPILED=auto, on or off.

auto    what holds where nothing is set: compiled code, where the cache folder holds it. Else battles are
        played uncompiled until that has taken as long as compiling would; then their family is compiled,
        once on this machine. So a short job never waits for a compiler, and a long one loses two minutes.
        Compiled code is used only where it gave the same battles as uncompiled code, bit for bit, when it
        was made: results do not depend on which one plays, and a run may change in its middle.
on      compiled code from the first step; an error where that is not possible.
off     never.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock

from hygen_lightning.envs.simulator.compiled import CompiledDynamics, Family, compile_family
from hygen_lightning.envs.simulator.formation import Start, new_battles
from hygen_lightning.envs.simulator.step import Dynamics
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from hygen_lightning.envs.simulator.state import BattleState
    from hygen_lightning.envs.simulator.terrain import Terrain
    from hygen_lightning.envs.simulator.unit_params import UnitParams
    from hygen_lightning.specs import TimeStep

SWITCH, DEFAULT = "HYGEN_COMPILED", "auto"
WORTH_S = 120.0
"""CPU seconds of uncompiled steps of a family after which `auto` compiles it: about what compiling takes, so
a job takes at most twice as long as the better of the two ways.
Elapsed seconds would count what other jobs take."""
CHECKED_BATTLES, CHECKED_STEPS = 37, 24
"""New code has to give these battles with random actions bit for bit. Not a multiple of a vector's width."""
DIFFERS = "differs-in-rounding"
"""An empty file beside code that does not."""

_spent_s: dict[Family, float] = {}
_said: set[str] = set()


class NotCompiledError(Exception):
    """Why there is no compiled code, in one line."""


def dynamics_for(
    params: UnitParams, terrain: Terrain, device: torch.device, compiled: bool | None = None
) -> Any:
    """What plays the battles of a task: `Dynamics`, or something with the same `step` and `advance`.

    compiled: True and False are `on` and `off`; None asks HYGEN_COMPILED. On a GPU, True fuses operations
    with `torch.compile`, and None does not. UserError if compiled code is asked for and impossible.
    """
    way = _switch() if compiled is None else ("on" if compiled else "off")
    if device.type != "cpu":
        return Dynamics.compiled(dynamic=False) if compiled else Dynamics.plain()
    if way == "off":
        return Dynamics.plain()
    if way == "auto":
        return AutoDynamics(params, terrain)
    try:
        return CompiledDynamics(params, code_of(params, terrain))
    except NotCompiledError as error:
        raise UserError(f"compiled battles are asked for: {error}; or set {SWITCH}=auto") from error


def _switch() -> str:
    value = os.environ.get(SWITCH, DEFAULT)
    if value not in ("auto", "on", "off"):
        raise UserError(f"{SWITCH} is {value!r}; give auto, on or off")
    return value


class AutoDynamics:
    """Uncompiled steps, until compiled code is there or has become worth its making."""

    def __init__(self, params: UnitParams, terrain: Terrain) -> None:
        self._params, self._terrain, self._family = params, terrain, Family.of(params)
        self._plain = Dynamics.plain()
        self._code: CompiledDynamics | None = None
        self._possible = True
        if self._family.folder().exists():
            self._take_code()
        elif compiler() is None:
            self._give_up(f"no C++ compiler ({compiler_name()}) found")

    def step(
        self,
        params: UnitParams,
        terrain: Terrain,
        before: BattleState,
        actions: Tensor,
        fresh: BattleState | None = None,
    ) -> tuple[BattleState, TimeStep]:
        """As `Dynamics.step`."""
        if self._code is not None:
            return self._code.step(params, terrain, before, actions, fresh)
        start = time.thread_time()
        played = self._plain.step(params, terrain, before, actions, fresh)
        if self._possible:
            spent = _spent_s.get(self._family, 0.0) + time.thread_time() - start
            _spent_s[self._family] = spent
            if spent >= WORTH_S:
                self._take_code()
        return played

    def _take_code(self) -> None:
        try:
            folder = code_of(self._params, self._terrain)
            if (folder / DIFFERS).exists():
                raise NotCompiledError("compiled battles differ in rounding on this machine")
            self._code = CompiledDynamics(self._params, folder)
        except NotCompiledError as error:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self._possible = False
        _say_once(f"simulator: {reason}; battles are played uncompiled, several times slower")


def code_of(params: UnitParams, terrain: Terrain) -> Path:
    """The folder of a family's compiled phases, which are made where there are none yet.

    One process compiles, the others wait for it. NotCompiledError says why it cannot be done.
    """
    folder = Family.of(params).folder()
    if folder.exists():
        return folder
    if compiler() is None:
        raise NotCompiledError(f"no C++ compiler ({compiler_name()}) found; install one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                _say_once(
                    f"simulator: compiling battles on terrain {params.task.terrain}, once on this machine"
                )
                compile_family(params, terrain, folder)
                if not same_battles(params, terrain, folder):
                    (folder / DIFFERS).touch()
    except Exception as error:  # whatever goes wrong inside a compiler, battles can be played without it
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise NotCompiledError(f"battles could not be compiled ({reason})") from error
    return folder


def same_battles(params: UnitParams, terrain: Terrain, folder: Path) -> bool:
    """Whether the code in `folder` gives the same battles as uncompiled code, bit for bit."""
    start, seeds = Start.of(params, terrain), torch.arange(CHECKED_BATTLES)
    plain, code = Dynamics.plain(), CompiledDynamics(params, folder)
    battles = new_battles(params, terrain, start, seeds)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.ones(params.n_allies, CHECKED_BATTLES, dtype=torch.int64)
    for _ in range(CHECKED_STEPS):
        fresh = new_battles(params, terrain, start, seeds + 1)
        (after, step), (other, shown) = (
            way.step(params, terrain, battles, chosen, fresh) for way in (plain, code)
        )
        pairs = [
            *zip(after.tensors().values(), other.tensors().values()),
            *zip(vars(step.observation).values(), vars(shown.observation).values()),
            (step.reward, shown.reward),
        ]
        if not all(torch.equal(mine, theirs) for mine, theirs in pairs):
            return False
        battles, available = after, step.observation.avail_actions
        chosen = (torch.rand(available.shape, generator=generator) * available).argmax(2).t().contiguous()
    return True


def compiler_name() -> str:
    """The C++ compiler that torch calls."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def compiler() -> str | None:
    """Where that compiler is; None if there is none."""
    return shutil.which(compiler_name())


def _say_once(line: str) -> None:
    if line not in _said and os.environ.get("LOCAL_RANK", "0") == "0":
        _said.add(line)
        print(line, file=sys.stderr, flush=True)
