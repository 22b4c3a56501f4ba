"""The commands: LightningCLI's fit, validate, test and predict, and ours beside them."""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, get_type_hints

from hygen_lightning import __version__
from hygen_lightning.benchmark.battles import battles
from hygen_lightning.benchmark.ddp import ddp
from hygen_lightning.benchmark.run import run
from hygen_lightning.benchmark.scaling import scaling
from hygen_lightning.benchmark.simulator import simulator
from hygen_lightning.benchmark.update import update
from hygen_lightning.commands.collect import collect
from hygen_lightning.commands.doctor import doctor
from hygen_lightning.commands.export import export
from hygen_lightning.commands.fidelity import fidelity
from hygen_lightning.commands.inspect import inspect
from hygen_lightning.commands.output import lasting_output
from hygen_lightning.commands.players import players
from hygen_lightning.commands.render import render
from hygen_lightning.commands.report import report
from hygen_lightning.commands.skills import skills
from hygen_lightning.commands.study import study
from hygen_lightning.commands.sweep import sweep
from hygen_lightning.specs import RunError, UserError

TRAINER_COMMANDS = {
    "fit": "learn from recordings and live battles, then report seen and unseen tasks",
    "validate": "play task sets with a checkpoint: --ckpt_path X --data.eval_tasks [marine-hard]",
    "test": "the final evaluation of a checkpoint: more battles, fresh seeds",
    "predict": "play with a checkpoint and keep the battles as recordings",
}

Command = Callable[..., int]

COMMANDS: dict[str, Command | dict[str, Any]] = {
    "benchmark": {
        "_help": "Measure speed side by side: simulator, battles, update, whole run, scaling, processes.",
        "battles": battles,
        "ddp": ddp,
        "run": run,
        "scaling": scaling,
        "simulator": simulator,
        "update": update,
    },
    "collect": collect,
    "doctor": doctor,
    "export": export,
    "fidelity": fidelity,
    "inspect": inspect,
    "players": players,
    "render": render,
    "report": report,
    "skills": skills,
    "study": study,
    "sweep": sweep,
}
"""Our commands. A function's parameters are the options, its docstring their help, its result the exit
code; a dict holds subcommands."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 the answer is no, 2 bad input (one line on stderr)."""
    argv = list(sys.argv[1:] if args is None else args) or ["--help"]
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return _say(argv[0], "the current folder is gone; change to another one", code=2)
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)  # classes of the user's own folder, as `python -m` finds them
    # Threads that wait for one another spin for some microseconds, then sleep. Without spinning two
    # threads are slower than one; spinning longer gains nothing and slows a busy machine down.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale that lacks a letter of ours ends nothing
    try:
        with lasting_output(BrokenPipeError):
            return _run(argv)
    except UserError as error:
        return _say(argv[0], error, code=2)
    except RunError as error:
        return _say(argv[0], error, code=1)
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python would try once more on leaving
            return _say(argv[0], f"the output cannot be written: {error.strerror}", code=2)
        if error.filename is None:
            raise
        return _say(argv[0], f"{error.filename}: {error.strerror}; give another place", code=2)
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # --help and --print_config leave this way, and Lightning after Ctrl-C
        return 130 if isinstance(stop.__context__, KeyboardInterrupt) else int(stop.code or 0)


def _run(argv: list[str]) -> int:
    if argv[0] in ("-h", "--help", "--version"):
        print(__version__ if argv[0] == "--version" else _usage())
        return 0
    if argv[0] in TRAINER_COMMANDS:
        from hygen_lightning.trainer_cli import run_trainer_command

        return run_trainer_command(argv)
    if argv[0] in COMMANDS:
        return _run_own(argv)
    near = difflib.get_close_matches(argv[0], [*TRAINER_COMMANDS, *COMMANDS], n=1)
    hint = f"did you mean {near[0]}?" if near else "see python -m hygen_lightning --help"
    raise UserError(f"there is no such command; {hint}")


def _run_own(argv: list[str]) -> int:
    from jsonargparse import ArgumentError, auto_cli

    from hygen_lightning.parsing import CommandParser, explain

    name, *words = argv
    command: Any = COMMANDS[name]
    if isinstance(command, dict):
        command = {part: function for part, function in command.items() if part != "_help"}
        if words and words[0] in command:
            name, command, words = f"{name} {words[0]}", command[words[0]], words[1:]
    functions = [command] if callable(command) else list(command.values())
    for function in functions:
        # Else the parser would import what a command's module names for type checkers only, torch among it.
        function.__annotations__ = get_type_hints(function)
    try:
        code = auto_cli(
            command,
            args=words,
            prog=f"python -m hygen_lightning {name}",
            parser_class=CommandParser,
            exit_on_error=False,
            allow_abbrev=False,
        )
    except ArgumentError as error:
        parameters = [p for function in functions for p in signature(function).parameters.values()]
        options = [f"--{p.name}" for p in parameters if p.default is not p.empty]
        raise UserError(explain(error, options)) from error
    return int(code or 0)


def _usage() -> str:
    """The list of commands, each with the first line of its help."""
    told = dict(TRAINER_COMMANDS)
    for name, command in COMMANDS.items():
        text = command["_help"] if isinstance(command, dict) else command.__doc__
        told[name] = str(text).split("\n", 1)[0].rstrip(".")
    lines = [f"hygen_lightning {__version__}: one policy for many battles", ""]
    lines += ["usage: python -m hygen_lightning COMMAND [--help] [options]", ""]
    return "\n".join([*lines, *(f"  {name:10} {text}" for name, text in told.items())])


def _say(command: str, problem: object, code: int) -> int:
    """One line on stderr; gives the exit code back."""
    print(f"hygen_lightning {command}: {' '.join(str(problem).split())}", file=sys.stderr)
    return code
