"""What Weights & Biases and TensorBoard are told, read back from what they wrote."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from refusals import refused
from tiny_runs import table, the_run, tiny_fit

from hygen_lightning.cli import main
from hygen_lightning.run.trackers import tags_of, trackers
from hygen_lightning.specs import UserError
from hygen_lightning.trainer_options import RunOptions

BLOCK = 32768
"""Records of a .wandb file are cut at multiples of this many bytes, as in LevelDB's log."""


def records(path: Path) -> Iterator[object]:
    """Every protocol message of an offline run of W&B."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def test_tags_say_algorithm_tasks_and_data() -> None:
    model = {"class_path": "hygen_lightning.algorithms.BC"}
    config = {
        "model": model,
        "data": {"task_set": None, "train_tasks": ["3m", "a/b.yaml"], "quality": "expert"},
    }
    assert tags_of(config) == ["BC", "3m", "b", "expert"]
    config["data"] = {"task_set": "marine-hard", "train_tasks": None, "quality": "none"}
    assert tags_of(config) == ["BC", "marine-hard", "none"]


def test_no_tracker_is_asked_for_by_default(tmp_path: Path) -> None:
    assert trackers(RunOptions(), "fit", "a", {}, tmp_path) == []


def test_without_a_key_a_run_is_refused_and_does_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "api", SimpleNamespace(api_key=None))
    line = refused(tiny_fit(tmp_path, "--run.wandb_project", "p"), capsys)
    assert "no W&B key; run `wandb login`, or set WANDB_MODE=offline" in line


def test_without_tensorboard_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("tensorboard")

    monkeypatch.setattr("hygen_lightning.run.trackers.TensorBoardLogger", missing)
    with pytest.raises(UserError, match=r"pip install 'hygen_lightning\[tensorboard\]'"):
        trackers(RunOptions(tensorboard=True), "fit", "a", {}, tmp_path)


@pytest.mark.slow
def test_a_run_tells_both_and_they_hold_what_metrics_csv_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = ["--run.wandb_project", "p", "--run.wandb_checkpoint", "true"]
    words += ["--run.tensorboard", "true", "--files.curve", "true", "--files.battle_gif", "true"]
    assert main(tiny_fit(tmp_path, *words)) == 0
    if "wandb" in sys.modules:
        import wandb

        wandb.finish()
    run = the_run(tmp_path)
    name = "val/mean/seen_win_rate"
    wanted = {int(row["step"]): float(row[name]) for row in table(run / "metrics.csv") if name in row}
    assert from_tensorboard(run / "tensorboard", name) == pytest.approx(wanted)
    (file,) = run.rglob("*.wandb")
    told = list(records(file))
    (about,) = [record.run for record in told if record.WhichOneof("record_type") == "run"][:1]
    assert (about.project, about.run_group, about.job_type) == ("p", "tiny", "fit")
    assert list(about.tags) == ["HyGen", "3m", "medium"]
    items = [item for record in told for item in record.history.item]
    keys = {item.key or "/".join(item.nested_key) for item in items}
    assert {name, "train/3m/loss", "pictures/learning_curves/path", "pictures/battle/path"} <= keys
    rates = [json.loads(item.value_json) for item in items if name in (item.key, "/".join(item.nested_key))]
    assert rates == pytest.approx(list(wanted.values()))
    kept = [
        record.request.log_artifact.artifact for record in told if record.request.HasField("log_artifact")
    ]
    kept += [record.artifact for record in told if record.WhichOneof("record_type") == "artifact"]
    assert {artifact.type for artifact in kept} == {"model"}


def from_tensorboard(folder: Path, name: str) -> dict[int, float]:
    """Step -> value of a metric in the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}
