"""The configs that the package ships, and how configs and options lie over one another."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from refusals import refused
from tiny_runs import resolved

from hygen_lightning.benchmark.run import resolved as resolved_words
from hygen_lightning.cli import TRAINER_COMMANDS, main
from hygen_lightning.specs import UserError
from hygen_lightning.study.plan import read_study

ROOT = Path(__file__).parent.parent.parent
CONF, PAGE = ROOT / "conf", ROOT / "docs/studies.md"
STUDIES = sorted((CONF / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", sorted({*CONF.rglob("*.yaml")} - {*STUDIES}), ids=lambda path: path.stem)
def test_every_config_is_accepted_and_says_its_command(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", str(path), "--print_config"]) == 0, capsys.readouterr().err
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert path.stem in ("base", "quickstart") or f"conf/{path.relative_to(CONF)}" in first


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_says_its_command_is_told_of_and_its_cells_have_names(path: Path) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert any(f"`{path.stem}`" in row.split("|")[1] for row in rows), f"{path.stem} is not in {PAGE.name}"
    assert path.read_text().splitlines()[0] == f"# python -m hygen_lightning study conf/studies/{path.name}"
    assert len({(cell.name, cell.seed) for cell in read_study(path)}) > 4


@pytest.mark.parametrize(
    "path", [p if p.stem == "smoke" else pytest.param(p, marks=pytest.mark.slow) for p in STUDIES], ids=str
)
def test_every_cell_of_a_study_is_accepted_by_fit(path: Path) -> None:
    for cell in {cell.name: cell for cell in read_study(path)}.values():
        assert resolved_words(cell.words)["data"]["batch_size"] > 0


@pytest.mark.parametrize("command", sorted(TRAINER_COMMANDS))
def test_two_configs_and_an_option_are_layers_and_the_last_one_wins(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"data": {"batch_size": 5, "eval_episodes": 7}, "model": {"init_args": {"lr": 0.1}}}
    second = {"data": {"batch_size": 6, "test_episodes": "${data.eval_episodes}"}}
    for name, content in (("a.yaml", first), ("b.yaml", second)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    argv = [command, "--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    config = resolved([*argv, "--model.init_args.lr", "0.2"], capsys)
    assert config["data"]["batch_size"] == 6
    assert config["data"]["eval_episodes"] == 7
    assert config["model"]["init_args"]["lr"] == 0.2


def test_without_a_config_fit_is_the_quickstart_and_with_one_it_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert resolved(["fit"], capsys)["run"]["name"] == "quickstart"
    assert resolved(["fit", "--config", "conf/tasks/toy.yaml"], capsys)["run"]["name"] == "toy"


def test_a_task_set_without_a_config_is_not_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    data = resolved(["fit", "--data.task_set", "marine-hard"], capsys)["data"]
    assert data["task_set"] == "marine-hard"
    assert data["train_tasks"] is data["eval_tasks"] is data["extra_tasks"] is None


def test_packaged_configs_are_found_from_any_folder_unless_it_has_one_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/base.yaml").write_text("data: {batch_size: 3}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    hard = resolved(["fit", "--config", "conf/tasks/marine-hard.yaml"], capsys)["data"]
    assert (hard["task_set"], hard["batch_size"]) == ("marine-hard", 32), "a user's file is read if asked for"
    assert resolved(["fit", "--config", "conf/base.yaml"], capsys)["data"]["batch_size"] == 3


def test_the_package_holds_no_links() -> None:
    assert not [path for path in (CONF.parent / "hygen_lightning").rglob("*") if path.is_symlink()]


@pytest.mark.slow
def test_a_wheel_holds_all_configs_and_sweeps(tmp_path: Path) -> None:
    build = f"{sys.executable} -m pip wheel --no-deps --no-build-isolation -q".split()
    subprocess.run([*build, str(CONF.parent), "-w", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in (CONF, CONF.parent / "sweeps"):
        for path in folder.rglob("*.yaml"):
            assert f"hygen_lightning/{path.relative_to(CONF.parent).as_posix()}" in names


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (
            "data: {batch_siz: 3}",
            [],
            "mine.yaml: unknown option --data.batch_siz; did you mean --data.batch_size",
        ),
        ("data: {batch_size: many}", [], "mine.yaml: --data.batch_size takes a whole number; got many"),
        (
            "model: {init_args: {widht: 3}}",
            [],
            "mine.yaml: unknown option --model.widht; did you mean --model.width",
        ),
        ("data: {batch_size: 3}", ["--data.batch_size=many"], "fit: --data.batch_size takes a whole number"),
        (
            "data: {batch_size: 3}",
            ["--data.batch_size", "many"],
            "fit: --data.batch_size takes a whole number",
        ),
        ("data: {batch_size: 3}", ["--model.widht=3"], "fit: unknown option --model.widht"),
        ("data: {batch_size: many}", ["--data.batch_size=3"], "mine.yaml: --data.batch_size takes a whole"),
        (
            "data: {batch_size: many}",
            ["--config", "conf/tasks/marine-hard.yaml"],
            "mine.yaml: --data.batch_size",
        ),
        ("data: {batch_size: many}", ["--config", "missing.yaml"], "mine.yaml: --data.batch_size"),
        ("data: {batch_siz: 3}", ["--config", "missing.yaml"], "missing.yaml: no such file"),
        ("model: {class_path: HyGan}", [], "mine.yaml: --model: unknown name 'HyGan'"),
        (
            "trainer: {maxsteps: 5}",
            [],
            "mine.yaml: unknown option --trainer.maxsteps; did you mean --trainer.max",
        ),
        (
            "fit: {trainer: {max_steps: 4}}",
            [],
            "mine.yaml: unknown option --fit.trainer.max_steps; did you mean",
        ),
        ("data:", [], "mine.yaml: data is all that stands there, and it has no value"),
        ("run: 4", [], "mine.yaml: --run is 4; it is a group of options"),
        ("run: {record_episodes: 0}", [], "mine.yaml: --run.record_episodes is 0; give 1 to"),
    ],
)
def test_what_is_wrong_in_a_config_is_told_with_its_file(
    text: str, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    given = ["--config", "conf/quickstart.yaml", f"--config={tmp_path / 'mine.yaml'}", *words]
    assert said in refused(["fit", *given], capsys)


@pytest.mark.parametrize(
    "text", ["run: 4", "trainer: 4", "data: null\nrun: {name: x}", "run: {record_episodes: 0}"]
)
def test_what_print_config_does_not_check_is_refused_where_options_are_resolved(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml: --"):
        resolved_words(["--config", str(tmp_path / "mine.yaml")])
