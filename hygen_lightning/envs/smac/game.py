"""The trainer's end of a game of StarCraft II, which runs in a process of its own: see `worker`."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hygen_lightning.envs.smac import worker
from hygen_lightning.specs import UserError

MOST_GAMES = 8
"""Default number of games at once, but no more than CPU cores (the authors' parallel runner: 8). Each needs
about a gigabyte of memory."""

START_S = 60.0
"""Seconds that an interpreter has to start, beside the time for its first answer."""

Arrays = dict[str, np.ndarray]


class GameLostError(Exception):
    """A game died, or did not answer in time."""


@dataclass(frozen=True)
class SmacOptions:
    """How games are played: one key each of an environment file.

    python: interpreter that has numpy and SMAC's package; null: this one. games: at once in each process of
    a run, 1 to 64; null: the CPU cores, but at most 8. answer_s: seconds after which a game that does not
    answer is given up, 1 or more; a start takes up to a minute. replays: folder to which every battle's
    replay is written; null: none.
    """

    python: str | None = None
    games: int | None = None
    answer_s: float = 180.0
    replays: str | None = None

    def __post_init__(self) -> None:
        for name, (kinds, wanted) in _KINDS.items():
            if type(getattr(self, name)) not in kinds:
                raise UserError(f"{name} is {getattr(self, name)!r}; give {wanted}")
        if self.games is not None and not 1 <= self.games <= 64:
            raise UserError(f"games is {self.games}; give 1 to 64 games to play at once")
        if not self.answer_s >= 1:
            raise UserError(f"answer_s is {self.answer_s}; give 1 second or more")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> SmacOptions:
        """The options of these keys; UserError for unknown ones."""
        known = [field.name for field in fields(cls)]
        unknown = [key for key in content if key not in known]
        if unknown:
            raise UserError(f"unknown key {unknown[0]!r}; StarCraft II's environment has {', '.join(known)}")
        return cls(**content)

    @property
    def interpreter(self) -> str:
        """The interpreter to start."""
        return sys.executable if self.python is None else str(Path(self.python).expanduser())

    @property
    def most_games(self) -> int:
        """Games at once."""
        return self.games or min(MOST_GAMES, os.cpu_count() or 1)


_NONE = type(None)
_KINDS = {
    "python": ((str, _NONE), "a path"),
    "games": ((int, _NONE), "a whole number"),
    "answer_s": ((int, float), "a number"),
    "replays": ((str, _NONE), "a folder"),
}


class Game:
    """A process that plays one battle after another.

    Requests are sent with `ask` and answered with `answer`, so that many games work at once. The process
    ends with `close`, with this object and with the trainer, however that ends.
    """

    def __init__(self, options: SmacOptions) -> None:
        """UserError if the interpreter cannot be started."""
        self.options = options
        self._start()

    def _start(self) -> None:
        command = [self.options.interpreter, worker.__file__]
        try:
            self._process = subprocess.Popen(  # in a session of its own: Ctrl-C is for the trainer
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise UserError(f"the interpreter {command[0]} cannot be started: {error.strerror}") from error
        self._answers: queue.Queue[Any] = queue.Queue()
        self._starting_s = START_S
        threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()
        self._end = weakref.finalize(self, _end, self._process, worker.GRACE_S)

    def ask(self, do: str, **request: Any) -> None:
        """Send a request; where the game is dead, `answer` says so."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            worker.write_frame(self._process.stdin, {"do": do, **request})

    def answer(self) -> tuple[Any, Arrays]:
        """Value and arrays of the last request. GameLostError where none comes; UserError if StarCraft II,
        its package or a map cannot be started."""
        try:
            frame = self._answers.get(timeout=self._starting_s + self.options.answer_s)
            self._starting_s = 0.0
        except queue.Empty:
            raise GameLostError(f"no answer in {self.options.answer_s:g} s") from None
        if frame is None:
            raise GameLostError("its process ended")
        header, payload = frame
        if "not started" in header:
            raise UserError(header["not started"])
        if "failed" in header:
            raise RuntimeError(f"a game of StarCraft II failed:\n{header['failed']}")
        return header["done"], _arrays(header["arrays"], payload)

    def renew(self) -> None:
        """Kill the process and start another."""
        self._end.detach()
        _kill(self._process)
        self._start()

    def closing(self) -> None:
        """Tell the game to end, without waiting for it."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """End the game and its process."""
        self._end()


def answers(games: Sequence[Game], do: str, requests: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Send a request to every game, then wait for all answers; GameLostError in place of one that is lost."""
    for game, request in zip(games, requests, strict=True):
        game.ask(do, **request)
    return [_answer_or_loss(game) for game in games]


def _answer_or_loss(game: Game) -> tuple[Any, Arrays] | GameLostError:
    try:
        return game.answer()
    except GameLostError as error:
        return error


def _arrays(described: list[tuple[str, str, list[int]]], payload: bytes) -> Arrays:
    """The arrays of a frame, by name."""
    found, start = {}, 0
    for name, dtype, shape in described:
        size = int(np.prod(shape))
        found[name] = np.frombuffer(payload, dtype, size, start).reshape(shape).copy()
        start += found[name].nbytes
    return found


def _listen(process: subprocess.Popen[bytes], answers: queue.Queue[Any]) -> None:
    """Queue what a game answers, and None when it ends."""
    assert process.stdout is not None
    frame: Any = True
    while frame is not None:
        try:
            frame = worker.read_frame(process.stdout)
        except (OSError, ValueError):
            frame = None
        answers.put(frame)


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Let a game end itself; kill it and all that it started where it does not."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)  # the game is in the group of its worker
    process.wait()
