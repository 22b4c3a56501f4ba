"""Polite requests to stop (SIGTERM, Ctrl-C, a SLURM preemption): remembered until a step is done."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """Notes the first signal that asks this process to stop; the same one again stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def listen(self) -> None:
        """Take over the signals; SLURM's warning before a time limit is SIGUSR1."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.signal = None
        signals = [signal.SIGTERM, signal.SIGINT]
        if "SLURM_JOB_ID" in os.environ:
            signals.append(signal.SIGUSR1)
        self._handlers = {number: signal.signal(number, self._note) for number in signals}

    def ignore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once and loses it\n")
        at_once = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, at_once)

    @property
    def exit_code(self) -> int:
        """What shells report of a process that a signal ended: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGTERM)
