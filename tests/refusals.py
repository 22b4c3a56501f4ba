"""What a command says that refuses its input."""

from __future__ import annotations

import pytest

from hygen_lightning.cli import main


def refused(argv: list[str], capsys: pytest.CaptureFixture[str], begun: bool = False) -> str:
    """The one line on stderr of a command that ends with exit code 2, before or after it began a run."""
    capsys.readouterr()
    assert main(argv) == 2
    said = capsys.readouterr()
    assert ("run folder" in said.out) == begun
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]
