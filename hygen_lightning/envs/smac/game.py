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
"""How long a game may take to end itself before its process is ended."""
STARTS = 2
"""How often a battle is started before StarCraft II counts as one that does not start."""
NOT_STARTED = ("SC2LaunchError", "NoMapError", "ValueError", "RuntimeError", "ImportError", "OSError")
"""Errors of a start that mean: StarCraft II, a map or a package is not where it is looked for."""


@dataclass
class Shown:
    """What a battle shows: obs [A, obs_dim], state [state_dim] float32, avail_actions [A, K] bool."""

    obs: np.ndarray
    state: np.ndarray
    avail_actions: np.ndarray


@dataclass
class Brought:
    """What a step brought; a StarCraft II that stops answering brings nothing (`shown` is None)."""

    shown: Shown | None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False


class Game:
    """A process that plays one battle after another on one map.

    Orders go out with `ask` and come back with `answer`, so that many games work at once. The
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

    def ask(self, order: str, argument: Any = None) -> None:
        """Send an order: "sizes" with a map, "reset" with a seed, or "step" with one action per agent."""
        try:
            self._pipe.send((order, argument))
        except OSError:
            raise self._ended() from None

    def answer(self) -> Any:
        """What the last order brought; UserError if StarCraft II or the map cannot be started."""
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
        return RuntimeError(f"the process of a game on {self.map_name} ended unasked (out of memory?)")


def _end(process: BaseProcess, pipe: Connection) -> None:
    with suppress(OSError):
        pipe.send(("close", None))
    pipe.close()  # a game that waits for orders ends without any
    process.join(CLOSING_S)
    if process.is_alive():
        process.kill()
        process.join()


def answers(games: Sequence[Game], order: str, arguments: Sequence[Any]) -> list[Any]:
    """What each game answers to an order; all are asked before one is waited for."""
    for game, argument in zip(games, arguments, strict=True):
        game.ask(order, argument)
    return [game.answer() for game in games]


def serve(pipe: Connection, map_name: str) -> None:
    """The process of a game: answers orders until it is told to close or nobody is left to tell it.

    Signals are for the main process, which ends its step first and then closes its games.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # signals to the process group of the main process do not come here
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.dup2(2, 1)  # standard output belongs to the main process: StarCraft II writes there too
    player = _Player(map_name)
    with suppress(EOFError, OSError):
        while True:
            order, argument = pipe.recv()
            if order == "close":
                break
            try:
                pipe.send(("done", getattr(player, order)(argument)))
            except UserError as error:
                pipe.send(("not started", str(error)))
            except Exception:  # whatever it is, the main process has to say it
                pipe.send(("failed", traceback.format_exc()))
    player.close()


class _Player:
    """SMAC's environment of one map."""

    def __init__(self, map_name: str) -> None:
        self.map_name = map_name
        self._env: Any = None
        self._ended = True

    def sizes(self, map_name: str) -> dict[str, Any]:
        """SMAC's own account of a map: state_shape, obs_shape, n_actions, n_agents, episode_limit."""
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

    def reset(self, seed: int) -> Shown:
        """Start a battle. StarCraft II takes a seed when it starts, and no other."""
        if not self._ended:  # SMAC's scale of rewards is only right after a battle that ended
            self.close()
        self._ended = False
        reason = "it stops answering"
        for _ in range(STARTS):
            try:
                self._env = self._env or _new(self.map_name, seed)
                restarts = self._env.force_restarts
                self._env.reset()
                if self._env.force_restarts == restarts:
                    return self._look()
            except Exception as error:
                if not {kind.__name__ for kind in type(error).__mro__} & set(NOT_STARTED):
                    raise
                reason = " ".join(str(error).split())
            self.close()  # after a restart within a reset SMAC shows units of another game
        raise UserError(
            f"StarCraft II could not be started on {self.map_name}: {reason}; install StarCraft II 4.10 "
            "with SMAC's maps and set SC2PATH to its folder, or play in the simulator"
        )

    def step(self, actions: list[int]) -> Brought:
        reward, terminated, info = self._env.step(actions)
        if not info:  # SMAC's sign for a StarCraft II that it had to start again
            return Brought(None)
        self._ended = bool(terminated)
        truncated = bool(info.get("episode_limit", False))
        return Brought(self._look(), float(reward), bool(terminated), truncated, bool(info["battle_won"]))

    def close(self) -> None:
        """End StarCraft II; the next battle starts it anew."""
        if self._env is not None:
            self._env.close()
        self._env = None

    def _look(self) -> Shown:
        import numpy as np

        return Shown(
            np.asarray(self._env.get_obs(), dtype=np.float32),
            np.asarray(self._env.get_state(), dtype=np.float32),
            np.asarray(self._env.get_avail_actions()) > 0,
        )


def _new(map_name: str, seed: int | None) -> Any:
    from smac.env import StarCraft2Env

    # `continuing_episode` only makes SMAC say when the time limit ended a battle.
    return StarCraft2Env(map_name=map_name, seed=seed, continuing_episode=True)
