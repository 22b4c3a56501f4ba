"""Commands in processes of their own, which can be killed, refused a disk, and read as they go.

A forked one begins at once, for everything is imported here already; a new interpreter, which needs
five seconds, is for what depends on how Python starts and ends.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import IO

from hygen_lightning.cli import main

TESTS = Path(__file__).parent
OF_ANOTHER_RUN = ("LOCAL_RANK", "HYGEN_LIGHTNING_RUN_DIR")
"""Variables that make a command a part of another one."""


class Forked:
    """A command in a forked process; a context manager that kills what is left of it.

    stdout: a pipe, to be read line by line.
    """

    def __init__(self, *words: str, largest_file_bytes: int | None = None) -> None:
        reader, writer = os.pipe()
        self._opened = ExitStack()
        self._err = self._opened.enter_context(os.fdopen(os.memfd_create("stderr"), "w+"))
        self.stdout: IO[str] = self._opened.enter_context(os.fdopen(reader))
        given = (words, writer, self._err.fileno(), largest_file_bytes)
        self._process = get_context("fork").Process(target=_play, args=given)
        self._process.start()
        os.close(writer)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.join()
        self._opened.close()

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self._process.kill()

    @property
    def ended(self) -> bool:
        return not self._process.is_alive()

    def exit_code(self, timeout_s: float = 240) -> int:
        """When it has ended; -9 where it was killed."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, f"still at work after {timeout_s} s"
        return self._process.exitcode

    def errors(self) -> str:
        """All of stderr, once it has ended."""
        self._err.seek(0)
        return self._err.read()


def _play(words: tuple[str, ...], out: int, err: int, largest_file_bytes: int | None) -> None:
    for name in OF_ANOTHER_RUN:
        os.environ.pop(name, None)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background, too
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", 1, closefd=False) for stream in (1, 2))
    if largest_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))
    sys.exit(main(list(words)))


def run_command(*words: str, largest_file_bytes: int | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a forked command that is left alone.

    A write that makes a file larger than `largest_file_bytes` fails, as on a full disk.
    """
    with Forked(*words, largest_file_bytes=largest_file_bytes) as process:
        out = process.stdout.read()
        return process.exit_code(), out, process.errors()


def new_interpreter(*words: str) -> subprocess.Popen[str]:
    """`python -m hygen_lightning`, one thread."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    for name in OF_ANOTHER_RUN:
        variables.pop(name, None)
    words = (sys.executable, "-m", "hygen_lightning", *words)
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env=variables, stdout=pipe, stderr=pipe, text=True)


def run_new_interpreter(*words: str, timeout_s: float = 240) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that is left alone."""
    with new_interpreter(*words) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, err


def wait_for(folder: Path, name: str, timeout_s: float = 240) -> None:
    """Until a file of this name lies somewhere below a folder."""
    until = time.monotonic() + timeout_s
    while not list(folder.rglob(name)):
        assert time.monotonic() < until, f"no {name} in {folder}"
        time.sleep(0.02)
