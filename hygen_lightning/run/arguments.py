"""Command lines in layers: the base config, a checkpoint's model, the user's configs, options."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.run.run import last_checkpoint
from hygen_lightning.specs import UserError


def layered_arguments(command: str, argv: list[str]) -> list[str]:
    """The user's arguments over what stands under them; later ones win.

    Lowest the packaged base config, then (no --config given) the quickstart, then the model of
    the checkpoint that --ckpt_path or --resume names, then the user's words as they came.
    """
    words = [piece for word in argv for piece in _split_option(word)]
    words = [
        _packaged(word) if words[i - 1] in ("--config", "-c") and i else word for i, word in enumerate(words)
    ]
    for path in _configs(words):
        check_config(Path(path))
    below = ["--config", _packaged("conf/base.yaml")]
    if command == "fit" and not {"--config", "-c"} & set(words):
        below += ["--config", _packaged("conf/quickstart.yaml")]
    if command in ("validate", "test"):
        below += ["--verbose=false"]  # Lightning's table would say the same as ours
    words = _with_checkpoint(command, words)
    checkpoint = _value(words, "--ckpt_path")
    if checkpoint is not None:
        content = checkpoint_content(Path(checkpoint))
        below += ["--model", json.dumps(content["model_config"])]
        if command != "fit":
            below += [f"--data.train_tasks={json.dumps(content['trained_on'])}"]
    return [*below, *words]


def _split_option(word: str) -> list[str]:
    """--name=value as two words; everything else as it is."""
    match = re.fullmatch(
        r"(--config|--ckpt_path|--resume|--seed_everything|--run\.name|--run\.root|-c)=(.*)", word
    )
    return [match[1], match[2]] if match else [word]


def _packaged(path: str) -> str:
    """A config that lies in no folder here but in the package: conf/tasks/toy.yaml works anywhere."""
    inside = files("hygen_lightning") / "conf" / path.removeprefix("conf/")
    if not Path(path).exists() and path.startswith("conf/") and inside.is_file():
        return str(inside)
    return path


def _value(words: list[str], option: str) -> str | None:
    values = [words[i + 1] for i, word in enumerate(words[:-1]) if word == option]
    return values[-1] if values else None


def _configs(words: list[str]) -> list[str]:
    """The files that --config names."""
    return [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--config", "-c")]


def check_config(path: Path) -> None:
    """UserError unless this is a YAML file of options."""
    import yaml

    if not path.is_file():
        raise UserError(f"no config at {path}; give a YAML file, or one of the package: conf/tasks/toy.yaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise UserError(f"{path}{line}: not YAML ({getattr(error, 'problem', 'no text')})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: no options in it; --print_config shows what a config looks like")


def _with_checkpoint(command: str, words: list[str]) -> list[str]:
    """Turn `--resume auto` and `--ckpt_path last` into the checkpoint's path."""
    asks_last = _value(words, "--ckpt_path") == "last"
    if command != "fit" or not (asks_last or _value(words, "--resume") == "auto"):
        return words
    root, name = (
        str(_value(words, f"--run.{key}") or _configured(words, default, "run", key))
        for key, default in (("root", "runs"), ("name", "hygen"))
    )
    seed = int(_value(words, "--seed_everything") or _configured(words, 1, "seed_everything"))
    found = last_checkpoint(root, name, seed)
    if asks_last:
        if found is None:
            raise UserError(f"--ckpt_path last: no unfinished run with seed {seed} below {Path(root) / name}")
        words = [str(found) if words[i - 1] == "--ckpt_path" and i else word for i, word in enumerate(words)]
        return words
    if found is None:
        print(f"no unfinished run with seed {seed} below {Path(root) / name}: a new one begins", flush=True)
        return words
    return [*words, "--ckpt_path", str(found)]


def _configured(words: list[str], default: Any, *keys: str) -> Any:
    """An option as the configs give it; the last one wins."""
    import yaml

    configs = [_packaged("conf/base.yaml"), *(_configs(words) or [_packaged("conf/quickstart.yaml")])]
    found = default
    for path in configs:
        value: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for key in keys:
            value = (value or {}).get(key)
        found = found if value is None else value
    return found


def checkpoint_content(path: Path) -> dict[str, Any]:
    """A whole checkpoint of this package; UserError if the file is none."""
    return read_checkpoint(path, "model_config", "trained_on", "state_dict")


def checkpoint_model(path: Path) -> dict[str, Any]:
    """class_path and init_args of the model in a checkpoint of this package."""
    return dict(checkpoint_content(path)["model_config"])
