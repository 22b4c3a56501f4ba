"""Run a W&B sweep file here, as a study, without an account."""

from __future__ import annotations

import hashlib
import itertools
import json as json_format
import math
import random
import re
import shlex
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from hygen_lightning.parsing import as_word, read_yaml
from hygen_lightning.seeding import check_seed
from hygen_lightning.specs import UserError, check_is_file

if TYPE_CHECKING:
    from hygen_lightning.study.plan import Cell

Parameter = dict[str, Any]
Value = TypeVar("Value")

SEED = "seed_everything"
LONGEST_NAME = 120
"""Letters of a trial's folder; most file systems end at 255."""
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
"""What W&B runs where a sweep file names no command."""


def sweep(
    file: str,
    count: int | None = None,
    print_only: bool = False,
    seed: int = 1,
    out: Path | None = None,
    jobs: int | None = None,
    threads: int = 1,
    launcher: Literal["local", "slurm"] = "local",
    slurm: dict[str, Any] | None = None,
    json: bool = False,
) -> int:
    """Run the trials of a sweep file (method grid or random) as a study, then report on them.

    Args:
        file: sweep file, the same that `wandb sweep` takes; its command is `python -m hygen_lightning fit`
        count: runs at most; random needs it or run_cap in the file
        print_only: check the options, print the commands, one line each, and run nothing
        seed: seed that draws random settings
        out: folder of the runs and the report (if not given, sweeps/ and the name of the file)
        jobs: runs at once (if not given, as many as the GPUs, or the cores divided by --threads)
        threads: CPU threads of each run
        launcher: local: processes here; slurm: a job array, through the package submitit
        slurm: the cluster's options, as for `study`
        json: one JSON object on stdout, instead of tables
    """
    from hygen_lightning.commands.study import run_cells
    from hygen_lightning.parsing import found_file
    from hygen_lightning.study.conduct import Place

    if count is not None and count < 1:
        raise UserError(f"--count is {count}; give 1 or more")
    path = found_file(file)
    cells = cells_of(read_sweep(path), path, count, seed)
    place = Place(out or Path("sweeps") / path.stem, jobs, threads, launcher, slurm)
    return run_cells(cells, place, cost=False, print_only=print_only, json=json)


def cells_of(content: dict[str, Any], path: Path, count: int | None, seed: int) -> list[Cell]:
    """Each trial as a cell that is named by its settings; UserError for what is no `fit` of this package."""
    from hygen_lightning.study.plan import Cell, checked_cells

    try:
        each = [(s, command_line(s, content)) for s in trials(content, count, seed)]
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    cells = []
    for number, (settings, words) in enumerate(each, 1):
        if words[1:4] != ["-m", "hygen_lightning", "fit"]:
            asked, ours = shlex.join(words[1:4]), "python -m hygen_lightning fit"
            raise UserError(f"{path}: its command is {asked}; here runs `{ours}`, others with wandb sweep")
        if type(settings.get(SEED, 1)) is not int:
            raise UserError(f"{path}: {SEED} is {settings[SEED]!r}; give whole numbers")
        check_seed(settings.get(SEED, 1), f"{path}: {SEED}")
        own = f"--{SEED}="
        said = [f"{n.rpartition('.')[2]}={as_word(v)}" for n, v in settings.items() if n != SEED]
        name = re.sub(r"[^\w.=+-]", "", "-".join(said)) or path.stem
        name = name if content["method"] == "grid" else f"{number:03d}-{name}"
        if len(name) > LONGEST_NAME:
            told = hashlib.sha256(name.encode()).hexdigest()[:8]
            name = f"{name[: LONGEST_NAME - 9]}-{told}"
        trained = tuple(word for word in words[4:] if not word.startswith(own))
        cells.append(Cell(name, settings.get(SEED, 1), trained))
    return checked_cells(cells, path)


def read_sweep(path: Path) -> dict[str, Any]:
    """A sweep file: method, parameters (nested ones flattened to a.b), command, program.

    Numbers that YAML takes for texts, as 1e-4, are numbers here, as they are for W&B. UserError for
    what is no sweep file, or asks for what only W&B's server has.
    """
    check_is_file(path, "give a sweep file, or one of the package: sweeps/hygen.yaml")
    content = read_yaml(path)
    for key in ("method", "parameters"):
        if not isinstance(content, dict) or key not in content:
            raise UserError(f"{path} is not a sweep file: it has no {key}")
    content["parameters"] = _flat(content["parameters"], path)
    method = content["method"]
    if method not in ("grid", "random"):
        is_ours = str(method).lower() in ("grid", "random")
        why = "is written in small letters" if is_ours else "needs W&B's server; grid and random run here"
        raise UserError(f"{path}: method {method!r} {why}")
    if "early_terminate" in content:
        print(f"{path}: early_terminate needs W&B's server; every run goes to its end", file=sys.stderr)
    return content


def _flat(parameters: Any, path: Path, prefix: str = "") -> dict[str, Parameter]:
    """Option name -> parameter; groups that hold `parameters` of their own become a.b."""
    found: dict[str, Parameter] = {}
    if not isinstance(parameters, dict):
        raise UserError(
            f"{path}: {prefix}parameters is {parameters!r}; give names, as lr: {{values: [0.1, 1]}}"
        )
    for name, parameter in parameters.items():
        if not isinstance(parameter, dict):
            raise UserError(f"{path}, {prefix}{name}: {parameter!r}; give value, values, or min and max")
        if "parameters" in parameter:
            found |= _flat(parameter["parameters"], path, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = {key: _number(value) for key, value in parameter.items()}
    return found


def _number(value: Any) -> Any:
    """A text that is a number, as YAML 1.1 reads 1e-4, as that number; lists entry by entry."""
    if isinstance(value, list):
        return [_number(entry) for entry in value]
    if isinstance(value, str) and "e" in value.lower() and any(digit in value for digit in "0123456789"):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def trials(content: dict[str, Any], count: int | None, seed: int) -> list[dict[str, Any]]:
    """Option name -> value of every run.

    count: most runs; None: run_cap of the file, or the whole grid. UserError for a random sweep without.
    """
    from hygen_lightning.study.plan import RUN_OF_ITS_OWN

    parameters: dict[str, Parameter] = content["parameters"]
    for name, parameter in parameters.items():
        if name in RUN_OF_ITS_OWN and name != SEED:
            raise UserError(f"parameter {name} is the sweep's own; leave it out")
        if "values" in parameter and not (isinstance(parameter["values"], list) and parameter["values"]):
            raise UserError(f"parameter {name}: values is {parameter['values']!r}; give a list of values")
    run_cap = content.get("run_cap")
    if run_cap is not None and (type(run_cap) is not int or run_cap < 1):
        raise UserError(f"run_cap is {run_cap!r}; give a whole number, 1 or more")
    n_runs = run_cap if count is None else count
    if content["method"] == "grid":
        grid = itertools.product(*(_explained(_grid_values, name, p) for name, p in parameters.items()))
        return [dict(zip(parameters, values)) for values in itertools.islice(grid, n_runs)]
    if n_runs is None:
        raise UserError("a random sweep has no end; give --count N or run_cap in the file")
    draw = random.Random(seed)
    drawn = partial(_draw, draw=draw)
    return [{name: _explained(drawn, name, p) for name, p in parameters.items()} for _ in range(n_runs)]


def _explained(read: Callable[[str, Parameter], Value], name: str, parameter: Parameter) -> Value:
    """What `read` finds; UserError where figures of the parameter are missing, no numbers or impossible."""
    try:
        return read(name, parameter)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        said = f"has no {error.args[0]}" if isinstance(error, KeyError) else f"cannot be used ({error})"
        raise UserError(f"parameter {name}: {parameter} {said}") from error


def _grid_values(name: str, parameter: Parameter) -> list[Any]:
    if "value" in parameter:
        return [parameter["value"]]
    if "values" in parameter:
        return list(parameter["values"])
    if parameter.get("distribution") == "q_uniform":
        low, high, step = parameter["min"], parameter["max"], parameter.get("q", 1)
        count = math.floor((high - low) / step + 1e-9) + 1
        return [_rounded(low + i * step) for i in range(count)] or _nothing(name)
    if _usual(parameter) == "int_uniform":
        return list(range(parameter["min"], parameter["max"] + 1)) or _nothing(name)
    raise UserError(f"parameter {name}: a grid needs `values`")


def _nothing(name: str) -> NoReturn:
    raise UserError(f"parameter {name}: no value between its min and its max")


def _usual(parameter: Parameter) -> str:
    """The distribution where none is named: whole numbers between whole bounds."""
    whole = all(isinstance(parameter.get(bound), int) for bound in ("min", "max"))
    return "int_uniform" if whole else "uniform"


Draw = Callable[[Parameter, random.Random], float]


def _uniform(p: Parameter, draw: random.Random) -> float:
    return draw.uniform(p["min"], p["max"])


def _log_uniform_values(p: Parameter, draw: random.Random) -> float:
    return math.exp(draw.uniform(math.log(p["min"]), math.log(p["max"])))


def _inv_log_uniform_values(p: Parameter, draw: random.Random) -> float:
    return 1 / math.exp(draw.uniform(math.log(1 / p["max"]), math.log(1 / p["min"])))


def _normal(p: Parameter, draw: random.Random) -> float:
    return statistics.NormalDist(p.get("mu", 0), p.get("sigma", 1)).inv_cdf(1 - draw.random())


DISTRIBUTIONS: dict[str, Draw] = {
    "int_uniform": lambda p, draw: draw.randint(int(p["min"]), int(p["max"])),
    "uniform": _uniform,
    "log_uniform": lambda p, draw: math.exp(_uniform(p, draw)),
    "log_uniform_values": _log_uniform_values,
    "inv_log_uniform": lambda p, draw: 1 / math.exp(_uniform(p, draw)),
    "inv_log_uniform_values": _inv_log_uniform_values,
    "normal": _normal,
    "log_normal": lambda p, draw: math.exp(_normal(p, draw)),
}
"""W&B's distributions, by its documentation; min and max of those without `_values` are exponents."""


def _draw(name: str, parameter: Parameter, draw: random.Random) -> Any:
    """One value of a random sweep. A name that begins with q_ is rounded to multiples of `q`."""
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        shares = parameter.get("probabilities")
        if shares is not None and len(shares) != len(parameter["values"]):
            raise UserError(f"parameter {name}: as many probabilities as values are needed")
        return draw.choices(parameter["values"], shares)[0]
    kind = str(parameter.get("distribution", _usual(parameter)))
    chosen = DISTRIBUTIONS.get(kind.removeprefix("q_"))
    if chosen is None:
        known = ", ".join(sorted(DISTRIBUTIONS))
        raise UserError(f"parameter {name}: distribution {kind!r} is not known here; known: {known}")
    value = chosen(parameter, draw)
    if kind.startswith("q_"):
        step = parameter.get("q", 1)
        value = _rounded(round(value / step) * step)
    return value


def _rounded(value: float) -> float:
    """Without what binary fractions add to 0.3; whole numbers stay whole."""
    return round(value, 12) if isinstance(value, float) else value


def command_line(settings: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """The file's command with its macros filled in, `python` as this interpreter, and no W&B."""

    command = content.get("command", DEFAULT_COMMAND)
    if not isinstance(command, (list, tuple)):
        raise UserError(
            f"command is {command!r}; give a list of words, like [python, -m, hygen_lightning, fit]"
        )
    template = [str(word) for word in command]
    if not content.get("program") and "${program}" in template:
        raise UserError("the sweep file names no program; write `program: hygen_lightning`")
    args = [f"--{name}={as_word(value)}" for name, value in settings.items()]
    bare = [f"--{name}" for name, value in settings.items() if value is True]
    others = [f"--{n}={as_word(v)}" for n, v in settings.items() if not isinstance(v, bool)]
    macros = {
        "${env}": [],
        "${interpreter}": [sys.executable],
        "${program}": [str(content.get("program", ""))],
        "${args}": args,
        "${args_no_hyphens}": [word.removeprefix("--") for word in args],
        "${args_no_boolean_flags}": [*others, *bare],
        "${args_json}": [json_format.dumps(settings, ensure_ascii=False, default=str)],
    }
    ours = {"python": [sys.executable], "--config=conf/wandb.yaml": []}
    for word in template:
        if word.startswith("${") and word not in macros:
            raise UserError(f"command: {word} is not known here; known: {', '.join(sorted(macros))}")
    if settings and not any(word.startswith("${args") for word in template):
        raise UserError("command has no ${args}: parameters would change nothing")
    return [piece for word in template for piece in {**macros, **ours}.get(word, [word])]
