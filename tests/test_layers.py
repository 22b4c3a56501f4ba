"""A layer imports only what lies below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hygen_lightning.envs import ENVIRONMENTS

PACKAGE = Path(__file__).parent.parent / "hygen_lightning"

MAY_IMPORT = {
    "specs": set(),
    "seeding": {"specs"},
    "policy": {"specs"},
    "tasks": {"specs"},
    "data": {"specs", "tasks", "seeding", "policy"},
    "envs": {"specs", "tasks", "policy", "data"},
    "calibration": {"specs", "tasks", "envs", "data"},
    "models": {"specs"},
    "losses": {"specs"},
    "checkpoint": {"specs", "policy"},
    "rollouts": {"specs", "tasks", "data", "envs", "policy", "seeding", "checkpoint", "algorithms"},
    "algorithms": {"specs", "tasks", "models", "losses", "policy", "envs", "checkpoint"},
    "report": {"specs", "tasks", "data", "rollouts"},
}
"""Which parts of the package a part may name; what is not listed (commands, run, cli) may name all.

Types-only imports count too; `envs` in algorithms, `policy` in envs, `algorithms` in rollouts are such.
"""


def imported_parts(path: Path) -> set[str]:
    """Parts of this package that a file names in its imports."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        parts |= {name.split(".")[1] for name in names if name.startswith("hygen_lightning.")}
    return parts


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_a_layer_imports_only_from_layers_it_may_know(part: str) -> None:
    root = PACKAGE / part
    found = sorted(root.rglob("*.py")) if root.is_dir() else [PACKAGE / f"{part}.py"]
    assert found
    for path in found:
        foreign = imported_parts(path) - MAY_IMPORT[part] - {part}
        assert not foreign, f"{path.relative_to(PACKAGE)} imports {sorted(foreign)}"


OF_ONE_WORLD = (
    "envs",
    "calibration",
    "benchmark",
    "commands/fidelity.py",
    "commands/this_machine.py",
    "report/scaling_plot.py",
    "cli.py",
)
"""Worlds themselves, and what measures the simulator, or names a command that does."""


def test_nothing_outside_envs_names_a_world() -> None:
    worlds = {path.stem for path in (PACKAGE / "envs").iterdir()} - {"base", "pettingzoo", "__init__"}
    for path in sorted(PACKAGE.rglob("*.py")):
        if str(path.relative_to(PACKAGE)).startswith(OF_ONE_WORLD):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant):
                assert node.value not in ENVIRONMENTS, f"{path.name}, line {node.lineno}: {node.value}"
            elif isinstance(node, ast.ImportFrom):
                names = (node.module or "").split(".")
                assert names[:2] != ["hygen_lightning", "envs"] or not worlds & set(names[2:]), path.name


def test_only_the_rollout_callbacks_name_algorithms_and_only_as_types() -> None:
    for path in (PACKAGE / "rollouts").glob("*.py"):
        if "algorithms" in imported_parts(path):
            assert path.stem in ("callback", "evaluation")
            body = path.read_text(encoding="utf-8").split("if TYPE_CHECKING:")[0]
            assert "hygen_lightning.algorithms" not in body


def test_the_walk_sees_a_forbidden_import(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from hygen_lightning.rollouts.runner import play\n")
    assert imported_parts(bad) == {"rollouts"}


def test_importing_the_package_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import hygen_lightning.cli, sys; from hygen_lightning import TaskSpec, load_task\n"
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_help_of_the_commands_beside_lightnings_imports_nothing_heavy() -> None:
    """fit, validate, test and predict are left out: their options are the parameters of classes that
    need torch and Lightning."""
    import subprocess
    import sys

    code = """
import sys
from hygen_lightning.cli import COMMANDS, main
main(["--help"])
for name, command in COMMANDS.items():
    for part in [[]] if callable(command) else [[], *([sub] for sub in command if sub != "_help")]:
        assert main([name, *part, "--help"]) == 0
heavy = {"torch", "lightning", "numpy", "h5py", "matplotlib", "wandb", "PIL"} & sys.modules.keys()
print("heavy:", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
