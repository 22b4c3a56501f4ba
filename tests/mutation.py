"""Wrong algorithms on purpose: each read of an option becomes the option's default, and a test must fail.

    python tests/mutation.py            # prints the survivors; exit code 1 if there are any

The offline share that a loss is told becomes 1, and the share of a batch comes one step late. A
mutant lives in a forked process that imports it instead of the file and runs the fast tests.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from copy import deepcopy
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import lightning.pytorch  # noqa: F401  once, before all forks
import pytest
import torch  # noqa: F401

import hygen_lightning.models.hygen_network
import hygen_lightning.rollouts.runner  # noqa: F401

ROOT = Path(__file__).parent.parent
ALGORITHMS = sorted((ROOT / "hygen_lightning/algorithms").glob("*.py"))
MIXING = ROOT / "hygen_lightning/data/datamodule.py"
OF_ALGORITHMS = ("options", "hygen", "skills", "bc", "hissd", "every_algorithm")
TESTS = [*(f"algorithms/test_{name}.py" for name in OF_ALGORITHMS), "test_golden.py"]
DATA_TESTS = ["data/test_datamodule.py"]
SHARES = {"share": 1.0, "offline_share": 1.0}


def defaults_of(tree: ast.AST) -> dict[str, Any]:
    """Constructor options of the classes in a file that have a default."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            names = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            found |= {arg.arg: ast.literal_eval(d) for arg, d in zip(names, node.args.defaults)}
    return found


def is_read(node: ast.AST, options: dict[str, Any]) -> str | None:
    """The option that this expression reads: `self.option`, or the parameter itself."""
    if not isinstance(node, ast.Attribute | ast.Name) or not isinstance(node.ctx, ast.Load):
        return None
    name = node.id if isinstance(node, ast.Name) else node.attr
    of_self = isinstance(node, ast.Name) or ast.unparse(node.value) in ("self", "self.trainer")
    return name if of_self and name in options else None


class Replace(ast.NodeTransformer):
    """Puts an expression in the place of the n-th read; texts of messages are left alone."""

    def __init__(self, options: dict[str, Any], n: int) -> None:
        self.options, self.n, self.found, self.line = options, n, "", 0

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        option = is_read(node, self.options)
        if option is None:
            return super().generic_visit(node)
        self.n -= 1
        if self.n != -1:
            return node
        self.found, self.line = option, node.lineno  # type: ignore[attr-defined]
        value = self.options[option]
        return ast.copy_location(value if isinstance(value, ast.AST) else ast.Constant(value), node)


def mutants() -> Iterator[tuple[Path, int, str, ast.AST]]:
    """(file, line, option, program) of every wrong program."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*ALGORITHMS, MIXING]}
    shared = defaults_of(trees[ROOT / "hygen_lightning/algorithms/hygen.py"])
    late = ast.parse("self.trainer.global_step - 1", mode="eval").body
    for path, tree in trees.items():
        options = {"global_step": late} if path == MIXING else {**shared, **defaults_of(tree), **SHARES}
        for n in range(sum(1 for _ in ast.walk(tree))):
            change = Replace(options, n)
            wrong = ast.fix_missing_locations(change.visit(deepcopy(tree)))
            if not change.found:
                break
            yield path, change.line, change.found, wrong


def survives(path: Path, option: str, program: ast.AST) -> bool:
    """Whether the fast tests pass with this program in the place of the file."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    code, get_code = compile(program, str(path), "exec"), SourceFileLoader.get_code  # type: ignore[call-overload]

    def load(loader: SourceFileLoader, name: str) -> Any:
        return code if Path(loader.path) == path else get_code(loader, name)

    SourceFileLoader.get_code = load  # type: ignore[method-assign]
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    quiet = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider"]  # a worker would import the right program
    tests = [str(ROOT / "tests" / test) for test in (DATA_TESTS if path == MIXING else TESTS)]
    first = pytest.main([*quiet, "-k", option, tests[0]])  # most fail here, in a second
    os._exit(1 if first == 1 else int(pytest.main([*quiet, *tests])))


def main() -> int:
    """The number of mutants that no test notices, 1 at most."""
    survivors, n = [], 0
    for path, line, option, program in mutants():
        n += 1
        print(f"{path.relative_to(ROOT)}:{line} {option}", file=sys.stderr, flush=True)
        if survives(path, option, program):
            survivors.append(option)
            print(f"survivor: {path.relative_to(ROOT)}:{line} {option}", flush=True)
    print(f"{n} mutants, {len(survivors)} survivors")
    return min(len(survivors), 1)


if __name__ == "__main__":
    sys.exit(main())
