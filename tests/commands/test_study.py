"""The command `study`: checked before it starts, told what it costs, broken off and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from processes import Forked, wait_for
from refusals import refused
from tiny_runs import tiny_fit

from hygen_lightning.cli import main
from hygen_lightning.data.tables import read_rows
from hygen_lightning.specs import UserError
from hygen_lightning.study import conduct
from hygen_lightning.study.cost import check_recordings, keep_asked
from hygen_lightning.study.plan import read_study

pytestmark = pytest.mark.whole_battles

TINY = tiny_fit(Path("."))[1:]
OWN = ("--run.root", "--run.name", "--config", "--data.train_tasks", "--data.eval_tasks")
HYGEN_ONLY = ("--model.init_args.pretrain_steps", "--model.init_args.target_update_interval")


def tiny_study(folder: Path, **changes: object) -> Path:
    """HyGen and BC on 3m with two seeds, a dozen steps each."""
    options = {TINY[i].removeprefix("--"): yaml.safe_load(TINY[i + 1]) for i in range(0, len(TINY), 2)}
    hygen_only = {name.removeprefix("--"): options.pop(name.removeprefix("--")) for name in HYGEN_ONLY}
    for name in OWN:
        options.pop(name.removeprefix("--"), None)
    options["checkpoint.every_n_steps"] = 2
    content = {
        "algorithms": {"HyGen": {"options": hygen_only}, "BC": {"configs": ["conf/bc.yaml"]}},
        "tasks": ["3m"],
        "seeds": [1, 2],
        "configs": ["conf/base.yaml"],
        "options": options,
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_commands_are_printed_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(tiny_study(tmp_path)), "--out", "there", "--print_only", "--json"]) == 0
    commands = json.loads(capsys.readouterr().out)["commands"]
    assert len(commands) == 4
    assert all("-m hygen_lightning fit" in text and "--resume auto" in text for text in commands)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "--jobs is 0; give at least 1"),
        (["--threads", "0"], "--threads is 0"),
        (["--launcher", "cloud"], "launcher"),
        (["--slurm", '{"timeout_min":5}'], "give --launcher slurm with it"),
        (["--slurm", "3"], 'takes names and values, like {"name":1}; got 3'),
        (["--print_only", "--out", __file__], "is a file, no folder; give another place"),
    ],
)
def test_wrong_options_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(["study", str(tiny_study(tmp_path)), *words], capsys)


def test_what_fit_does_not_understand_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tiny_study(tmp_path, options={"model.init_args.widht": 3})
    assert "HyGen-3m: " in (line := refused(["study", str(path)], capsys))
    assert "did you mean --model.width" in line
    assert "did you mean --model.width" in refused(["study", str(path), "--print_only"], capsys)
    path = tiny_study(tmp_path, tasks=["3mm"])
    assert "unknown task '3mm'; did you mean 3m" in refused(["study", str(path), "--print_only"], capsys)
    path = tiny_study(tmp_path, options={"data.dataset_dir": "nowhere"})
    assert "nowhere does not exist; give another dataset_dir" in refused(["study", str(path)], capsys)
    assert not (tmp_path / "studies").exists()


def test_a_study_begun_with_other_options_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hygen_lightning.study.conduct.watch", lambda *_: None)
    words = ["study", str(tiny_study(tmp_path)), "--cost", "false"]
    assert main(words) == 1, "nothing was trained"
    costs = tmp_path / "studies/tiny/cost.json"
    cost = {"hours": 0.1, "peak_mb": 300, "seconds": {}}
    costs.write_text(json.dumps({"BC-3m": cost, "other": cost, "damaged": {}}))
    tiny_study(tmp_path, configs=["conf/quickstart.yaml"])
    assert main(words) == 1, "no run had begun that could differ"
    assert json.loads(costs.read_text()) == {"other": cost}
    broken = tmp_path / "studies/tiny/BC-3m/20260101-000000-s1/checkpoints"
    broken.mkdir(parents=True)
    assert main(words) == 1, "it broke before its first checkpoint"
    (broken / "last.ckpt").touch()
    tiny_study(tmp_path)
    for seeds in ([1, 2], [2]):  # runs of all seeds stand in one table
        tiny_study(tmp_path, seeds=seeds)
        for asked in (words, [*words, "--print_only"]):
            line = refused(asked, capsys)
            assert "was begun with other options (--" in line
            assert "give another --out" in line


@pytest.mark.parametrize("text", ["a: [1", "[1]"])
def test_damaged_files_in_the_folder_of_a_study(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/asked.yaml").write_text(text)
    with pytest.raises(UserError, match=r"asked\.yaml"):
        keep_asked({"a": {}}, tmp_path)
    (tmp_path / "a/asked.yaml").write_text("data: {}")
    (tmp_path / "cost.json").write_text(text)
    keep_asked({"a": {}}, tmp_path)
    assert json.loads((tmp_path / "cost.json").read_text()) == {}


def test_recordings_are_looked_for_where_a_cell_still_needs_them(tmp_path: Path) -> None:
    moved = {"a": {"data": {"dataset_dir": str(tmp_path / "moved"), "quality": "expert"}}}
    with pytest.raises(UserError, match=r"a: .*moved does not exist; give another dataset_dir"):
        check_recordings(moved)
    moved["a"]["data"]["quality"] = "none"
    check_recordings(moved)


def test_a_cluster_that_is_not_there_is_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["study", str(tiny_study(tmp_path)), "--launcher", "slurm"]
    assert "--launcher slurm: " in refused(words, capsys)


def test_a_signal_while_settings_are_timed_ends_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_to_end(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(conduct, "tell_cost", told_to_end)
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        conduct.conduct(read_study(tiny_study(tmp_path)), conduct.Place(tmp_path / "out"), True, True)


@pytest.mark.slow
def test_an_algorithm_that_needs_recordings_where_there_are_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tiny_study(tmp_path, qualities=["none"])
    assert "nothing to learn from" in refused(["study", str(path)], capsys)


def table_of(folder: Path) -> list[dict[str, str]]:
    """The report's table without the folders, whose names hold the time."""
    rows = read_rows(folder / "report" / "runs.csv", "run", "task")
    return [{name: value for name, value in row.items() if name != "run"} for row in rows]


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on_and_ends_in_the_same_table(tmp_path: Path) -> None:
    layers = ["conf/tasks/toy.yaml", "conf/bc.yaml"]  # the first has options of HyGen, which BC lacks
    path = tiny_study(tmp_path, algorithms={"BC": {"configs": layers}})
    words = ["study", str(path), "--cost", "false", "--jobs", "1", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    cut = str(tmp_path / "cut")
    with Forked(*words, cut) as process:
        wait_for(tmp_path / "cut", "last.ckpt")
        process.kill()
    orphans = subprocess.run(["pgrep", "-f", cut], capture_output=True, text=True, check=False)
    for pid in orphans.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    assert not list((tmp_path / "cut").rglob("runs.csv"))
    assert main([*words, cut]) == 0
    assert table_of(tmp_path / "cut") == table_of(tmp_path / "whole")


@pytest.mark.slow
def test_one_failing_cell_stops_no_other_and_the_smoke_study_ends_in_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    smoke = yaml.safe_load((Path(__file__).parent.parent.parent / "conf/studies/smoke.yaml").read_text())
    for algorithm in smoke["algorithms"].values():
        algorithm["options"]["trainer.max_steps"] = 4
    smoke["algorithms"]["HyGen"]["options"]["model.init_args.pretrain_steps"] = 2
    other = tmp_path / "other/8m/expert/run/part_0.h5"
    other.parent.mkdir(parents=True)
    other.touch()
    smoke["algorithms"]["Lost"] = {"configs": ["conf/bc.yaml"], "options": {"data.dataset_dir": "other"}}
    small = {"run.record_episodes": 16, "data.batch_size": 4, "trainer.val_check_interval": 2}
    small |= {"data.eval_episodes": 2, "data.test_episodes": 2, "model.init_args.width": 8}
    smoke |= {"seeds": [1], "options": {**smoke["options"], **small}}
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(smoke))
    assert main(["study", "smoke.yaml", "--cost", "false"]) == 1
    said = capsys.readouterr().out
    assert "Lost-toy-expert seed 1: failed: " in said
    assert "holds 8m/expert; choose one of these" in said
    assert "3 of 4 runs done" in said
    told = json.loads((tmp_path / "studies/smoke/report/report.json").read_text())["task_sets"]["3m"]["tasks"]
    assert len({row["group"] for row in told}) == 3
    assert (tmp_path / "studies/smoke/report/report.html").is_file()
