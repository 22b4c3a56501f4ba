"""The table of a study while it runs: live on a terminal, elsewhere a line for each change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from hygen_lightning.report.tables import percent
from hygen_lightning.study.launch import Watched

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

REFRESH_S = 2.0


class StudyTable:
    """Shows the cells of a study. steps: optimiser steps of a whole run, by name."""

    def __init__(self, cells: Sequence[Watched], steps: Mapping[str, int], quiet: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self.cells, self.steps, self.quiet = cells, steps, quiet
        self.begun = self.shown = time.monotonic()
        self.console = Console(quiet=quiet)
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.said = {id(cell): cell.state for cell in cells}

    def __enter__(self) -> StudyTable:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self.table(), refresh=True)
            self.live.stop()
        else:
            self.console.print(self.table())

    def show(self) -> None:
        """Say what has changed; call it as often as you like."""
        now = time.monotonic()
        if self.live is not None:
            if now - self.shown > REFRESH_S:
                self.shown = now
                self.live.update(self.table(), refresh=True)
            return
        for cell in self.cells:
            if self.said[id(cell)] != cell.state:
                self.said[id(cell)] = cell.state
                why = f": {cell.why} (all of it: {cell.run.log})" if cell.state == "failed" else ""
                if not self.quiet:
                    print(f"{cell.run.cell.name} seed {cell.run.cell.seed}: {cell.state}{why}", flush=True)

    def table(self) -> Table:
        """One row per cell: state, optimiser step, mean win rates on seen and unseen tasks."""
        from rich.table import Table

        done = sum(cell.state == "done" for cell in self.cells)
        minutes = (time.monotonic() - self.begun) / 60
        title = f"{done} of {len(self.cells)} runs done, {minutes:.1f} minutes"
        table = Table(title=title, title_justify="left")
        for column in ("run", "seed", "state", "step", "of", "seen %", "unseen %"):
            justify: JustifyMethod = "left" if column in ("run", "state") else "right"
            table.add_column(column, justify=justify, overflow="fold")
        styles = {"running": "cyan", "done": "green", "failed": "red", "waiting": "dim"}
        for cell in self.cells:
            how = cell.run.progress()
            state = f"failed: {cell.why}" if cell.state == "failed" else cell.state
            name, seed = cell.run.cell.name, cell.run.cell.seed
            rates = [percent(how.get(kind)) for kind in ("seen", "unseen")]
            cells = [name, str(seed), state, str(how.get("step", "–")), str(self.steps[name]), *rates]
            table.add_row(*cells, style=styles[cell.state])
        return table
