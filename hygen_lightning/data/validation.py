"""What can be wrong with recorded episodes, and what is put right: one list, for loading and `inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks import all_task_names, load_task

REQUIRED_KEYS = ("obs", "state", "actions", "avail_actions", "reward", "terminated", "filled")
"""Every array that a recording must have; `actions_onehot` repeats `actions` and may be missing."""

UNIT_AXIS_KEYS = frozenset({"actions", "reward", "terminated", "filled"})
"""Arrays that the format stores with one more axis, of length 1, at the end."""

UNMARKED_TIMEOUT = "`terminated` is 0 in every step: taken as ended by the time limit (PyMARL writes it so)"
BEHIND_THE_END = "rewards or NaN behind the end: ignored, nobody reads them"

RECORD_AGAIN = "record the run again, or leave this file out"

Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]


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


@dataclass
class Findings:
    """What the checks of a file, or of its episodes from `first_episode` on, have found.

    problems: one of each kind, at its first episode; any of them refuses the file. accepted: what
    was put right -> in how many episodes.
    """

    file: str
    first_episode: int = 0
    problems: list[Problem] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)

    def refuse(self, key: str, bad: np.ndarray, what: str) -> None:
        """bad [B, T, ...] bool: where it is wrong ([B, 1] for whole episodes)."""
        per_step: np.ndarray = np.any(bad.reshape(*bad.shape[:2], -1), axis=-1)
        rows = np.flatnonzero(per_step.any(axis=1))
        if rows.size == 0:
            return
        step = f" at step {int(per_step[rows[0]].argmax())}" if per_step.shape[1] > 1 else ""
        others = f" ({rows.size} episodes have this)" if rows.size > 1 else ""
        episode = self.first_episode + int(rows[0])
        self.problems.append(Problem(self.file, key, episode, f"{what}{step}{others}"))

    def accept(self, episodes: np.ndarray, what: str) -> None:
        """episodes [B] bool: in which of them something was put right."""
        if episodes.any():
            self.accepted[what] += int(episodes.sum())

    def raise_first(self) -> None:
        """UserError with the first problem, if there is one."""
        if self.problems:
            n = len(self.problems) - 1
            more = f" ({n} more kinds of problems: see `inspect`)" if n else ""
            raise UserError(f"{self.problems[0]}{more}")


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
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, np.dtype],
    recorded_on: object,
    task: TaskSpec,
    file: str,
) -> Findings:
    """Problems of shapes, types, and of the task that the file names, before any value is read."""
    found = Findings(file)
    missing = [key for key in REQUIRED_KEYS if key not in shapes]
    if missing:
        names = ", ".join(repr(key) for key in missing)
        what = f"no {names} (the file holds {', '.join(sorted(shapes)) or 'nothing'})"
        remedy = "give files in the ODIS layout, as `collect` writes them"
        found.problems.append(Problem(file, "", None, what, remedy))
        return found
    for key in REQUIRED_KEYS:
        if dtypes[key].kind not in "fiub":
            found.problems.append(Problem(file, key, None, f"holds {dtypes[key]} instead of numbers"))
    own, expected = {key: without_unit_axis(key, shapes[key]) for key in REQUIRED_KEYS}, expected_shapes(task)
    wrong = next((key for key in REQUIRED_KEYS if own[key][1:] != expected[key]), None)
    if wrong:
        what = f"shape {own[wrong]} where {task.name} has {('episodes', *expected[wrong])}".replace("'", "")
        fitting = " or ".join(tasks_that_fit(shapes))
        remedy = f"this is data of {fitting}" if fitting else "no known task has these shapes"
        found.problems.append(Problem(file, wrong, None, what, f"{remedy}: give the data of {task.name}"))
    counts = {key: own[key][0] if own[key] else 0 for key in REQUIRED_KEYS}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} {n}" for key, n in counts.items())
        what = f"arrays differ in their numbers of episodes: {listed}"
        found.problems.append(Problem(file, "", None, what))
    elif not found.problems and counts["obs"] == 0:
        found.problems.append(Problem(file, "", None, "holds no episodes"))
    if not found.problems and recorded_on not in (None, task.name):
        what, remedy = f"was recorded on {recorded_on}", f"give the data of {task.name}"
        found.problems.append(Problem(file, "", None, what, remedy))
    return found


def tasks_that_fit(shapes: Mapping[str, Shape]) -> list[str]:
    """Names of the known tasks whose arrays have these shapes behind the episode axis."""
    own = {key: without_unit_axis(key, tuple(shapes[key]))[1:] for key in REQUIRED_KEYS}
    return [name for name in all_task_names() if expected_shapes(load_task(name)) == own]


def check_values(arrays: Arrays, task: TaskSpec, file: str, first_episode: int = 0) -> Findings:
    """What is wrong in the values of arrays [B, T, ...] that `check_header` found right.

    Only what is read can be wrong: whatever stands behind the end of an episode is ignored.
    first_episode: the number of row 0 in the file, for arrays that are a part of it.
    """
    data = {k: np.asarray(v).reshape(without_unit_axis(k, np.shape(v))) for k, v in arrays.items()}
    found = Findings(file, first_episode)
    filled = data["filled"] > 0
    length, steps = filled.sum(axis=1), np.arange(filled.shape[1])
    acted = steps < length[:, None] - 1
    found.refuse("filled", filled != (steps < length[:, None]), "steps are missing in between")
    found.refuse("filled", (length < 2)[:, None], "less than one action and a final observation")
    _check_numbers(data, filled, acted, found)
    terminated = (data["terminated"] > 0) & filled
    unmarked = unmarked_timeouts(terminated, filled)
    found.accept(unmarked, UNMARKED_TIMEOUT)
    found.refuse(
        "terminated", ((terminated.sum(axis=1) != 1) & ~unmarked)[:, None], "does not end exactly once"
    )
    late = terminated & (steps != length[:, None] - 2)
    found.refuse("terminated", late, "ends elsewhere than one step before the last stored one")
    _check_actions(data, task, filled, found)
    return found


def unmarked_timeouts(terminated: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """[B] bool: episodes that ran to the limit without a step that terminated (both [B, T] bool)."""
    return np.asarray(filled.all(axis=1) & ~terminated.any(axis=1))


def _check_numbers(data: Arrays, filled: np.ndarray, acted: np.ndarray, found: Findings) -> None:
    """Refuse NaN and infinity in steps that are read, accept them behind the end."""
    behind: np.ndarray = ((data["reward"] != 0) & ~acted).any(axis=1)  # NaN is not 0 either
    for key, read in (("obs", filled), ("state", filled), ("reward", acted)):
        bad = ~np.isfinite(data[key])
        wide = read.reshape(*read.shape, *[1] * (bad.ndim - 2))
        found.refuse(key, bad & wide, "NaN or infinity")
        behind = behind | (bad & ~wide).reshape(len(bad), -1).any(axis=1)
    found.accept(behind, BEHIND_THE_END)


def _check_actions(data: Arrays, task: TaskSpec, filled: np.ndarray, found: Findings) -> None:
    """Chosen actions exist, were available, and agree with `actions_onehot` where that is given."""
    n_actions = task.layout.n_actions
    actions = data["actions"].astype(np.int64)
    unknown = (data["actions"] != actions) | (actions < 0) | (actions >= n_actions)
    found.refuse("actions", unknown & filled[..., None], f"an action other than 0..{n_actions - 1}")
    chosen = np.where(unknown, 0, actions)[..., None]
    available = np.take_along_axis(data["avail_actions"], chosen, axis=-1)[..., 0] > 0
    found.refuse("actions", ~available & ~unknown & filled[..., None], "an action that was not available")
    onehot = data.get("actions_onehot")
    if onehot is not None and onehot.shape == data["avail_actions"].shape:
        marked = np.take_along_axis(onehot, chosen, axis=-1)[..., 0] == 1
        differs = ~(marked & (np.count_nonzero(onehot, axis=-1) == 1)) & filled[..., None]
        found.refuse("actions_onehot", differs & ~unknown, "does not agree with actions")
