"""What can be wrong with recorded episodes: one list of checks, for loading and for `inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hygen_lightning.specs import TaskSpec
from hygen_lightning.tasks import all_task_names, load_task

REQUIRED_KEYS = ("obs", "state", "actions", "avail_actions", "reward", "terminated", "filled")
"""Every array that a recording must have; `actions_onehot` repeats `actions` and may be missing."""

UNIT_AXIS_KEYS = frozenset({"actions", "reward", "terminated", "filled"})
"""Arrays that the format stores with one more axis, of length 1, at the end."""

RECORD_AGAIN = "record the run again, or leave this file out"
_NAVIGATION_SIZES = range(2, 21)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: in which file, array and episode (0-based), and what to do."""

    file: str
    key: str
    episode: int | None
    what: str
    remedy: str = RECORD_AGAIN

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        episode = "" if self.episode is None else f", episode {self.episode}"
        return f"{where}{episode}: {self.what}; {self.remedy}"


def without_unit_axis(key: str, shape: Shape) -> Shape:
    """The shape without the trailing axis of length 1 that some arrays carry."""
    axes = 3 if key == "actions" else 2
    if key in UNIT_AXIS_KEYS and len(shape) == axes + 1 and shape[-1] == 1:
        return shape[:-1]
    return shape


def expected_shapes(task: TaskSpec) -> dict[str, Shape]:
    """Shape of each array behind the episode axis, unit axes left out."""
    n_steps, n_allies, layout = task.episode_limit_env_steps + 1, task.n_allies, task.layout
    return {
        "obs": (n_steps, n_allies, layout.obs_dim),
        "state": (n_steps, layout.state_dim),
        "actions": (n_steps, n_allies),
        "avail_actions": (n_steps, n_allies, layout.n_actions),
        "reward": (n_steps,),
        "terminated": (n_steps,),
        "filled": (n_steps,),
    }


def check_header(
    shapes: Mapping[str, Shape], dtypes: Mapping[str, np.dtype], task: TaskSpec, file: str
) -> list[Problem]:
    """Problems that shapes and types alone give away; the values need not be read for them."""
    missing = [key for key in REQUIRED_KEYS if key not in shapes]
    if missing:
        found = ", ".join(sorted(shapes)) or "nothing"
        what = f"no {', '.join(repr(key) for key in missing)} (the file holds {found})"
        return [Problem(file, "", None, what, "give files in the ODIS layout, as `collect` writes them")]
    own = {key: without_unit_axis(key, tuple(shapes[key])) for key in REQUIRED_KEYS}
    problems = [
        Problem(file, key, None, f"holds {dtypes[key]} instead of numbers")
        for key in REQUIRED_KEYS
        if dtypes[key].kind not in "fiub"
    ]
    expected = expected_shapes(task)
    wrong = [key for key in REQUIRED_KEYS if own[key][1:] != expected[key]]
    if wrong:
        key = wrong[0]
        what = f"shape {own[key]} where {task.name} has {('episodes', *expected[key])}".replace("'", "")
        fitting = tasks_that_fit(own)
        remedy = f"this is data of {' or '.join(fitting)}" if fitting else "no known task has these shapes"
        problems.append(Problem(file, key, None, what, f"{remedy}: give the data of {task.name}"))
    counts = {key: own[key][0] if own[key] else 0 for key in REQUIRED_KEYS}
    if len(set(counts.values())) > 1:
        what = "arrays differ in their numbers of episodes: " + ", ".join(
            f"{k} {n}" for k, n in counts.items()
        )
        problems.append(Problem(file, "", None, what))
    elif not problems and counts["obs"] == 0:
        problems.append(Problem(file, "", None, "holds no episodes"))
    return problems


def tasks_that_fit(shapes: Mapping[str, Shape]) -> list[str]:
    """Names of the tasks of the table whose arrays have these shapes behind the episode axis."""
    names = [*all_task_names(), *(f"cn-{n}" for n in _NAVIGATION_SIZES)]
    own = {key: without_unit_axis(key, tuple(shapes[key]))[1:] for key in REQUIRED_KEYS}
    return [name for name in names if expected_shapes(load_task(name)) == own]


def check_values(
    arrays: Mapping[str, np.ndarray], task: TaskSpec, file: str, first_episode: int = 0
) -> list[Problem]:
    """Problems in the numbers of arrays [B, T, ...] whose header is right, each kind reported once.

    first_episode is the number of row 0 in the file, for arrays that are a part of it.
    """
    data = {
        key: np.asarray(value).reshape(without_unit_axis(key, np.shape(value)))
        for key, value in arrays.items()
    }
    found = _Findings(file, first_episode)
    for key in ("obs", "state", "reward"):
        bad = ~np.isfinite(data[key])
        found.add(key, bad, "NaN or infinity")
    filled, terminated = data["filled"] > 0, data["terminated"] > 0
    length = filled.sum(axis=1)
    steps = np.arange(filled.shape[1])
    found.add("filled", filled != (steps < length[:, None]), "steps are missing in between")
    found.add("filled", (length < 2)[:, None], "less than one action and a final observation")
    found.add("terminated", (terminated.sum(axis=1) != 1)[:, None], "does not end exactly once")
    late = terminated & (steps != length[:, None] - 2)
    found.add("terminated", late, "ends elsewhere than one step before the last stored one")
    after_end = steps >= length[:, None] - 1
    found.add("reward", after_end & (data["reward"] != 0), "reward after the end")
    _check_actions(data, task, filled, found)
    return found.problems


def _check_actions(
    data: Mapping[str, np.ndarray], task: TaskSpec, filled: np.ndarray, found: _Findings
) -> None:
    """Chosen actions exist, were available, and agree with `actions_onehot` where that is given."""
    n_actions = task.layout.n_actions
    actions = data["actions"].astype(np.int64)
    unknown = (actions < 0) | (actions >= n_actions)
    found.add("actions", unknown & filled[..., None], f"an action outside 0..{n_actions - 1}")
    chosen = np.where(unknown, 0, actions)[..., None]
    available = np.take_along_axis(data["avail_actions"], chosen, axis=-1)[..., 0] > 0
    found.add("actions", ~available & ~unknown & filled[..., None], "an action that was not available")
    onehot = data.get("actions_onehot")
    if onehot is not None and onehot.shape == data["avail_actions"].shape:
        marked = np.take_along_axis(onehot, chosen, axis=-1)[..., 0] == 1
        differs = ~(marked & (np.count_nonzero(onehot, axis=-1) == 1)) & filled[..., None]
        found.add("actions_onehot", differs & ~unknown, "does not agree with actions")


class _Findings:
    """Collects problems: the first episode and step of each kind, and how many episodes have it."""

    def __init__(self, file: str, first_episode: int) -> None:
        self.file, self.first_episode = file, first_episode
        self.problems: list[Problem] = []

    def add(self, key: str, bad: np.ndarray, what: str) -> None:
        """bad [B, T, ...] bool: where it is wrong ([B, 1] for whole episodes)."""
        per_step: np.ndarray = np.any(bad.reshape(*bad.shape[:2], -1), axis=-1)
        rows = np.flatnonzero(per_step.any(axis=1))
        if rows.size == 0:
            return
        step = f" at step {int(per_step[rows[0]].argmax())}" if per_step.shape[1] > 1 else ""
        others = f" ({rows.size} episodes have this)" if rows.size > 1 else ""
        self.problems.append(
            Problem(self.file, key, self.first_episode + int(rows[0]), f"{what}{step}{others}")
        )
