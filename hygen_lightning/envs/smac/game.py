"""One game of StarCraft II in a process of its own: the only file that imports `smac`."""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    import numpy as np

CLOSING_S = 20.0
"""How long a game may take to end itself before its process is ended."""
NOT_STARTED = ("SC2LaunchError", "NoMapError", "FileNotFoundError", "PermissionError")
"""Names of the errors that mean: StarCraft II, or the map, is not where it is looked for."""


@dataclass
class Shown:
    """What a battle shows: obs [A, obs_dim], state [state_dim] float32, avail_actions [A, K] bool."""

    obs: np.ndarray
    state: np.ndarray
    avail_actions: np.ndarray


@dataclass
class Brought:
    """What a step brought. broken: StarCraft II stopped answering, and the battle ends without a result."""

    shown: Shown
    reward: float
    terminated: bool
    truncated: bool
    won: bool
    broken: bool = False


class Game:
    """A process that plays one battle after another on one map.

    Orders go out with `ask` and come back with `answer`, so that many games work at once.
    """

    def __init__(self, map_name: str) -> None:
        context = get_context("spawn")
        self.map_name = map_name
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there, map_name), daemon=True)
        self._process.start()
        there.close()

    def ask(self, order: str, argument: Any = None) -> None:
        """Send an order: "sizes", "reset" with a seed, or "step" with one action per agent."""
        self._pipe.send((order, argument))

    def answer(self) -> Any:
        """What the last order brought; UserError if StarCraft II or the map cannot be started."""
        try:
            outcome, value = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process of a game on {self.map_name} ended unasked") from None
        if outcome == "not started":
            raise UserError(value)
        if outcome == "failed":
            raise RuntimeError(f"a game on {self.map_name} failed:\n{value}")
        return value

    def close(self) -> None:
        """End the game and its process."""
        if self._process.is_alive():
            with suppress(OSError):  # it may be ending already
                self.ask("close")
            self._process.join(CLOSING_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()


def answers(games: Sequence[Game], order: str, arguments: Sequence[Any]) -> list[Any]:
    """What each game answers to an order; all are asked before one is waited for."""
    for game, argument in zip(games, arguments, strict=True):
        game.ask(order, argument)
    return [game.answer() for game in games]


def serve(pipe: Connection, map_name: str) -> None:
    """The process of a game: answers orders until it is told to close or nobody is left to tell it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which closes us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    player: _Player | None = None
    try:
        while True:
            order, argument = pipe.recv()
            if order == "close":
                break
            try:
                player = player or _Player(map_name)
                pipe.send(("done", getattr(player, order)(argument)))
            except UserError as error:
                pipe.send(("not started", str(error)))
            except Exception as error:  # whatever it is, the main process has to say it
                pipe.send(_told(error, map_name))
    except EOFError:
        pass
    finally:
        if player is not None:
            player.close()


def _told(error: Exception, map_name: str) -> tuple[str, str]:
    """How an error is told to the main process."""
    if type(error).__name__ not in NOT_STARTED:
        return "failed", traceback.format_exc()
    reason = " ".join(str(error).split())
    return "not started", (
        f"StarCraft II could not be started on {map_name}: {reason}; install StarCraft II 4.10 with SMAC's "
        "maps and set SC2PATH to its folder, or play in the simulator"
    )


class _Player:
    """SMAC's environment of one map, and the last view it gave."""

    def __init__(self, map_name: str) -> None:
        from smac.env.starcraft2.maps.smac_maps import get_smac_map_registry

        known = get_smac_map_registry()
        if map_name not in known:
            raise UserError(
                f"SMAC has no map {map_name!r} (it has {', '.join(sorted(known))}); play it in the "
                "simulator, or install a SMAC that registers it"
            )
        self.map_name = map_name
        self._env = self._new(None)
        self._fresh = True
        self._shown: Shown | None = None

    def sizes(self, _: None) -> dict[str, Any]:
        """SMAC's own account: state_shape, obs_shape, n_actions, n_agents, episode_limit and more."""
        return dict(self._env.get_env_info())

    def reset(self, seed: int) -> Shown:
        if self._fresh:  # StarCraft II takes a seed when it starts, and no other
            self._env = self._new(seed)
            self._fresh = False
        self._env.reset()
        return self._look()

    def step(self, actions: list[int]) -> Brought:
        reward, terminated, info = self._env.step(actions)
        if not info:  # SMAC's sign for a StarCraft II that it had to start again
            self._env.close()
            self._fresh = True
            assert self._shown is not None
            return Brought(self._shown, 0.0, terminated=True, truncated=True, won=False, broken=True)
        truncated = bool(info.get("episode_limit", False))
        return Brought(self._look(), float(reward), bool(terminated), truncated, bool(info["battle_won"]))

    def close(self) -> None:
        self._env.close()

    def _new(self, seed: int | None) -> Any:
        from smac.env import StarCraft2Env

        # `continuing_episode` only makes SMAC say when the time limit ended a battle.
        return StarCraft2Env(map_name=self.map_name, seed=seed, continuing_episode=True)

    def _look(self) -> Shown:
        import numpy as np

        self._shown = Shown(
            np.asarray(self._env.get_obs(), dtype=np.float32),
            np.asarray(self._env.get_state(), dtype=np.float32),
            np.asarray(self._env.get_avail_actions()) > 0,
        )
        return self._shown
