"""The commands: LightningCLI's fit, validate, test and predict, and ours beside them."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from hygen_lightning import __version__
from hygen_lightning.specs import RunError, UserError

TRAINER_COMMANDS = {
    "fit": "learn from recordings and live battles, then report seen and unseen tasks",
    "validate": "play task sets with a checkpoint: --ckpt_path X --data.eval_tasks [marine-hard]",
    "test": "the final evaluation of a checkpoint: more battles, fresh seeds",
    "predict": "play with a checkpoint and keep the battles as recordings",
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 the answer is no, 2 bad input (one line on stderr)."""
    argv = list(sys.argv[1:] if args is None else args)
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if argv[0] == "--version":
        print(__version__)
        return 0
    try:
        return _run(argv[0], argv[1:])
    except UserError as error:
        print(f"hygen_lightning {argv[0]}: {_one_line(error)}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"hygen_lightning {argv[0]}: {_one_line(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None or argv[0] in TRAINER_COMMANDS:
            raise
        print(f"hygen_lightning {argv[0]}: {_path_problem(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # --help and --print_config leave this way, and Lightning after Ctrl-C
        return 130 if isinstance(stop.__context__, KeyboardInterrupt) else int(stop.code or 0)


def _run(command: str, argv: list[str]) -> int:
    # Threads that wait for one another spin for some microseconds, then sleep. Without spinning two
    # threads are slower than one; spinning longer gains nothing and slows a busy machine down.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if command in TRAINER_COMMANDS:
        os.environ.setdefault("WANDB_SILENT", "true")
        from hygen_lightning.trainer_cli import run_trainer_command

        return run_trainer_command(command, argv)
    if command in own_commands():
        return _run_own(command, argv)
    import difflib

    near = difflib.get_close_matches(command, [*TRAINER_COMMANDS, *own_commands()], n=1)
    hint = f"did you mean {near[0]}?" if near else "see python -m hygen_lightning --help"
    raise UserError(f"there is no such command; {hint}")


def own_commands() -> dict[str, str]:
    """Name -> file stem of every file in `commands` that defines a command."""
    from hygen_lightning import commands

    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    return {name: name for name in sorted(names) if name != "output" and "_" not in name}


def load_command(name: str) -> Callable[..., int] | dict[str, Callable[..., int]]:
    """The COMMAND of `commands/<name>.py`."""
    command: Callable[..., int] = importlib.import_module(f"hygen_lightning.commands.{name}").COMMAND
    return command


def _run_own(name: str, argv: list[str]) -> int:
    from jsonargparse import ArgumentError, auto_cli

    bare = [word == "--json" and after not in ("true", "false") for word, after in zip(argv, [*argv[1:], ""])]
    arguments = [piece for word, alone in zip(argv, bare) for piece in ([word, "true"] if alone else [word])]
    command: Any = load_command(name)
    arguments = _configs_as_list(command, _words_as_list(command, arguments))
    parts: dict[str, Any] = {"": command} if callable(command) else command
    plain: dict[str, Any] = {part: _evaluated(function) for part, function in parts.items()}
    try:
        result = auto_cli(
            plain.get("") or plain,
            args=arguments,
            prog=f"python -m hygen_lightning {name}",
            exit_on_error=False,
            allow_abbrev=False,
            as_positional=True,
        )
    except ArgumentError as error:
        from hygen_lightning.run.complaints import explain

        options = {name for function in parts.values() for name in inspect.signature(function).parameters}
        raise UserError(explain(error, sorted(options))) from error
    return int(result or 0)


def _evaluated(command: Callable[..., int]) -> Callable[..., int]:
    """The command with evaluated annotations, in this module as it were: of a command's own module the
    parser would import whatever that names for type checkers only, torch among it."""

    def run(*args: Any, **kwargs: Any) -> int:
        return command(*args, **kwargs)

    types, signature = get_type_hints(command), inspect.signature(command)
    parameters = [p.replace(annotation=types[name]) for name, p in signature.parameters.items()]
    run.__name__, run.__doc__, run.__annotations__ = command.__name__, command.__doc__, types
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _words_as_list(command: Callable[..., int] | dict[str, Callable[..., int]], argv: list[str]) -> list[str]:
    """The leading words as one list, where that is what a command's first parameter takes."""
    first = next(iter(inspect.signature(command).parameters.values()), None) if callable(command) else None
    if first is None or not str(first.annotation).startswith("list[") or first.default is not first.empty:
        return argv
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    return [json.dumps(words), *argv[len(words) :]] if words else argv


def _configs_as_list(
    command: Callable[..., int] | dict[str, Callable[..., int]], argv: list[str]
) -> list[str]:
    """Every `--config FILE` in one list, `--configs`, where the command takes layers as `fit` does.

    The parser keeps --config for itself.
    """
    chosen = command if callable(command) else command.get(argv[0] if argv else "")
    if chosen is None or "configs" not in inspect.signature(chosen).parameters:
        return argv
    split = (word.split("=", 1) if word.startswith("--config=") else [word] for word in argv)
    words = [piece for pieces in split for piece in pieces]
    flags = [i for i, word in enumerate(words[:-1]) if word == "--config"]
    files = [words[i + 1] for i in flags]
    rest = [word for i, word in enumerate(words) if i not in flags and i - 1 not in flags]
    return [*rest, "--configs", json.dumps(files)] if files else rest


def _usage() -> str:
    """The list of commands, each with the first line of its help."""
    lines = [f"hygen_lightning {__version__}: one policy for many battles", ""]
    lines += ["usage: python -m hygen_lightning COMMAND [--help] [options]", ""]
    lines += [f"  {name:10} {text}" for name, text in TRAINER_COMMANDS.items()]
    for name in own_commands():
        lines.append(f"  {name:10} {_first_line(name)}")
    return "\n".join(lines)


def _first_line(name: str) -> str:
    """First line of a command's module docstring, without importing what it needs."""
    doc: Any = importlib.import_module(f"hygen_lightning.commands.{name}").__doc__
    return str(doc or "").split("\n", 1)[0].rstrip(".")


def _path_problem(error: OSError) -> str:
    """What is wrong with a path that cannot be read or written."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename}: a file stands where a folder is needed; give another place"
    return f"{error.filename}: {error.strerror}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
