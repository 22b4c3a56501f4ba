"""One game of StarCraft II in a process of its own: the only file that imports `smac`."""

from __future__ import annotations

import os
import signal
import traceback
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    import numpy as np

CLOSING_S = 20.0
"""Time that a game has to end itself before its process is killed."""
STARTS = 2
"""Attempts to start a battle before giving up."""
NOT_STARTED = ("SC2LaunchError", "NoMapError", "ValueError", "RuntimeError", "ImportError", "OSError")
"""Errors of a start that mean that StarCraft II, a map or a package is not where it is expected."""


@dataclass
class GameObservation:
    """Of one battle: obs [A, obs_dim], state [state_dim] float32, avail_actions [A, K] bool."""

    obs: np.ndarray
    state: np.ndarray
    avail_actions: np.ndarray


@dataclass
class GameStep:
    """Result of a step of one battle; `observation` is None if StarCraft II stopped answering."""

    observation: GameObservation | None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False


class Game:
    """A process that plays one battle after another on one map.

    Requests are sent with `ask` and answered with `answer`, so that many games work at once. The
    process ends with `close`, with the object and with the main process.
    """

    def __init__(self, map_name: str) -> None:
        context = get_context("spawn")
        self.map_name = map_name
        self._pipe, there = context.Pipe()
        process = context.Process(target=serve, args=(there, map_name), daemon=True)
        process.start()
        there.close()
        self._end = weakref.finalize(self, _end, process, self._pipe)

    def ask(self, request: str, argument: Any = None) -> None:
        """Send a request: "sizes" with a map, "reset" with a seed, or "step" with one action per agent."""
        try:
            self._pipe.send((request, argument))
        except OSError:
            raise self._ended() from None

    def answer(self) -> Any:
        """Result of the last request; UserError if StarCraft II or the map cannot be started."""
        try:
            outcome, value = self._pipe.recv()
        except (OSError, EOFError):
            raise self._ended() from None
        if outcome == "not started":
            raise UserError(value)
        if outcome == "failed":
            raise RuntimeError(f"a game on {self.map_name} failed:\n{value}")
        return value

    def closing(self) -> None:
        """Tell the game to end, without waiting for it."""
        with suppress(OSError):
            self._pipe.send(("close", None))

    def close(self) -> None:
        """End the game and its process."""
        self._end()

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"the process of a game on {self.map_name} ended unexpectedly (out of memory?)")


def _end(process: BaseProcess, pipe: Connection) -> None:
    with suppress(OSError):
        pipe.send(("close", None))
    pipe.close()  # a game that waits for orders ends without any
    process.join(CLOSING_S)
    if process.is_alive():
        process.kill()
        process.join()


def answers(games: Sequence[Game], request: str, arguments: Sequence[Any]) -> list[Any]:
    """Send a request to every game, then wait for all answers."""
    for game, argument in zip(games, arguments, strict=True):
        game.ask(request, argument)
    return [game.answer() for game in games]


def serve(pipe: Connection, map_name: str) -> None:
    """The process of a game: answers requests until it is told to close, or the main process is gone.

    It ignores signals: the main process ends its step first and then closes its games.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # not in the process group of the main process, which may get signals
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.dup2(2, 1)  # standard output belongs to the main process, and StarCraft II writes there
    battle = _Battle(map_name)
    with suppress(EOFError, OSError):
        while True:
            request, argument = pipe.recv()
            if request == "close":
                break
            try:
                pipe.send(("done", getattr(battle, request)(argument)))
            except UserError as error:
                pipe.send(("not started", str(error)))
            except Exception:  # reported by the main process
                pipe.send(("failed", traceback.format_exc()))
    battle.close()


class _Battle:
    """SMAC's environment of one map."""

    def __init__(self, map_name: str) -> None:
        self.map_name = map_name
        self._env: Any = None
        self._ended = True

    def sizes(self, map_name: str) -> dict[str, Any]:
        """SMAC's `get_env_info` of a map: state_shape, obs_shape, n_actions, n_agents, episode_limit."""
        try:
            from smac.env.starcraft2.maps.smac_maps import get_smac_map_registry
        except ImportError as error:
            raise UserError(
                f"SMAC's package cannot be imported ({error}); run pip install '.[smac]' in this "
                "project's folder"
            ) from error
        known = get_smac_map_registry()
        if map_name not in known:
            raise UserError(
                f"SMAC has no map {map_name!r} (it has {', '.join(sorted(known))}); play it in the "
                "simulator, or install a SMAC that registers it"
            )
        return dict(_new(map_name, None).get_env_info())

    def reset(self, seed: int) -> GameObservation:
        """Start a battle. StarCraft II takes a seed only when it starts."""
        if not self._ended:  # SMAC's reward scale is wrong after a battle that did not end
            self.close()
        self._ended = False
        reason = "it stops answering"
        for _ in range(STARTS):
            try:
                self._env = self._env or _new(self.map_name, seed)
                restarts = self._env.force_restarts
                self._env.reset()
                if self._env.force_restarts == restarts:
                    return self._observe()
            except Exception as error:
                if not {kind.__name__ for kind in type(error).__mro__} & set(NOT_STARTED):
                    raise
                reason = " ".join(str(error).split())
            self.close()  # after a restart within a reset SMAC returns units of another game
        raise UserError(
            f"StarCraft II could not be started on {self.map_name}: {reason}; install StarCraft II 4.10 "
            "with SMAC's maps and set SC2PATH to its folder, or play in the simulator"
        )

    def step(self, actions: list[int]) -> GameStep:
        reward, terminated, info = self._env.step(actions)
        if not info:  # SMAC had to restart StarCraft II
            return GameStep(None)
        self._ended = bool(terminated)
        truncated = bool(info.get("episode_limit", False))
        return GameStep(self._observe(), float(reward), bool(terminated), truncated, bool(info["battle_won"]))

    def close(self) -> None:
        """End StarCraft II; the next battle starts it anew."""
        if self._env is not None:
            self._env.close()
        self._env = None

    def _observe(self) -> GameObservation:
        import numpy as np

        return GameObservation(
            np.asarray(self._env.get_obs(), dtype=np.float32),
            np.asarray(self._env.get_state(), dtype=np.float32),
            np.asarray(self._env.get_avail_actions()) > 0,
        )


def _new(map_name: str, seed: int | None) -> Any:
    from smac.env import StarCraft2Env

    # `continuing_episode` only makes SMAC report that the time limit ended a battle.
    return StarCraft2Env(map_name=map_name, seed=seed, continuing_episode=True)
