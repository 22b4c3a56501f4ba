"""Task sets: those of HyGen (arXiv 2408.13567) and ODIS, and those of users."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hygen_lightning.specs import EntityWidths, TaskSpec, UserError
from hygen_lightning.tasks.custom import read_mapping
from hygen_lightning.tasks.registry import is_file_name, load_task

DEFAULT_SET = "toy"
TaskName = str | TaskSpec
"""What names a task: see `load_task`."""


@dataclass(frozen=True)
class TaskSet:
    """train: tasks to learn from. unseen: evaluated beside them. extra: played in the final
    evaluation only, for interest; they are part of no mean.
    """

    train: tuple[TaskName, ...]
    unseen: tuple[TaskName, ...] = ()
    extra: tuple[TaskName, ...] = ()


TASK_SETS: dict[str, TaskSet] = {
    "marine-easy": TaskSet(("3m", "5m", "10m"), ("4m", "6m", "7m", "8m", "9m", "11m", "12m")),
    "marine-hard": TaskSet(
        ("3m", "5m_vs_6m", "9m_vs_10m"),
        ("4m", "5m", "10m", "12m", "7m_vs_8m", "8m_vs_9m", "10m_vs_11m", "10m_vs_12m", "13m_vs_15m"),
    ),
    "stalker-zealot": TaskSet(
        ("2s3z", "2s4z", "3s5z"),
        ("1s3z", "1s4z", "1s5z", "2s5z", "3s3z", "3s4z", "4s3z", "4s4z", "4s5z", "4s6z"),
    ),
    "toy": TaskSet(("3m",), ("4m", "5m"), ("5m_vs_6m",)),
    "cooperative-navigation": TaskSet(("cn-2", "cn-4"), ("cn-3", "cn-5")),
    "smax-marines": TaskSet(("smax-3m", "smax-5m_vs_6m"), ("smax-8m", "smax-10m_vs_11m")),
}


def register_task_set(name: str, task_set: TaskSet) -> None:
    """Make a task set known by its name. UserError if the name is another's."""
    if TASK_SETS.get(name, task_set) != task_set:
        raise UserError(f"a task set {name} exists already; give another name")
    TASK_SETS[name] = task_set


def load_task_set(name: str) -> TaskSet:
    """The task set of a name, or of a file with `train:` and, if wanted, `unseen:` and `extra:`.

    Entries of a file are names, or task files relative to it.
    """
    if is_file_name(name):
        return _read_set(Path(name))
    if name not in TASK_SETS:
        near = difflib.get_close_matches(name, TASK_SETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(TASK_SETS)}, or a YAML file"
        raise UserError(f"unknown task set {name!r}; {hint}")
    return TASK_SETS[name]


def _read_set(path: Path) -> TaskSet:
    content = read_mapping(path)
    known = ("train", "unseen", "extra")
    for key, entries in content.items():
        if key not in known:
            raise UserError(f"{path}: unknown key {key!r}; a task set has {', '.join(known)}")
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise UserError(f"{path}: {key} is {entries!r}; give a list of task names or files")
    if not content.get("train"):
        raise UserError(f"{path}: no train; give a list of the tasks to learn from")

    def tasks(key: str) -> tuple[TaskName, ...]:
        entries = content.get(key, [])
        return tuple(str(path.parent / entry) if is_file_name(entry) else entry for entry in entries)

    return TaskSet(*map(tasks, known))


def expand(names: Iterable[TaskName]) -> list[TaskSpec]:
    """Tasks, each once; the name or file of a task set stands for its training and unseen tasks.

    UserError where two tasks have one name.
    """
    tasks: dict[str, TaskSpec] = {}
    for member in _members(names):
        task = _load(member)
        if tasks.setdefault(task.name, task) != task:
            raise UserError(f"two tasks are called {task.name}; give one of them another name")
    return list(tasks.values())


def sources(names: Iterable[TaskName]) -> dict[str, str]:
    """Of the tasks that `expand` gives, name -> the name, file or module that `load_task` takes anywhere."""
    found = {}
    for member in _members(names):
        task = _load(member)
        found[task.name] = absolute(member) if isinstance(member, str) else task.name
    return dict(sorted(found.items()))


def absolute(name: str) -> str:
    """What names a task or a set, with a file's path from the root: it means the same in any folder."""
    return str(Path(name).absolute()) if is_file_name(name) else name


def _members(names: Iterable[TaskName]) -> Iterator[TaskName]:
    """These tasks, with the members of a task set in its place."""
    for name in names:
        if isinstance(name, str) and _is_set(name):
            task_set = load_task_set(name)
            yield from (*task_set.train, *task_set.unseen)
        else:
            yield name


def _is_set(name: str) -> bool:
    return name in TASK_SETS or (is_file_name(name) and "train" in read_mapping(Path(name)))


def _load(name: TaskName) -> TaskSpec:
    near = difflib.get_close_matches(name, TASK_SETS, n=1, cutoff=0.75) if isinstance(name, str) else []
    try:
        return load_task(name)
    except UserError as error:
        if near:
            raise UserError(f"unknown task or task set {name!r}; did you mean {near[0]}?") from error
        raise


def common_widths(tasks: Sequence[TaskSpec]) -> EntityWidths:
    """The entity widths that all tasks share; UserError if they differ."""
    first = tasks[0]
    for task in tasks[1:]:
        if task.layout.widths != first.layout.widths:
            raise UserError(
                f"tasks {first.name} and {task.name} describe units by different features; "
                "one policy plays one family (marines, or stalkers and zealots)"
            )
    return first.layout.widths


def chosen_set(task_set: str | None, train_tasks: Sequence[TaskName] | None) -> TaskSet:
    """The tasks that these two options name; UserError where they contradict each other."""
    if train_tasks is None:
        return load_task_set(task_set or DEFAULT_SET)
    if task_set is not None:
        named = ", ".join(task if isinstance(task, str) else task.name for task in train_tasks)
        raise UserError(
            f"--data.task_set {task_set} and --data.train_tasks [{named}] both say what to learn from; "
            "give one of them, and null for the other if a config file sets it"
        )
    if not train_tasks:
        raise UserError("--data.train_tasks is empty; name a task, or leave the option out for the set's")
    return TaskSet(tuple(train_tasks))
