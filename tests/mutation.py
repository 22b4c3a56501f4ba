"""Wrong algorithms on purpose: each read of an option becomes the option's default, and a test must fail.

    python tests/mutation.py [FILE...]  # prints the survivors; exit code 1 if there are any

The offline share that a loss is told becomes 1, and the share of a batch comes one step late. The tests
are collected once. A first pass through them, of the right program, tells which test calls which
function and how long it takes; a mutant is a forked process that has the wrong code in one function
and goes through the tests that call it, until one fails: the option's own first, then the quickest.
"""

from __future__ import annotations

import ast
import gc
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
ALGORITHMS = sorted((ROOT / "hygen_lightning/algorithms").glob("*.py"))
HYGEN = ROOT / "hygen_lightning/algorithms/hygen.py"
"""Its options, by their names, are those of what it shares with others too."""
MIXING = ROOT / "hygen_lightning/data/datamodule.py"
PATTERNS = ("algorithms/test_*.py", "test_golden*.py", "data/test_datamodule*.py")
TESTS = [path for pattern in PATTERNS for path in sorted((ROOT / "tests").glob(pattern))]
SHARES = {"share": 1.0, "offline_share": 1.0}

Place = tuple[str, int]
"""A function: its name and its first line."""


# Wrong programs


def defaults_of(tree: ast.AST) -> dict[str, Any]:
    """Constructor options of the classes in a file whose default is a literal."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            names = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            literals = [(arg.arg, d) for arg, d in zip(names, node.args.defaults) if is_literal(d)]
            found |= {name: ast.literal_eval(default) for name, default in literals}
    return found


def is_literal(node: ast.AST) -> bool:
    return not any(isinstance(part, ast.Name | ast.Attribute | ast.Call) for part in ast.walk(node))


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


def mutants(files: list[Path]) -> Iterator[tuple[Path, int, str, dict[Place, CodeType]]]:
    """(file, line, option, code of the functions of the file) of every wrong program."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    shared = defaults_of(ast.parse(HYGEN.read_text(encoding="utf-8")))
    late = ast.parse("self.trainer.global_step - 1", mode="eval").body
    for path, tree in trees.items():
        options = {"global_step": late} if path == MIXING else {**shared, **defaults_of(tree), **SHARES}
        for n in range(sum(1 for _ in ast.walk(tree))):
            change = Replace(options, n)
            wrong = ast.fix_missing_locations(change.visit(deepcopy(tree)))
            if not change.found:
                break
            yield path, change.line, change.found, by_place(compile(wrong, str(path), "exec"))  # type: ignore[call-overload]


def by_place(code: CodeType) -> dict[Place, CodeType]:
    """All functions in a program; two lambdas in one line cannot be told apart."""
    found = list(codes(code))
    named = [place for place, _ in found if place[0] == "<lambda>" or not place[0].startswith("<")]
    assert len(named) == len(set(named)), f"two functions of one name in one line: {sorted(named)}"
    return dict(found)


def codes(code: CodeType) -> Iterator[tuple[Place, CodeType]]:
    """All functions in a program, nested ones too."""
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield (part.co_name, part.co_firstlineno), part
            yield from codes(part)


# The tests that see them

CALLED: set[tuple[str, str, int]] = set()
"""File, name and first line of the functions that were called since it was cleared."""


class RecordCalls(ast.NodeTransformer):
    """Every function of a file puts itself into CALLED when it is called."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, name: str, line: int) -> ast.expr:
        place = (str(self.path), name, line)
        text = f"__import__('sys').modules[{__name__!r}].CALLED.add({place!r})"
        return ast.parse(text, mode="eval").body

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        node.body.insert(0, ast.Expr(self.record(node.name, line)))
        return self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.body = ast.BoolOp(ast.Or(), [self.record("<lambda>", node.lineno), node.body])
        return self.generic_visit(node)


class Mutation:
    """Plugin of pytest that runs the collected tests once for every wrong program."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.survivors: list[str] = []
        self.n = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed or not session.items:
            raise pytest.UsageError("the tests could not be collected")
        calls, seconds = in_fork(partial(first_pass, session))
        print(f"{sum(seconds.values()):6.2f} s of {len(calls):3} tests, the right program", file=sys.stderr)
        functions = {path: functions_of(path) for path in self.files}
        for path, line, option, wrong in mutants(self.files):
            mine = functions[path]
            changed = {place_of(f) for f in mine if f.__code__ != wrong[place_of(f)]}
            tests = [
                item for item in session.items if calls[item.nodeid] & {(str(path), *p) for p in changed}
            ]
            tests.sort(key=lambda item: (f"-{option}]" not in item.name, seconds[item.nodeid]))
            self.n += 1
            begin = time.monotonic()
            name = f"{path.relative_to(ROOT)}:{line} {option}"
            if in_fork(partial(survives, session, tests, mine, wrong)):
                self.survivors.append(name)
            print(
                f"{time.monotonic() - begin:6.2f} s of {len(tests):3} tests {name}",
                file=sys.stderr,
                flush=True,
            )
        return True


def functions_of(path: Path) -> list[FunctionType]:
    found = [f for f in gc.get_objects() if isinstance(f, FunctionType)]
    return [f for f in found if f.__code__.co_filename == str(path)]


def place_of(function: FunctionType) -> Place:
    return function.__code__.co_name, function.__code__.co_firstlineno


def first_pass(session: pytest.Session) -> tuple[dict[str, set[tuple[str, str, int]]], dict[str, float]]:
    """By test: the functions of the mutated files that it calls, and its seconds."""
    calls, seconds = {}, {}
    CALLED.clear()
    for path in [*ALGORITHMS, MIXING]:
        tree = RecordCalls(path).visit(ast.parse(path.read_text(encoding="utf-8")))
        recording = by_place(compile(ast.fix_missing_locations(tree), str(path), "exec"))
        for function in functions_of(path):
            function.__code__ = recording[place_of(function)]
    for item, following in zip(session.items, [*session.items[1:], None]):
        begin = time.monotonic()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        calls[item.nodeid], seconds[item.nodeid] = set(CALLED), time.monotonic() - begin
        CALLED.clear()
        if session.testsfailed:
            raise RuntimeError(f"{item.nodeid} fails of itself")
    return calls, seconds


def survives(
    session: pytest.Session,
    tests: list[pytest.Item],
    functions: list[FunctionType],
    wrong: dict[Place, CodeType],
) -> bool:
    """Whether the tests pass with this code in the functions of a file."""
    for function in functions:
        function.__code__ = wrong[place_of(function)]
    for item, following in zip(tests, [*tests[1:], None]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return False
    return True


def in_fork(work: Callable[[], Any]) -> Any:
    """The result of this work, done in a process that says nothing and leaves nothing behind here."""
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            try:
                result = work()
            except Exception as error:
                result = RuntimeError(repr(error))
            pickle.dump(result, answer)
            answer.flush()
            os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        result = pickle.load(answer)
    if isinstance(result, RuntimeError):
        raise result
    return result


def main() -> int:
    """The number of mutants that no test notices, 1 at most."""
    named = [Path(name).resolve() for name in sys.argv[1:]]
    mutation = Mutation(named or [*ALGORITHMS, MIXING])
    with tempfile.TemporaryDirectory() as folder:
        quiet = ["-q", "-s", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        code = pytest.main([*quiet, *map(str, TESTS)], plugins=[mutation])
    for survivor in mutation.survivors:
        print(f"survivor: {survivor}")
    print(f"{mutation.n} mutants, {len(mutation.survivors)} survivors")
    return 1 if mutation.survivors or not mutation.n else int(code not in (0, 5))


if __name__ == "__main__":
    sys.exit(main())
