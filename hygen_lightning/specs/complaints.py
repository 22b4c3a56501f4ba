"""What is wrong, in one line, for a user to act on."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Bad input from a user: one line that says what, where and what to do. Exit code 2."""


class RunError(Exception):
    """A run that cannot go on: one line that says why, where and what to do. Exit code 1."""


def check_is_file(path: Path, advice: str) -> None:
    """UserError, with what to give instead, unless `path` is a file."""
    if not path.is_file():
        what = " is a folder, not a file" if path.is_dir() else ": no such file"
        raise UserError(f"{path}{what}; {advice}")
