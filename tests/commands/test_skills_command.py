"""The command `skills`: tables, JSON and a picture of a checkpoint's skills."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.algorithms.qmix import QMIX
from hygen_lightning.cli import main
from hygen_lightning.run import skill_report
from hygen_lightning.tasks import load_task

WIDTHS = load_task("3m").layout.widths


def checkpoint(folder: Path, kind: Any, **options: Any) -> Path:
    """A checkpoint of a small, untrained model."""
    torch.manual_seed(0)
    options = {"width": 8, "n_heads": 1, **options}
    content = {
        "model_config": {"class_path": f"{kind.__module__}.{kind.__name__}", "init_args": options},
        "hyper_parameters": {**options, "widths": asdict(WIDTHS)},
        "state_dict": kind(WIDTHS, **options).state_dict(),
        "trained_on": {"3m": "3m"},
        "environment": "simulator",
    }
    path = folder / "model.ckpt"
    torch.save(content, path)
    return path


def test_json_holds_every_choice_of_skills_in_every_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, HyGen, n_skills=2, skill_steps=3)
    out = tmp_path / "skills.png"
    assert main(["skills", str(path), "--episodes", "2", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["tasks"]) == ["3m"]
    found = told["tasks"]["3m"]
    who = ["learned", "predicted", "random", "skill 0", "skill 1", "best tried"]
    assert list(found["win_rates"]) == who
    assert all(list(rates) == ["greedy", "sampled", "noisy"] for rates in found["win_rates"].values())
    assert sum(found["use"]) == pytest.approx(1)
    assert {len(row) for row in found["battle"]} == {3}
    with Image.open(out) as picture:
        assert picture.width > 300


def test_tables_tell_each_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skill_report, "WAYS", ("greedy",))
    path, out = checkpoint(tmp_path, HyGen, n_skills=2), tmp_path / "skills.png"
    words = ["--tasks", "[3m, 4m]", "--episodes", "1", "--out", str(out)]
    assert main(["skills", str(path), *words]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for told in ("3m: win rate %", "4m: win rate %", "predicted", "skill 1", f"picture: {out}"):
        assert told in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--episodes", "0"], "--episodes is 0"),
        (["--tasks", "[]"], "--tasks is empty"),
        (["--tasks", "[cn-2]"], "describes units by other features"),
        ([], "is of QMIX, which has no skills"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, HyGen if words else QMIX)
    assert main(["skills", str(path), *words, "--out", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said.strip().splitlines()) == 1
