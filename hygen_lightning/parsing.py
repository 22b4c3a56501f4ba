"""What the parsers of all commands share: flags, shipped configs, and complaints in one line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from inspect import signature
from itertools import pairwise
from pathlib import Path
from pydoc import locate
from typing import Any, get_args, get_origin

from jsonargparse import ActionYesNo, ArgumentParser

from hygen_lightning.specs import UserError, check_is_file

PACKAGE = Path(__file__).parent

KINDS = {
    "a <class 'int'>": "a whole number",
    "a <class 'float'>": "a number",
    "a <class 'bool'>": "true or false",
    "a <class 'str'>": "a text",
    "a <class 'list'>": "a list, like [3m,4m]",
    "a <class 'dict'>": 'names and values, like {"name":1}',
    "a <class 'NoneType'>": "null",
    "a typing.Literal": "one of ",
}
"""How a user calls the kinds of values that jsonargparse expects."""


class CommandParser(ArgumentParser):
    """Options of our own commands: a flag needs no value; where a list is asked for, it takes several words,
    a Sequence takes any number of them."""

    def add_argument(self, *names: str, **options: Any) -> Any:  # type: ignore[override]
        hint = getattr(options.get("action"), "_typehint", None)
        if options.get("type") is bool:
            options |= {"action": ActionYesNo, "nargs": "?"}
            del options["type"]
        elif not names[0].startswith("-") and get_origin(hint) in (list, Sequence):
            nargs = "+" if get_origin(hint) is list else "*"
            options = {"type": get_args(hint)[0], "nargs": nargs, "help": options["help"]}
        return super().add_argument(*names, **options)


def shipped(path: str) -> Path:
    """The package's own conf/... or sweeps/...: inside it where it is installed, else beside it."""
    inside = PACKAGE / path
    return inside if inside.is_file() else PACKAGE.parent / path


def found_file(path: str) -> Path:
    """A file of the user's, or what the package ships under this name: conf/tasks/toy.yaml works anywhere."""
    ours = Path(path).parts[:1] in (("conf",), ("sweeps",)) and not Path(path).exists()
    return shipped(path) if ours and shipped(path).is_file() else Path(path)


def check_config(path: Path) -> None:
    """UserError unless this is a YAML file of options."""
    check_is_file(path, "give a YAML file, or one of the package: conf/tasks/toy.yaml")
    if not isinstance(read_yaml(path), dict):
        raise UserError(f"{path}: no options in it; --print_config shows what a config looks like")


def file_that_says(complaint: str, words: Sequence[str]) -> str:
    """`FILE: ` for the config that holds the option of a complaint; nothing where the command line has it.

    words: a command line that takes configs, of which later ones win.
    """
    found = re.search(r"--([\w.]+)", complaint.replace("init_args.", ""))
    if found is None:
        return ""
    for path, name in reversed(given_options(words)):
        if name == found[1] or (path is not None and name.startswith(f"{found[1]}.")):
            return f"{path}: " if path is not None else ""
    return ""


def given_options(words: Sequence[str]) -> list[tuple[Path | None, str]]:
    """Every option that these words and the configs among them give, without `init_args.`, later ones win.

    Each with the file that holds it; None and last, if the words do.
    """
    pieces = [piece for word in words for piece in (word.split("=", 1) if word.startswith("--") else [word])]
    configs = [found_file(b) for a, b in pairwise(pieces) if a in ("-c", "--config")]
    names: list[tuple[Path | None, str]] = []
    for path in (path for path in configs if path.is_file()):
        content = read_yaml(path)
        names += [(path, name) for name, _ in _flat(content if isinstance(content, dict) else {})]
    names += [(None, piece.removeprefix("--")) for piece in pieces if piece.startswith("--")]
    return [(path, name.replace("init_args.", "")) for path, name in names]


def as_word(value: Any) -> str:
    """A value as the command line takes it: true, null, [1, 2]; text without quotes, in any alphabet."""
    if isinstance(value, (str, date)):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; UserError, with its line, where it is none or a key stands there twice."""
    import yaml

    class OneOfEachKey(yaml.SafeLoader):
        """Refuses what YAML forbids and its parser takes: the same key twice, of which the last would win."""

        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node: yaml.MappingNode = super().compose_mapping_node(anchor)
            seen: set[tuple[str, str]] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
            return node

    try:
        return yaml.load(path.read_text(encoding="utf-8"), OneOfEachKey)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not YAML (no text)") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise UserError(f"{path}{line}: not YAML ({getattr(error, 'problem', 'no text')})") from error
    except ValueError as error:  # no such day, or no number behind !!int; YAML keeps no line for it
        raise UserError(f"{path}: not YAML ({error})") from error


# Complaints

NO_CLASSES: Mapping[str, Iterable[str]] = {}


def explain(
    error: BaseException, options: Sequence[str], classes: Mapping[str, Iterable[str]] = NO_CLASSES
) -> str:
    """What a parser has against a command line: its own message in one line, with the nearest option.

    options: all that the command has, like --seed. classes: option -> names of the classes that it knows.
    """
    own = complaint_of(error)
    if own is not None:
        return own
    key, text = _innermost(" ".join(str(error).split()))
    words = text.split()
    if text.startswith("unrecognized arguments: "):
        if not words[2].startswith("--"):
            return f"unexpected {words[2]!r}; names of options begin with --, see --help for all"
        return _unknown(words[2].partition("=")[0], options)
    if "ption '" in text:  # of a config file, or of a class
        _, path, rest = text.rpartition("class_path '")
        name = text.partition("ption '")[2].partition("'")[0]
        if not path:
            group = text.partition("Group '")[2].partition("'")[0]
            is_group = any(option.startswith(f"--{group}.") for option in options)
            bare = is_group and not name.startswith(f"{group}.")
            if group and (bare or f"--{name}" in options):  # `fit: {trainer: ...}`: right option, wrong place
                name = f"{group}.{name}"
            return _unknown(f"--{name}", options)
        parameters = signature(locate(rest.partition("'")[0])).parameters  # type: ignore[arg-type]
        return _unknown(f"--{key}.{name}", [f"--{key}.{parameter}" for parameter in parameters])
    if "dot import path string: " in text:
        name = text.rpartition("dot import path string: ")[2].split()[0].rstrip(".")
        known = ", ".join([*classes.get(key, ()), "package.module.Class"])
        return f"--{key}: unknown name {name!r}; choose one of {known}"
    if text.startswith("Unexpected config: "):
        content = text.removeprefix("Unexpected config: ")
        if content.endswith(":"):
            return f"{content.strip(':')} is all that stands there, and it has no value"
        return f"a config is names and values; got {content}"
    for kind, name in KINDS.items():
        text = text.replace(kind, name)
    expected, _, got = text.replace("Expected ", "takes ", 1).partition(". Got value: ")
    text = f"{expected}; got {got.partition('. Got value: ')[0]}" if got else text
    return f"--{key}{' ' if text.startswith('takes') else ': '}{text}" if key else text


def _innermost(text: str) -> tuple[str, str]:
    """Dotted name of the option that is meant, and what is wrong with it.

    jsonargparse lists what each member of a union has against a value; the first one counts.
    """
    names = []
    while text.startswith('Parser key "') or text.startswith("Problem with given class_path"):
        option = text.startswith("Parser")
        start, _, rest = text.partition('": ' if option else "': ")
        if not option and not rest.startswith("Parser"):
            break
        if option:
            names.append(start.removeprefix('Parser key "'))
        _, several, errors = rest.partition("Errors: - ")
        if several:
            told, _, value = errors.partition(" Given value type: ")
            reasons = [reason for reason in told.split(" - ") if "NoneType" not in reason]
            got = value.rpartition("Given value: ")[2]
            plain = all(reason.startswith("Expected a ") for reason in reasons)
            kinds = " or ".join(reason.removeprefix("Expected ") for reason in reasons)
            rest = f"Expected {kinds}. Got value: {got}" if plain else reasons[0]
        text = rest
    return ".".join(names), text


def _unknown(name: str, options: Sequence[str]) -> str:
    """The nearest option: of the same group, or of the same name in another."""
    group, _, leaf = name.rpartition(".")
    beside = [option for option in options if group and option.startswith(f"{group}.")]
    near = difflib.get_close_matches(name, beside or options, n=1, cutoff=0.7 if not beside else 0.8)
    near = near or [option for option in options if option.endswith(f".{leaf}")]
    hint = f"did you mean {near[0]}?" if near else "see --help for all options"
    return f"unknown option {name}; {hint}"


def complaint_of(error: BaseException | None, kind: type[Exception] = UserError) -> str | None:
    """The message of an error of this kind, if one led to `error`."""
    while error is not None:
        if isinstance(error, kind):
            return str(error)
        error = error.__cause__ or error.__context__
    return None


# What the command line asks for, against what a run was started with

NOT_COMPARED = ("ckpt_path", "resume", "config", "weights_only", "trainer.callbacks")
"""Options that say how a run goes on, or that hold whole objects."""


def differences(saved: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """One line per option in both nested configs whose values differ; the asked one is used."""
    old, new = dict(_flat(saved)), dict(_flat(asked))
    return [
        f"--{name} {new[name]}, the run's was {old[name]}"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name] and not name.startswith(NOT_COMPARED)
    ]


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested config; of a class only its name counts."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif key == "class_path":
            yield f"{prefix}{key}", str(value).rpartition(".")[2]
        else:
            yield f"{prefix}{key}", value
