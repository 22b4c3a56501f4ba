"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hygen_lightning.specs import UserError


def cache_dir() -> Path:
    """Where recordings of scripted policies and compiled battles are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "hygen_lightning"


def check_place(path: Path) -> None:
    """UserError where nothing can be written at `path`: found before the work, not after it."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise UserError(f"{path}: {nearest.name} is a file, no folder; give another place to write to")
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(
            f"{path}: {nearest} may not be written to ({error.strerror}); give another place to write to"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` once the block has succeeded.

    The data is on the disk before the name changes, so an interrupted write or a full disk leaves
    the previous file readable. The folder is created; the temporary file never outlives the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder inside `folder`; its files move there, each whole, if the block succeeds.

    If the block fails, the folder stays as it was. Other files in it stay in any case.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder))
    try:
        yield temporary
        for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
            place = folder / file.relative_to(temporary)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file all at once; UserError, one line, where the disk is full or refuses it."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        size = f"{len(content) / 1e6:.1f} MB"
        raise UserError(
            f"{path}: {error.strerror or error}, {size} not written; make room, or give another place"
        ) from error


def append_whole(path: Path, text: str) -> None:
    """Append text to a file, or leave the file as it was and raise OSError."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        if path.exists():
            os.truncate(path, size)
        raise
