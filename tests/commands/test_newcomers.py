"""What people type who do not know the commands yet: one line that says what to do, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused

from hygen_lightning.cli import main

FILES = {
    "afile": "",
    "empty.yaml": "",
    "text.yaml": "hello\n",
    "broken.yaml": "data: [\n",
    "typo.yaml": "data:\n  batch_sise: 3\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files and an empty folder, where the commands run."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("render --task 8m --out x.foo", "can be drawn to .gif, .mp4, .png, not to '.foo'"),
        ("render --task 8k", "unknown task '8k'; did you mean 8m?"),
        ("render --out afile/x.gif", "afile is a file, no folder"),
        ("render --policy nowhere.ckpt", "nowhere.ckpt: no such file; give a last.ckpt or best.ckpt"),
        ("render --policy nobody", "unknown policy 'nobody'"),
        ("players --tasks [5k]", "unknown task '5k'"),
        ("collect", "which tasks? Name some (collect 3m 5m_vs_6m), or give --task_set NAME"),
        ("collect 3m --task_set toy", "which tasks?"),
        ("collect 3m --quality exprt", "unknown quality 'exprt'; choose of expert, medium,"),
        ("collect 3mm", "unknown task '3mm'; did you mean 3m"),
        ("collect 3n", "unknown task '3n'; did you mean 3m?"),
        ("collect 3m --dataset_dir afile", "afile is a file, no folder"),
        ("collect 3m --policy afile", "afile cannot be read as a checkpoint"),
        ("collect 3m --episods 2", "unknown option --episods; did you mean --episodes?"),
        ("collect 3m --episodes two", "--episodes takes a whole number; got two"),
        ("players --tasks 3m", "--tasks takes a list, like [3m,4m]; got 3m"),
        ("players 3m", "unexpected '3m'; names of options begin with --"),
        ("players --policies [nobody]", "unknown policy 'nobody'; choose one of"),
        ("report", "required: runs"),
        ("report empty", "no results.json of a finished run at or below it"),
        ("inspect empty", "holds no .h5 files; give a folder of recordings, or record with `collect`"),
        (
            "sweep nowhere.yaml",
            "nowhere.yaml: no such file; give a sweep file, or one of the package: sweeps/hygen.yaml",
        ),
        ("benchmark updat", "invalid choice: 'updat'"),
        ("report empty --out afile", "afile is a file, no folder"),
        ("benchmark simulator --plot afile/x.png", "afile is a file, no folder"),
        ("benchmark simulator --growth true --map 8m", "leave --map out"),
        ("benchmark scaling --plot afile/x.png", "afile is a file, no folder"),
        ("validate", "Give --ckpt_path"),
        ("test", "Give --ckpt_path"),
        ("predict", "Give --ckpt_path"),
        ("validate --ckpt_path empty", "empty is a folder, not a file; give a last.ckpt or best.ckpt"),
        ("validate --ckpt_path", "--ckpt_path: expected one argument"),
        (
            "fit --data.eval_tasks marine-hrad",
            "takes a list, like [3m,4m]; got marine-hrad",
        ),
        ("fit --data.eval_tasks [marine-hrad]", "'marine-hrad'; did you mean marine-hard?"),
        ("fit --data.task_set marine-hrad", "unknown task set 'marine-hrad'; did you mean marine-hard?"),
        ("fit --data.task_set toy --data.train_tasks [3m]", "both say what to learn from"),
        ("fit --trainer.max_step 60", "did you mean --trainer.max_steps?"),
        ("players --episode 4", "unknown option --episode; did you mean --episodes?"),
        ("fit --model.bta 3", "unknown option --model.bta; did you mean --model.beta?"),
        ("fit --model BC --model.bta 3", "unknown option --model.bta; see --help for all options"),
        ("fit --model BC --model.widht 3", "did you mean --model.width?"),
        ("fit --model HyGan", "unknown name 'HyGan'; choose one of BC"),
        ("fit --trainer.max_steps ten", "--trainer.max_steps takes a whole number; got ten"),
        ("fit --model.lr fast", "--model.lr takes a number; got fast"),
        ("fit --seed_everything one", "--seed_everything takes true or false or a whole number; got one"),
        ("fit --trainer.precision 7", "; got 7"),
        ("fit --model nowhere.Mod", "No module named 'nowhere'"),
        ("fit --nonfinite.skip maybe", "--nonfinite.skip takes true or false; got maybe"),
        ("fit --trainer.accelerator cpu --trainer.devices 0", "--trainer options"),
        ("fit --trainer.accelerator gppu", "invalid accelerator name"),
        ("fit --trainer.accelerator gppu", "; --trainer.accelerator auto takes what this machine has"),
        ("fit --seed_everything -1", "--seed_everything is -1; give 0 to 4294967295"),
        ("fit --run.root afile", "afile is a file, no folder"),
        ("fit data.batch_size=3", "unexpected 'data.batch_size=3'; names of options begin with --"),
        ("fit --config nowhere.yaml", "nowhere.yaml: no such file; give a YAML file"),
        ("fit --config empty.yaml", "empty.yaml: no options in it"),
        ("fit --config text.yaml", "text.yaml: no options in it"),
        ("fit --config broken.yaml", "broken.yaml, line 2: not YAML"),
        ("fit --config typo.yaml", "unknown option --data.batch_sise; did you mean --data.batch_size?"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_changes_no_file(
    line: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(line.split(), capsys)
    assert {path.name for path in folder.rglob("*")} == {*FILES, "empty"}
    assert all((folder / name).read_text() == text for name, text in FILES.items())


def test_an_accelerator_that_is_there_is_not_advised_against(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["fit", "--trainer.accelerator", "cpu", "--trainer.devices", "0"], capsys)
    assert line.endswith("is not a valid input using cpu accelerator")


def test_json_is_a_flag_or_takes_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for words in (["--json"], ["--json", "true"], ["--json=true"]):
        assert main(["players", "--tasks", "[3m]", "--policies", "[random]", "--episodes", "1", *words]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0].startswith("{")
    assert outputs[0] == outputs[1] == outputs[2]
    assert main(["inspect", "empty", "--json", "false"]) == 2


def test_a_path_that_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "x.h5")

    monkeypatch.setattr("hygen_lightning.cli._run", refuse)
    for command in ("inspect", "fit"):
        assert main([command]) == 2
        line = f"hygen_lightning {command}: x.h5: Permission denied; give another place\n"
        assert capsys.readouterr().err == line
