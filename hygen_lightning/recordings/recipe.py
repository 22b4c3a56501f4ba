"""How teachers are trained: the options of `fit`, budgets by task, and when a teacher is good enough."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from hygen_lightning.parsing import PACKAGE
from hygen_lightning.recordings.qualities import Bounds
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks.custom import read_mapping

SHIPPED = PACKAGE / "recordings" / "teachers.yaml"
"""The recipe that is used where no other is given."""
OTHER_TASKS = "others"
"""Key of the budget for tasks without one of their own."""


@dataclass(frozen=True)
class Recipe:
    """A file like teachers.yaml.

    fit: option of `fit` -> value, for every teacher. styles: further options of teacher 1, 2, ...,
    again from the first. max_steps: optimiser steps by task. env_steps_per_step: environment steps
    that one of them learns from, for the estimate of what it costs. points: checkpoints on the way.
    point_battles: battles that measure one while training; choice_battles: those that measure a
    candidate. stop_at: win rate (0..1) of smoothed play that ends the training early. within,
    least_expert: see `Bounds`.
    """

    fit: Mapping[str, Any]
    max_steps: Mapping[str, int]
    env_steps_per_step: int
    styles: tuple[Mapping[str, Any], ...] = ({},)
    points: int = 50
    point_battles: int = 128
    choice_battles: int = 512
    stop_at: float = 0.97
    within: float = 0.1
    least_expert: float = 0.5

    @classmethod
    def read(cls, path: Path | None = None) -> Recipe:
        """The recipe of a file; UserError for keys that it does not have, and for values out of range."""
        path = path or SHIPPED
        content = read_mapping(path)
        known = {field.name: field for field in fields(cls)}
        for key in content:
            if key not in known:
                raise UserError(f"{path}: unknown key {key!r}; a recipe has {', '.join(known)}")
        for name, field in known.items():
            if name not in content and field.default is MISSING:
                raise UserError(f"{path}: no {name}; see {SHIPPED}")
        recipe = cls(**{**content, "styles": tuple(content.get("styles", ({},)))})
        recipe._check(path)
        return recipe

    def _check(self, path: Path) -> None:
        for name in ("points", "point_battles", "choice_battles", "env_steps_per_step"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UserError(f"{path}: {name} is {getattr(self, name)!r}; give a number from 1 on")
        for name in ("stop_at", "within", "least_expert"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise UserError(f"{path}: {name} is {value!r}; it is a share, give 0 to 1")
        steps = self.max_steps
        if not isinstance(steps, dict) or not all(isinstance(n, int) and n > 0 for n in steps.values()):
            raise UserError(f"{path}: max_steps is {steps!r}; give {{{OTHER_TASKS}: 1000}} or task by task")
        if not all(isinstance(words, dict) for words in (self.fit, *self.styles)) or not self.styles:
            raise UserError(f"{path}: fit and each of styles hold options of `fit`: {{--data.batch_size: 8}}")

    @property
    def bounds(self) -> Bounds:
        """What counts as reached."""
        return Bounds(self.within, self.least_expert)

    def steps_of(self, task: str) -> int:
        """Optimiser steps of a teacher of this task; UserError where the file gives none."""
        steps = self.max_steps.get(task, self.max_steps.get(OTHER_TASKS))
        if steps is None:
            raise UserError(f"the recipe has no max_steps for {task}; give --teacher_steps N")
        return steps

    def options(self, number: int) -> dict[str, str]:
        """Options of `fit` for teacher `number` (from 1)."""
        together = {**self.fit, **self.styles[(number - 1) % len(self.styles)]}
        return {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in together.items()
        }


def digest(*parts: object) -> str:
    """16 hexadecimal digits that name these plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def task_digest(task: TaskSpec) -> str:
    """Names a task by all that it is: another one under the same name has another digest."""
    return hashlib.sha256(repr(task).encode()).hexdigest()[:16]
