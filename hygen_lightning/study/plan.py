"""What a study consists of: algorithms x task sets x data qualities x seeds, each cell a `fit` of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hygen_lightning.data.datamodule import NO_RECORDINGS
from hygen_lightning.parsing import as_word, found_file, read_yaml, shipped
from hygen_lightning.seeding import check_seed
from hygen_lightning.specs import UserError, check_is_file

STUDY_KEYS = ("algorithms", "task_sets", "tasks", "qualities", "seeds", "configs", "options")
ALGORITHM_KEYS = ("configs", "options", "qualities")
STUDY_FOLDERS = ("report", "slurm", "cost.json")
"""What lies beside the cells in a study's folder."""
LONGEST_NAME = 200
"""Letters of a cell's folder; most file systems end at 255."""
DATASET_DIR = "data.dataset_dir"
RUN_OF_ITS_OWN = ("run.root", "run.name", "seed_everything", "resume", "ckpt_path")
"""Options that a study gives each cell itself."""


@dataclass(frozen=True)
class Cell:
    """One run of a study. words: the configs and options of `fit` that its name stands for."""

    name: str
    seed: int
    words: tuple[str, ...]

    def command(self, root: Path) -> list[str]:
        """The process that trains it, or goes on with it, below the folder `root`."""
        fit = [sys.executable, "-m", "hygen_lightning", "fit", *self.words]
        place = ["--run.root", str(root), "--run.name", self.name]
        return [*fit, *place, "--seed_everything", str(self.seed), "--resume", "auto"]


def read_study(path: Path) -> list[Cell]:
    """The cells of a study file, seed by seed, so that every algorithm has a first run early.

    UserError, one line, for a file that is none, an unknown key, or a value of the wrong kind.
    """
    check_is_file(path, "give a study, or one of the package: conf/studies/smoke.yaml")
    content = read_yaml(path)
    _check_keys(content, STUDY_KEYS, path, "a study")
    algorithms = content.get("algorithms")
    if not isinstance(algorithms, dict) or not algorithms:
        what = f"algorithms is {algorithms!r}" if algorithms else "no algorithms"
        raise UserError(f"{path}: {what}; give names, each with its configs and options, as BC: {{}}")
    found = []
    for label, part in algorithms.items():
        found += _cells_of(str(label), part or {}, content, path)
    return checked_cells([replace(cell, seed=n) for n in _seeds(content, path) for cell in found], path)


def _cells_of(label: str, part: Any, content: dict[str, Any], path: Path) -> list[Cell]:
    """One cell for each task set (or task alone) and data quality of an algorithm.

    What the algorithm says wins over the study. A cell of quality none drops the study's recordings.
    """
    where = f"{path}, algorithm {label}"
    _check_keys(part, ALGORITHM_KEYS, where, "an algorithm")
    layers = [*_texts(content, "configs", path), *_texts(part, "configs", where)]
    shared, own = _options(content, path), _options(part, where)
    qualities = _texts(part, "qualities", where) or _texts(content, "qualities", path)
    cells = []
    for task, learned in _learned(content, path).items():
        for quality in qualities or [""]:
            options = {**shared, **own, **learned, **({"data.quality": quality} if quality else {})}
            if quality == NO_RECORDINGS and DATASET_DIR not in own:
                options.pop(DATASET_DIR, None)
            name = "-".join(word for word in (label, task, quality) if word)
            if not re.fullmatch(r"[A-Za-z0-9][\w.=+-]*", name):
                raise UserError(f"{where}: {name!r} names a folder; use letters, digits, - and _")
            cells.append(Cell(name, 0, as_words(layers, options)))
    return cells


def _learned(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Name of a task set or of a single task -> the options that say what is learned and played."""
    learned: dict[str, dict[str, Any]] = {}
    for key in ("task_sets", "tasks"):
        for name in _texts(content, key, path):
            called = Path(name).stem
            if called in learned:
                raise UserError(f"{path}: {called} stands twice in task_sets and tasks; keep one of them")
            learned[called] = {"data.task_set": name} if key == "task_sets" else _alone(name)
    return learned or {"": {}}


def _alone(task: str) -> dict[str, Any]:
    one = {f"data.{which}_tasks": [task] for which in ("train", "eval")}
    return {"data.task_set": None, **one, "data.extra_tasks": []}


def checked_cells(cells: Sequence[Cell], path: Path) -> list[Cell]:
    """The cells of this file; UserError where two share a name and a seed, or a name makes no folder."""
    known: set[tuple[str, int]] = set()
    for cell in cells:
        if cell.name.lower() in STUDY_FOLDERS:
            raise UserError(f"{path}: {cell.name!r} is a folder of the study itself; give another name")
        if len(cell.name) > LONGEST_NAME:
            raise UserError(f"{path}: {cell.name!r} is too long for a folder; give a shorter name")
        if (cell.name, cell.seed) in known:
            said = f"two runs are called {cell.name}, seed {cell.seed}"
            raise UserError(f"{path}: {said}; give other names or seeds")
        known.add((cell.name, cell.seed))
    return list(cells)


def as_words(configs: Sequence[str], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Config files and options by dotted name, as `fit` takes them. Files are found wherever it starts."""
    layers = [piece for path in configs for piece in ("--config", _known_everywhere(path))]
    return (*layers, *(f"--{name}={as_word(value)}" for name, value in options.items()))


def _known_everywhere(path: str) -> str:
    """The name of a file of the package; of any other the whole path."""
    found = found_file(path).absolute()
    return path if found == shipped(path) and found.is_file() else str(found)


def _check_keys(content: Any, known: Sequence[str], where: object, what: str) -> None:
    if not isinstance(content, dict):
        told = "it is empty" if content is None else repr(content)
        raise UserError(f"{where}: {told}; {what} has {', '.join(known)}")
    for key in content:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}; {what} has {', '.join(known)}")


def _texts(content: Mapping[str, Any], key: str, where: object) -> list[Any]:
    values = content.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{where}: {key} is {values!r}; give a list, like [a, b]")
    return values


def _seeds(content: Mapping[str, Any], path: Path) -> list[int]:
    seeds = content.get("seeds", [1])
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise UserError(f"{path}: seeds is {seeds!r}; give a list of whole numbers, like [1, 2, 3]")
    for seed in seeds:
        check_seed(seed, f"{path}: seed")
    return seeds


def _options(content: Mapping[str, Any], where: object) -> dict[str, Any]:
    options = content.get("options") or {}
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise UserError(
            f"{where}: options is {options!r}; give names and values, like trainer.max_steps: 500"
        )
    for name in options:
        if name in RUN_OF_ITS_OWN:
            raise UserError(f"{where}: {name} is the study's own; leave it out")
    return options
