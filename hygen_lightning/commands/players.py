"""How strong the scripted policies are: win rates on every map of the task sets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import TASK_SETS, load_task

if TYPE_CHECKING:
    from hygen_lightning.report.results import TaskResult

BATTLE_SETS = ("marine-easy", "marine-hard", "stalker-zealot")
BATTLES_AT_ONCE = 256


def players(
    tasks: list[str] | None = None,
    names: list[str] | None = None,
    episodes: int = 256,
    env: str = "simulator",
    seed: int = 1,
    json: bool = False,
) -> int:
    """Play every scripted policy on every task; 95 % Wilson intervals over episodes.

    Args:
        tasks: tasks, or task sets for all that they train and evaluate; if not given, the sets
            marine-easy, marine-hard and stalker-zealot
        names: scripted policies (all if not given)
        episodes: battles per player and task
        env: environment that plays the battles
        seed: seed of the battles and of the random player
        json: one JSON object on stdout, instead of a table
    """
    from hygen_lightning.envs import environment_class
    from hygen_lightning.rollouts.scripted import SCRIPTED_PLAYERS

    chosen = names or list(SCRIPTED_PLAYERS)
    if episodes < 1:
        raise UserError(f"--episodes is {episodes}; at least one battle is needed")
    found = {
        task: {name: _measure(task, name, episodes, env, seed) for name in chosen}
        for task in _task_names(tasks or BATTLE_SETS)
    }
    if json:
        environment = {"name": env, "version": environment_class(env).version}
        print_json({"environment": environment, "seed": seed, "tasks": _plain(found)})
        return 0
    rows = [[task, *(_cell(results[name]) for name in chosen)] for task, results in found.items()]
    print_table(f"Win rate % [95 % over {episodes} episodes]", ["task", *chosen], rows)
    return 0


def _task_names(tasks: Sequence[str]) -> list[str]:
    """Tasks, and those of task sets, each once in the order given; UserError for unknown ones."""
    names: dict[str, None] = {}
    for entry in tasks:
        if entry in TASK_SETS:
            names.update(dict.fromkeys((*TASK_SETS[entry].train, *TASK_SETS[entry].unseen)))
        else:
            names[load_task(entry).name] = None
    return list(names)


def _measure(task: str, name: str, episodes: int, env: str, seed: int) -> TaskResult:
    """What one scripted policy reaches on one task."""
    from hygen_lightning.envs import make_env
    from hygen_lightning.report.results import task_results
    from hygen_lightning.rollouts.evaluation import battle_records
    from hygen_lightning.rollouts.runner import play
    from hygen_lightning.rollouts.scripted import scripted_policy
    from hygen_lightning.seeding import battle_seeds

    spec, policy, records = load_task(task), scripted_policy(name, seed), []
    for seeds in battle_seeds(episodes, seed, "players", task).split(BATTLES_AT_ONCE):
        with closing(make_env(env, spec, len(seeds))) as battles:
            records += battle_records(spec, seeds, play(battles, policy, seeds))
    return task_results(records, seen=())[0]


def _plain(found: dict[str, dict[str, TaskResult]]) -> dict[str, dict[str, dict[str, Any]]]:
    """task -> player -> win_rate, episodes, return, length, ci95."""
    return {
        task: {
            name: {key: value for key, value in result.to_json().items() if key not in ("seen", "extra")}
            for name, result in results.items()
        }
        for task, results in found.items()
    }


def _cell(result: TaskResult) -> str:
    """Whole percents: chance moves the tenths."""
    low, high = result.ci95
    return f"{100 * result.win_rate:.0f} [{100 * low:.0f}–{100 * high:.0f}]"
