"""How a command speaks: a table for people, or one JSON object and nothing else."""

from __future__ import annotations

import json as json_format
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

NO_EDGE = 10_000
"""No table in a file is wider."""


def print_json(payload: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json_format.dumps(payload, allow_nan=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; the first column is left-aligned, the others right-aligned.

    A terminal's lines end where it ends; in a file or a pipe they are as long as the table needs, unless
    the environment variable COLUMNS says otherwise.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    console = Console()
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        needed = Measurement.get(console, console.options.update(width=NO_EDGE), table).maximum
        console.width = max(console.width, needed)
    console.print(table)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the work goes on, where that is a terminal; call the result with each advance."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda advance: bar.advance(task, advance)


class LastingStream:
    """A text stream whose reader may go away (`inspect X | head -1`): what nobody takes is dropped.

    dropped: kind of the errors of a write that end nothing.
    """

    def __init__(self, stream: TextIO, dropped: type[OSError]) -> None:
        self._stream, self._dropped = stream, dropped

    def write(self, text: str) -> int:
        """As of the stream, but for the errors that end nothing."""
        try:
            self._stream.write(text)
        except self._dropped as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """As of the stream, but for the errors that end nothing."""
        try:
            self._stream.flush()
        except self._dropped as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        """Nobody reads any more: what is buffered, and all that follows, goes nowhere."""
        if isinstance(error, BrokenPipeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output(dropped: type[OSError]) -> Iterator[None]:
    """Inside, a closed stdout or stderr ends nothing; dropped: see `LastingStream`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (LastingStream(s, dropped) if s is not None else s for s in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.stdout, sys.stderr = before
