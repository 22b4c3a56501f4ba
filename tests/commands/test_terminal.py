"""What a run prints, on a terminal and elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tiny_runs import the_run, tiny_fit

from hygen_lightning.cli import main


def test_the_terminal_shows_the_stages_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny_fit(tmp_path, "--checkpoint.tolerance=0")) == 0
    out = capsys.readouterr().out
    assert "step 0: stage one: skills" in out
    assert "step 5: stage two: policy" in out
    played = json.loads((the_run(tmp_path) / "results.json").read_text())["played_step"]
    assert f"the weights of step {played}, chosen on seen tasks," in out  # the last step is another
    assert re.findall(r"step (\d+): win rate seen", out)[-1] == str(played)
    assert "Win rates" in [line.strip() for line in out.splitlines()]


def test_progress_bars_are_for_terminals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for number, terminal in enumerate((False, True)):
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout.isatty", lambda answer=terminal: answer)
            assert main(tiny_fit(tmp_path / str(number), "--trainer.enable_progress_bar=null")) == 0
        shown.append("Epoch 0" in capsys.readouterr().out)
    assert shown == [False, True]
