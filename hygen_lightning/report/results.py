"""What a run found, task by task: from battle records to `results.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hygen_lightning.data.files import replacing
from hygen_lightning.report.statistics import wilson_interval
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from hygen_lightning.rollouts.evaluation import BattleRecord

RESULTS_FILE = "results.json"
RESULT_KEYS = (
    "tasks",
    "mean_seen_win_rate",
    "mean_unseen_win_rate",
    "mean_seen_win_rate_noisy",
    "mean_unseen_win_rate_noisy",
)
"""Keys of `results.json` that hold results; all others are facts about the run."""
AMOUNTS = ("optimiser_steps", "battles", "env_steps", "minutes")
"""What a run has cost."""
TEXT_FACTS = ("algorithm", "command", "commit", "quality")
NESTED_FACTS = ("environment", "versions", "data")
"""Facts about a run that are a text, or names and values."""


@dataclass(frozen=True)
class TaskResult:
    """Battles of one task without exploration: how many, successes, mean return and length (env steps)."""

    task: str
    seen: bool
    episodes: int
    wins: int
    mean_return: float
    mean_length_env_steps: float
    extra: bool = False
    """Rollout for interest: reported, but part of no mean."""
    wins_noisy: int | None = None
    """Successes of the same battles with some random actions, where they were played so."""

    @property
    def win_rate(self) -> float:
        """Share of successes, 0..1."""
        return self.wins / self.episodes

    @property
    def win_rate_noisy(self) -> float | None:
        """Share (0..1) of successes with some random actions; None where that was not played."""
        return None if self.wins_noisy is None else self.wins_noisy / self.episodes

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the win rate over these episodes (not over seeds)."""
        return wilson_interval(self.wins, self.episodes)

    def to_json(self) -> dict[str, Any]:
        """The task's entry in `results.json`."""
        return {
            "seen": self.seen,
            "win_rate": self.win_rate,
            "episodes": self.episodes,
            "return": self.mean_return,
            "length": self.mean_length_env_steps,
            "ci95": list(self.ci95),
            "extra": self.extra,
            **({} if self.wins_noisy is None else {"win_rate_noisy": self.win_rate_noisy}),
        }


def task_results(
    records: Iterable[BattleRecord], seen: Collection[str], extra: Collection[str] = ()
) -> list[TaskResult]:
    """One result per task, in the order in which tasks first appear.

    `seen` are training tasks, `extra` those that are part of no mean.
    """
    by_task: dict[str, list[BattleRecord]] = {}
    for record in records:
        by_task.setdefault(record.task, []).append(record)
    return [
        TaskResult(
            task=task,
            seen=task in seen,
            episodes=len(battles),
            wins=sum(battle.success for battle in battles),
            mean_return=fmean(battle.ret for battle in battles),
            mean_length_env_steps=fmean(battle.length for battle in battles),
            extra=task in extra,
            wins_noisy=_wins_noisy(battles),
        )
        for task, battles in by_task.items()
    ]


def _wins_noisy(battles: Sequence[BattleRecord]) -> int | None:
    """Successes with random actions, None unless every battle was played so."""
    outcomes = [battle.success_noisy for battle in battles]
    return None if None in outcomes else sum(map(bool, outcomes))


def mean_win_rate(results: Sequence[TaskResult], seen: bool, noisy: bool = False) -> float | None:
    """Mean over seen (or unseen) tasks, each task counting once; None where there is none.

    noisy: of the battles with some random actions.
    """
    counted = [result for result in results if result.seen == seen and not result.extra]
    rates = [result.win_rate_noisy if noisy else result.win_rate for result in counted]
    known = [rate for rate in rates if rate is not None]
    return fmean(known) if known else None


def write_results(path: Path, results: Sequence[TaskResult], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write `results.json` and return what it holds.

    `facts` describe the run (seed, versions, backend, command, ...) and stand beside the results.
    The file appears whole or not at all: it is written under another name and renamed.
    """
    clash = [key for key in facts if key in RESULT_KEYS]
    if clash:
        raise ValueError(f"facts must not be named {', '.join(clash)}")
    content = {
        "tasks": {result.task: result.to_json() for result in results},
        "mean_seen_win_rate": mean_win_rate(results, seen=True),
        "mean_unseen_win_rate": mean_win_rate(results, seen=False),
        "mean_seen_win_rate_noisy": mean_win_rate(results, seen=True, noisy=True),
        "mean_unseen_win_rate_noisy": mean_win_rate(results, seen=False, noisy=True),
        **facts,
    }
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def read_results(path: Path) -> dict[str, Any]:
    """What a `results.json` holds; UserError if it is missing, damaged or of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the folder of a finished run") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as results ({error}); give run folders") from None
    entries: Any = content.get("tasks") if isinstance(content, dict) else None
    needed = {"seen", "win_rate", "episodes"}
    parts = entries.values() if isinstance(entries, dict) and entries else [None]
    if not all(isinstance(part, dict) and needed <= part.keys() for part in parts):
        raise UserError(f"{path}: not written by a run: 'tasks' with seen, win_rate and episodes expected")
    for task, entry in entries.items():
        for name in ("win_rate", "win_rate_noisy"):
            rate = entry.get(name)
            if not ((rate is None and name != "win_rate") or (type(rate) in (int, float) and 0 <= rate <= 1)):
                raise UserError(f"{path}: tasks.{task}.{name} is {rate!r}; 0 to 1 expected")
        if type(entry["episodes"]) is not int or entry["episodes"] < 1:
            raise UserError(f"{path}: tasks.{task}.episodes is {entry['episodes']!r}; 1 or more expected")
    for name, fact in content.items():
        wanted = _kind_of_fact(name, fact)
        if wanted is not None and fact is not None:
            raise UserError(f"{path}: {name} is {fact!r}; {wanted} expected")
    return content


def _kind_of_fact(name: str, fact: Any) -> str | None:
    """What is expected of a fact that a report computes with, where it is something else."""
    if name == "seed" and type(fact) is not int:
        return "a whole number"
    if name in AMOUNTS and not (type(fact) in (int, float) and 0 <= fact < math.inf):
        return "a number, 0 or more,"
    if name in TEXT_FACTS and not isinstance(fact, str):
        return "a text"
    if name in NESTED_FACTS and not isinstance(fact, dict):
        return "names and values"
    return None


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
