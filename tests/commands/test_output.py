"""What commands write, where nobody reads it any more or nothing can be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hygen_lightning.cli import main
from hygen_lightning.commands.output import lasting_output, print_json, print_table


@contextmanager
def nobody_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """stdout is a pipe whose reader has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield


@pytest.mark.parametrize("dropped", [OSError, BrokenPipeError])
def test_what_nobody_reads_is_dropped(dropped: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_reads(monkeypatch):
        with lasting_output(dropped):
            print("a line", flush=True)
            print_table("a table", ["a", "b"], [["1", "2"]] * 1000)
            print_json({"one": "object"})
        print("even behind it", flush=True)


def test_without_any_output_a_command_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        with lasting_output(OSError):
            print("fit >&-")


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"]])
def test_a_command_whose_reader_goes_away_is_done(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_reads(monkeypatch):
        assert main(words) == 0


@pytest.mark.parametrize(("columns", "fits"), [(None, True), ("400", True), ("60", False)])
def test_in_a_file_a_line_is_as_long_as_its_table_needs(
    columns: str | None, fits: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    words = ["a group with a long name", *["0.123 [0.100-0.150]"] * 6]
    print_table("title", [str(index) for index in range(7)], [words])
    lines = capsys.readouterr().out.splitlines()
    assert any(all(word in line for word in words) for line in lines) == fits


def print_where_all_is_full(dropped: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 (closing it would write once more)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with lasting_output(dropped):
            print("one line", flush=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_ends_our_commands_and_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    print_where_all_is_full(OSError, monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        print_where_all_is_full(BrokenPipeError, monkeypatch)
