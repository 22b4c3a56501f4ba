"""Tasks by name: those of each world that ships, registered ones, and files and modules of users."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks.battles import BattleTask, as_battle
from hygen_lightning.tasks.custom import read_task
from hygen_lightning.tasks.maps import map_names, map_task
from hygen_lightning.tasks.navigation import navigation_names, navigation_task
from hygen_lightning.tasks.smax import smax_names, smax_task

_WORLDS: tuple[tuple[Callable[[], list[str]], Callable[[str], TaskSpec]], ...] = (
    (map_names, map_task),
    (navigation_names, navigation_task),
    (smax_names, smax_task),
)
"""Of each world, the names of its tasks and the task of a name."""
_REGISTERED: dict[str, TaskSpec] = {}
_FILES = (".yaml", ".yml")


def register_task(task: TaskSpec) -> TaskSpec:
    """Make a task known by its name, to commands too; returns it. UserError if the name is another's."""
    known = _known(task.name)
    if known is not None and known != task:
        raise UserError(f"a task {task.name} exists already; give another name")
    _REGISTERED[task.name] = task
    return task


def all_task_names() -> list[str]:
    """Names of all tasks that ship, and of registered ones."""
    return sorted({*_REGISTERED, *(name for names, _ in _WORLDS for name in names())})


def load_task(task: str | Path | TaskSpec) -> TaskSpec:
    """The task of a name (3m, cn-4), of a task file (6m_vs_8m.yaml), or of a module (my_world:TASK).

    A TaskSpec is its own task. UserError with the nearest names if there is none.
    """
    if isinstance(task, TaskSpec):
        return task
    name = str(task)
    if is_file_name(name):
        return read_task(Path(name))
    if ":" in name:
        return _imported(name)
    known = _known(name)
    if known is None:
        names = all_task_names()
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names)}"
        raise UserError(f"unknown task {name!r}; {hint}")
    return known


def battle_task(task: str) -> BattleTask:
    """The battle of this name; UserError if there is none, or if the task is no battle."""
    return as_battle(load_task(task))


def is_file_name(name: str) -> bool:
    """Whether this names a YAML file."""
    return name.lower().endswith(_FILES)


def _known(name: str) -> TaskSpec | None:
    found = next((task(name) for names, task in _WORLDS if name in names()), None)
    return found or _REGISTERED.get(name)


def _imported(name: str) -> TaskSpec:
    """`package.module:NAME`, a TaskSpec."""
    module, _, attribute = name.partition(":")
    try:
        task = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"task {name}: {' '.join(str(error).split())}") from error
    if not isinstance(task, TaskSpec):
        raise UserError(f"task {name}: is a {type(task).__name__}; give a TaskSpec")
    return task
