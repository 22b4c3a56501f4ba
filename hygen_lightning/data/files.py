"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hygen_lightning.specs import UserError

PICTURES = (".png", ".pdf", ".svg")
"""What plots are saved as."""


def cache_dir() -> Path:
    """Where recordings of scripted policies and compiled battles are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "hygen_lightning"
    except RuntimeError as error:
        raise UserError("you have no home folder; say with XDG_CACHE_HOME=DIR where to keep files") from error


def files_below(folder: Path, name: str) -> list[Path]:
    """Files at or below a folder whose names match a pattern like *.h5, also through symbolic links.

    A folder that a link leads back to is not entered twice.
    """
    found, entered = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        found += [path for file in fnmatch.filter(files, name) if (path := Path(place, file)).is_file()]
    return sorted(found)


def check_place(path: Path, is_file: bool = False) -> None:
    """UserError where nothing can be written at `path`, or is_file and a folder is there: found before the
    work, not after it."""
    if is_file and path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise UserError(f"{path}: {nearest.name} is a file, no folder; give another place to write to")
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(
            f"{path}: {nearest} may not be written to ({error.strerror}); give another place to write to"
        ) from error


def check_picture(path: Path) -> None:
    """UserError where no picture can be written: a kind that nobody draws, or see `check_place`."""
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"{path}: give the name of a picture, one of {', '.join(PICTURES)}")
    check_place(path, is_file=True)


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
def replacing_files(folder: Path, first: str = "") -> Iterator[Path]:
    """Yields a temporary folder inside `folder`; its files move there, each whole, if the block succeeds.

    If the block fails, the folder stays as it was. Other files in it stay in any case. first: the name of
    the file that moves before the others.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder))
    try:
        yield temporary
        files = (path for path in temporary.rglob("*") if path.is_file())
        for file in sorted(files, key=lambda path: (path.name != first, path)):
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
