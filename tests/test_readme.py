"""Every command of the README and the docs runs; what they say of the project stays true."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from short_battles import short_battles
from stand_in import stand_in_for_starcraft
from tiny_runs import MAX_STEPS, the_run, tiny_fit
from tiny_teachers import clones

from hygen_lightning.cli import COMMANDS, TRAINER_COMMANDS, main
from hygen_lightning.tasks import load_task

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PREFIX = "python -m hygen_lightning "

SMALLER = {
    "collect": ["--episodes", "4"],
    "render": ["--out", "battle.gif"],
    "players": ["--episodes", "2"],
    "skills": ["--episodes", "1"],
    "fidelity": ["--episodes", "24", "--particles", "2"],
    "benchmark simulator": ["--seconds", "0.2", "--compiled", "false"],
    "benchmark update": ["--repeats", "1"],
    "benchmark run": ["--steps", "1", "--record_episodes", "16"],
    "benchmark scaling": [
        *("--maps", "[3m]", "--batches", "[2]", "--timesteps", "[4]"),
        *("--repeats", "1", "--seconds", "0.1", "--memory", "false"),
    ],
    "benchmark ddp": ["--batch", "2", "--steps", "2", "--width", "8", "--n_heads", "1"],
}
"""What a test adds to a command so that it ends soon."""


def commands_of(page: Path) -> list[str]:
    """Command lines of this package in a page's code blocks, without comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]


ALL_COMMANDS = list(dict.fromkeys(line for page in PAGES for line in commands_of(page)))


def shortened(words: list[str], folder: Path) -> list[str]:
    """The command at a size for tests: a tiny run for the Trainer's commands."""
    if words[0] == "fit":
        tiny = tiny_fit(folder)[1:]
        drop = {"--data.train_tasks", "--data.eval_tasks", "--run.name"}
        if "--data.task_set" in words or "--rollouts.env" in words:
            drop |= {option for option in tiny if option.startswith("--data.extra")}
        online = any(word.lower().endswith(("mappo.yaml", "mappo", "smax.yaml")) for word in words)
        if online:
            drop |= {option for option in tiny if option.startswith(("--model.init_args", "--data.dataset"))}
            words = [*words, "--model.init_args.num_envs", "4", "--model.init_args.chunk_env_steps", "4"]
        others = ("bc.yaml", "transfer.yaml", "qmix.yaml", "QMIX", "PooledClone")
        if any(word.endswith(others) for word in words):
            drop |= {option for option in tiny if option.startswith("--model.init_args.pre")}
            drop |= {option for option in tiny if option.startswith("--model.init_args.target")}
        pairs = [(tiny[i], tiny[i + 1]) for i in range(0, len(tiny), 2) if tiny[i] not in drop]
        once = ["--data.eval_episodes", "1", "--trainer.val_check_interval", str(MAX_STEPS)]
        return [*words, *(piece for pair in pairs for piece in pair), *once]
    if words[:2] == ["benchmark", "run"]:
        layer = folder / "small.yaml"
        layer.write_text("data: {batch_size: 2, eval_episodes: 2}\n", encoding="utf-8")
        return [*words, "--configs+", str(layer), *SMALLER["benchmark run"]]
    if words[0] == "collect" and "--policy" not in words:
        few = {"points": 2, "point_battles": 2, "choice_battles": 2, "max_steps": {"others": 2}}
        return [*words, *SMALLER["collect"], "--teacher", str(clones(folder, **few))]
    if words[0] in TRAINER_COMMANDS:
        few = ["--data.eval_episodes", "1", "--data.test_episodes", "1", "--evaluation.noise", "0"]
        return [*words, "--run.root", str(folder), *few]
    return [*words, *SMALLER.get(" ".join(words[:2]), SMALLER.get(words[0], []))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    with short_battles():
        assert main(tiny_fit(folder)) == 0
    return the_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_a_command_of_the_pages_runs(
    line: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recordings_dir: Path
) -> None:
    recordings = recordings_dir.resolve()
    if "smax" in line:
        pytest.importorskip(
            "jaxmarl", reason="JaxMARL is not installed (pip install 'hygen_lightning[smax]')"
        )
    if "smac" in line:
        stand_in_for_starcraft(tmp_path, monkeypatch)
    shutil.copytree(ROOT / "examples", tmp_path, dirs_exist_ok=True)
    torch.save(made_up_agent("3m"), tmp_path / "agent.th")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = [word.replace("../shared/dataset", str(recordings)) for word in shlex.split(line)]
    words = [word.replace("CKPT", str(run / "checkpoints/best.ckpt")) for word in words]
    words = [word.replace("RUNS", str(run)) for word in words]
    words = [str(ROOT / word) if word.startswith(("sweeps/", "conf/studies/")) else word for word in words]
    with short_battles(*(["3m", "8m"] if "smac.yaml" in line or "shared/dataset" in line else [])):
        assert main(shortened(words, tmp_path)) == 0


def made_up_agent(name: str) -> dict[str, torch.Tensor]:
    """A recurrent agent of PyMARL with random weights; its input is the observation alone."""
    layout = load_task(name).layout
    shapes = {"fc1": (8, layout.obs_dim), "fc2": (layout.n_actions, 8)}
    state = {f"{layer}.weight": torch.randn(shape) for layer, shape in shapes.items()}
    state |= {f"{layer}.bias": torch.randn(shape[0]) for layer, shape in shapes.items()}
    gru = torch.nn.GRUCell(8, 8).state_dict()
    return state | {f"rnn.{key}": value for key, value in gru.items()}


def test_the_pages_name_every_command_and_no_other() -> None:
    named = {line.split()[0] for line in ALL_COMMANDS}
    assert named == {*TRAINER_COMMANDS, *COMMANDS}
    parts = {tuple(line.split()[:2]) for line in ALL_COMMANDS if line.startswith("benchmark")}
    assert parts <= {("benchmark", part) for part in COMMANDS["benchmark"]}


def test_the_readme_is_at_most_150_lines() -> None:
    assert len(TEXT.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    for target in re.findall(r"\[[^]]*\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_python_of_the_readme_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    smaller = {
        "4000": "16",
        "max_steps=500": "max_steps=4, logger=False",
        "pretrain_steps=300": "pretrain_steps=2",
    }
    for value, small in {
        **smaller,
        'quality="expert"': 'quality="expert", eval_episodes=2, batch_size=2',
    }.items():
        assert value in block
        block = block.replace(value, small)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["trainer"].global_step == 4


def test_the_printed_run_has_the_steps_of_the_default_job() -> None:
    config = yaml.safe_load((ROOT / "conf/quickstart.yaml").read_text(encoding="utf-8"))
    switch, last = config["model"]["init_args"]["pretrain_steps"], config["trainer"]["max_steps"]
    assert f"step {switch}: stage two: policy\n" in TEXT
    steps = [int(n) for n in re.findall(r"^step (\d+): win rate", TEXT, flags=re.MULTILINE)]
    every = config["trainer"]["val_check_interval"]
    played = re.search(r"^the weights of step (\d+), chosen", TEXT, flags=re.MULTILINE)
    assert steps == [*range(every, last + 1, every), int(played[1]) if played else last]
    assert steps[-1] in steps[:-1]


def test_the_page_of_the_architecture_names_every_part_and_only_files_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    package = ROOT / "hygen_lightning"
    parts = {path.name.removesuffix(".py") for path in package.iterdir() if not path.name.startswith("_")}
    parts -= {"trainer_options", "parsing", "checkpoint"}
    assert all(f"`{part}" in text for part in parts), [p for p in parts if f"`{p}" not in text]
    for name in re.findall(r"`([\w/]+\.py)", text):
        assert (package / name).is_file() or (ROOT / name).is_file(), name
