"""What a parser has against a command line, in one line that says what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hygen_lightning.specs import UserError

_UNKNOWN = re.compile(r"(?:unrecognized arguments: --|[Oo]ption ')([\w.]+)")
_BARE_WORD = re.compile(r"unrecognized arguments: ([^-\s]\S*)")
_NESTED = re.compile(r"Parser key \"([\w.]+)\": .*class_path '[\w.]+': (.*)")
_NO_LIST = re.compile(
    r"[\"']?([\w.]+)[\"']?: Does not validate .*Subtypes: \[list\[str\].*Given value: (\S+)"
)
_KIND = r"<class '(\w+)'>"
_WRONG_KIND = re.compile(rf"[Pp]arser key \"([\w.]+)\": Expected a ({_KIND})\. Got value: (\S+)")
_WRONG_KINDS = re.compile(
    rf"[Pp]arser key \"([\w.]+)\": Does not validate .*Subtypes: \[((?:{_KIND},? ?)+)\].*Given value: (\S+)"
)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
}
"""How a user calls the kinds of values."""
_NO_CLASS = re.compile(r"Expected a dot import path string: ([\w.]+)")


def explain(error: Exception, options: Sequence[str], classes: Sequence[str] = ()) -> str:
    """A parser's complaint in one line, with the nearest option where one is unknown.

    options: names without the leading dashes; classes: what an option may name that names a class.
    """
    own = own_complaint(error)
    if own is not None:
        return own
    whole = " ".join(str(error).split())
    nested = _NESTED.search(whole)
    text = nested[2] if nested else whole
    unknown = _UNKNOWN.search(text)
    if unknown:
        name = f"{nested[1]}.{unknown[1]}" if nested else unknown[1]
        return f"unknown option --{name}; {_nearest_option(name, options)}"
    word = _BARE_WORD.search(text)
    if word:
        return f"unexpected {word[1]!r}; names of options begin with --, see --help for all"
    no_list = _NO_LIST.search(text)
    if no_list:
        return f"--{no_list[1]} takes a list, like [3m,4m]; got {no_list[2]}"
    wrong_kind = _WRONG_KIND.search(text) or _WRONG_KINDS.search(text)
    if wrong_kind:
        name = f"{nested[1]}.{wrong_kind[1]}" if nested else wrong_kind[1]
        kinds = " or ".join(_KINDS.get(kind, kind) for kind in re.findall(_KIND, wrong_kind[2]))
        return f"--{name} takes {kinds}; got {wrong_kind[4]}"
    no_class = _NO_CLASS.search(text)
    if no_class and classes:
        return f"unknown name {no_class[1]!r}; choose one of {', '.join(classes)}"
    text = text.replace("Parser key ", "option ").replace("a typing.Literal", "one of ")
    return re.sub(r"(?:a )?<class '([\w.]+)'>", r"\1", text)


def _nearest_option(name: str, options: Sequence[str]) -> str:
    group, dot, leaf = name.rpartition(".")
    beside = [option.removeprefix(group + dot) for option in options if option.startswith(group + dot)]
    if dot and beside:
        near = [group + dot + other for other in difflib.get_close_matches(leaf, beside, n=1, cutoff=0.5)]
    else:
        near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    near = near or [option for option in options if option.endswith(f".{leaf}")]
    return f"did you mean --{near[0]}?" if near else "see --help for all options"


def own_complaint(error: BaseException | None) -> str | None:
    """The message of this package's own error, if one led to `error`."""
    while error is not None:
        if isinstance(error, UserError):
            return str(error)
        error = error.__cause__ or error.__context__
    return None
