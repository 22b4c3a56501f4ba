"""The extra `smax`, installed in a fresh environment, is all that SMAX's config needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hygen_lightning.tasks import load_task_set

ROOT = Path(__file__).parent.parent.parent
BUILT_FROM = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
OLDEST_PYTHON = (3, 11)
"""That JaxMARL 0.2 runs on."""
UNREACHED = ("No matching distribution found", "Could not find a version", "Max retries exceeded")
"""What pip says where it finds no package index, or not all packages there."""
FEW_STEPS = [
    *("--model.init_args.num_envs", "4", "--model.init_args.chunk_env_steps", "4"),
    *("--model.init_args.epochs", "1", "--model.init_args.minibatches", "1"),
    *("--data.eval_episodes", "2", "--data.test_episodes", "2"),
    *("--trainer.max_steps", "2", "--trainer.val_check_interval", "2"),
    *("--trainer.enable_progress_bar", "false"),
]


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds `hygen_lightning[smax]` and what it asks for alone.

    torch is the release that runs the tests, so that a newer one is not fetched.
    """
    if sys.version_info < OLDEST_PYTHON:
        pytest.skip("JaxMARL 0.2 needs Python 3.11")
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    shutil.copytree(
        ROOT / "hygen_lightning", source / "hygen_lightning", ignore=shutil.ignore_patterns("*.pyc")
    )
    for name in ("conf", "sweeps"):
        shutil.copytree(ROOT / name, source / name)
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, source)
    (folder / "same.txt").write_text(f"torch=={version('torch').split('+')[0]}\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    python = folder / "env" / "bin" / "python"
    words = ["-m", "pip", "install", "-q", "--no-input", "--no-compile", "--retries", "1"]
    words += ["-c", "../same.txt", ".[smax]"]
    done = subprocess.run([python, *words], cwd=source, env=_alone(folder), capture_output=True, text=True)
    if done.returncode and any(said in done.stderr for said in UNREACHED):
        pytest.skip(f"pip reaches no package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


def _alone(folder: Path) -> dict[str, str]:
    """Variables of the process without a path to the packages that run the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "120"}


@pytest.mark.slow
def test_fit_of_its_config_ends_with_a_table_in_a_fresh_environment(fresh_python: Path) -> None:
    elsewhere = fresh_python.parents[2] / "elsewhere"
    elsewhere.mkdir()
    words = ["-m", "hygen_lightning", "fit", "--config", "conf/worlds/smax.yaml", *FEW_STEPS]
    variables = _alone(elsewhere.parent)
    done = subprocess.run(
        [fresh_python, *words], cwd=elsewhere, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tasks = load_task_set("smax-marines")
    for name in (*tasks.train, *tasks.unseen):
        assert str(name) in done.stdout
