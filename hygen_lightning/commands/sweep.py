"""Run a W&B sweep file here, one training after the other, without an account."""

from __future__ import annotations

import itertools
import json as json_format
import math
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


def sweep(
    file: str, count: int | None = None, print_only: bool = False, seed: int = 1, json: bool = False
) -> int:
    """Run the commands of a sweep file (method grid or random), each in its own process.

    Args:
        file: sweep file, the same that `wandb sweep` takes
        count: runs at most; random needs it or run_cap in the file
        print_only: print the commands, one line each (for a SLURM array), and run nothing
        seed: seed that draws random settings
        json: print one JSON object with the commands and their exit codes
    """
    from hygen_lightning.commands.output import print_json

    commands = [command_line(settings, content) for content, settings in trials(Path(file), count, seed)]
    codes = []
    for command in commands:
        if not json:
            print(shlex.join(command), flush=True)
        if not print_only:
            codes.append(subprocess.run(command, check=False, stdout=sys.stderr if json else None).returncode)
    if json:
        print_json({"commands": [shlex.join(c) for c in commands], "exit_codes": codes})
    return int(any(codes))


def trials(path: Path, count: int | None, seed: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(file content, settings) of every run: option name -> value."""
    import yaml

    from hygen_lightning.specs import UserError

    if not path.is_file():
        raise UserError(f"{path}: no such file; the project's sweep files lie in sweeps/ of its source tree")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        method, parameters = content["method"], content["parameters"]
    except (OSError, TypeError, KeyError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a sweep file with method and parameters ({error})") from error
    if method == "grid":
        names = list(parameters)
        grid = itertools.product(*(_values(name, parameters[name]) for name in names))
        settings = [dict(zip(names, values)) for values in grid]
        return [(content, s) for s in settings[:count]]
    if method != "random":
        raise UserError(f"{path}: method {method!r} needs W&B's server; grid and random run here")
    n_runs = count or content.get("run_cap")
    if n_runs is None:
        raise UserError(f"{path}: a random sweep has no end; give --count N or run_cap in the file")
    draw = random.Random(seed)
    return [(content, {n: _draw(n, p, draw) for n, p in parameters.items()}) for _ in range(n_runs)]


def _values(name: str, parameter: dict[str, Any]) -> list[Any]:
    from hygen_lightning.specs import UserError

    if "value" in parameter:
        return [parameter["value"]]
    if "values" not in parameter:
        raise UserError(f"parameter {name}: a grid needs `values`")
    return list(parameter["values"])


def _draw(name: str, parameter: dict[str, Any], draw: random.Random) -> Any:
    """One value of a random sweep: of `values`, or between `min` and `max`."""
    if "value" in parameter or "values" in parameter:
        return draw.choice(_values(name, parameter))
    low, high = parameter["min"], parameter["max"]
    if parameter.get("distribution") == "log_uniform_values":
        return math.exp(draw.uniform(math.log(low), math.log(high)))
    if isinstance(low, int) and isinstance(high, int):
        return draw.randint(low, high)
    return draw.uniform(low, high)


def command_line(settings: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """The file's command with ${args} filled in, logging to metrics.csv only."""
    words: list[str] = []
    for word in content["command"]:
        if word == "${args}":
            words += [
                f"--{name}={json_format.dumps(value).strip(chr(34))}" for name, value in settings.items()
            ]
        elif word == "python":
            words.append(sys.executable)
        elif word not in ("${env}", "--config=conf/wandb.yaml"):
            words.append(word.replace("${program}", content["program"]))
    return words


def _as_word(value: Any) -> str:
    """A value as the command line takes it: true, null, [1, 2]; text without quotes."""
    return value if isinstance(value, str) else json_format.dumps(value)
