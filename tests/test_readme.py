"""Every command of the README runs; its length and its map stay true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from stand_in import stand_in_for_starcraft
from tiny_runs import the_run, tiny_fit

from hygen_lightning.cli import COMMANDS, TRAINER_COMMANDS, main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PREFIX = "python -m hygen_lightning "

SMALLER = {
    "collect": ["--episodes", "4"],
    "render": ["--out", "battle.gif"],
    "players": ["--episodes", "2"],
    "fidelity": ["--episodes", "24", "--particles", "2"],
    "benchmark simulator": ["--seconds", "0.2"],
    "benchmark update": ["--repeats", "1"],
    "benchmark run": ["--steps", "1", "--record_episodes", "16"],
    "benchmark scaling": [
        *("--maps", "[3m]", "--batches", "[2]", "--timesteps", "[4]"),
        *("--repeats", "1", "--seconds", "0.1", "--memory", "false"),
    ],
    "benchmark ddp": ["--batch", "2", "--steps", "2", "--width", "8", "--n_heads", "1"],
}
"""What a test adds to a command so that it ends soon."""


def readme_commands() -> list[str]:
    """Command lines of this package in the README's code blocks, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line[line.index(PREFIX) + len(PREFIX) :] for line in lines if PREFIX in line]


def shortened(words: list[str], folder: Path) -> list[str]:
    """The command at a size for tests: a tiny run for the Trainer's commands."""
    if words[0] == "fit":
        tiny = tiny_fit(folder)[1:]
        drop = {"--data.train_tasks", "--data.eval_tasks", "--run.name"}
        if any(word.endswith(("bc.yaml", "transfer.yaml")) for word in words):
            drop |= {option for option in tiny if option.startswith("--model.init_args.pre")}
            drop |= {option for option in tiny if option.startswith("--model.init_args.target")}
        pairs = [(tiny[i], tiny[i + 1]) for i in range(0, len(tiny), 2) if tiny[i] not in drop]
        return [*words, *(piece for pair in pairs for piece in pair), "--data.eval_episodes", "1"]
    if words[:2] == ["benchmark", "run"]:
        layer = folder / "small.yaml"
        layer.write_text("data: {batch_size: 2, eval_episodes: 2}\n", encoding="utf-8")
        return [*words, "--configs+", str(layer), *SMALLER["benchmark run"]]
    if words[0] in TRAINER_COMMANDS:
        return [*words, "--run.root", str(folder), "--data.eval_episodes", "1", "--data.test_episodes", "1"]
    return [*words, *SMALLER.get(" ".join(words[:2]), SMALLER.get(words[0], []))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    assert main(tiny_fit(folder)) == 0
    return the_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("line", readme_commands())
def test_a_command_of_the_readme_runs(
    line: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recordings_dir: Path
) -> None:
    recordings = recordings_dir.resolve()
    if "smac" in line:
        stand_in_for_starcraft(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    words = [word.replace("../shared/dataset", str(recordings)) for word in shlex.split(line)]
    words = [word.replace("CKPT", str(run / "checkpoints/best.ckpt")) for word in words]
    words = [word.replace("RUNS", str(run)) for word in words]
    words = [str(ROOT / word) if word.startswith("sweeps/") else word for word in words]
    assert main(shortened(words, tmp_path)) == 0


def test_the_readme_names_every_command_and_no_other() -> None:
    named = {line.split()[0] for line in readme_commands()}
    assert named == {*TRAINER_COMMANDS, *COMMANDS}


def test_the_readme_is_at_most_250_lines_and_its_pictures_exist() -> None:
    assert len(TEXT.splitlines()) <= 250
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT):
        assert (ROOT / target).is_file(), target


def test_the_printed_run_has_the_steps_of_the_default_job() -> None:
    config = yaml.safe_load((ROOT / "conf/quickstart.yaml").read_text(encoding="utf-8"))
    switch, last = config["model"]["init_args"]["pretrain_steps"], config["trainer"]["max_steps"]
    assert f"step {switch}: stage two: policy\n" in TEXT
    steps = [int(n) for n in re.findall(r"^step (\d+): win rate", TEXT, flags=re.MULTILINE)]
    every = config["trainer"]["val_check_interval"]
    assert steps == [*range(every, last + 1, every), last]


def test_the_map_of_the_package_names_every_part() -> None:
    parts = {path.name for path in (ROOT / "hygen_lightning").iterdir() if not path.name.startswith("_")}
    parts -= {"conf", "trainer_cli.py", "parsing.py", "trainer_options.py", "seeding.py"}
    assert all(part.removesuffix(".py") in TEXT for part in parts), parts
