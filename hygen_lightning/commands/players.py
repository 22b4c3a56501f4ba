"""How strong policies are: win rates of scripted ones, checkpoints and PyMARL's agents on any tasks."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.policy import AgentInputs
from hygen_lightning.seeding import check_seed
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import expand

if TYPE_CHECKING:
    from hygen_lightning.policy import Policy
    from hygen_lightning.report.results import TaskResult
    from hygen_lightning.specs import TaskSpec

BATTLE_SETS = ("marine-easy", "marine-hard", "stalker-zealot")
BATTLES_AT_ONCE = 256


def players(
    tasks: list[str] | None = None,
    policies: list[str] | None = None,
    policy_inputs: AgentInputs | None = None,
    episodes: int = 256,
    env: str | None = None,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Play every policy on every task; 95 % Wilson intervals over episodes.

    Args:
        tasks: tasks, or task sets for all that they train and evaluate; if not given, the sets
            marine-easy, marine-hard and stalker-zealot
        policies: scripted policies, checkpoints, state dicts of agents of PyMARL (if not given, all
            scripted policies)
        policy_inputs: what an agent of PyMARL sees, where the width of its input does not say it
        episodes: battles per policy and task
        env: environment that plays the battles (if not given, the one where the first checkpoint learned,
            else the tasks' own)
        seed: seed of the battles and of the random policy
        json: one JSON object on stdout, instead of a table
    """
    from hygen_lightning.data.datamodule import MOST_EPISODES
    from hygen_lightning.envs import environment_class, environment_for
    from hygen_lightning.rollouts.policies import environment_of, named_policy, policy_label
    from hygen_lightning.rollouts.scripted import scripted_policies

    for option, given in {"tasks": tasks, "policies": policies}.items():
        if given is not None and not given:
            raise UserError(f"--{option} is empty; name one, or leave the option out for all")
    check_seed(seed)
    if not 1 <= episodes <= MOST_EPISODES:
        raise UserError(f"--episodes is {episodes}; give 1 to {MOST_EPISODES} battles")
    env = environment_of(policies or [], env)
    specs = expand(tasks or BATTLE_SETS)
    env = environment_for(specs, env)
    version = environment_class(env).version
    playable = [scripted_policies(task, env) for task in specs]
    chosen = policies or [name for name in playable[0] if all(name in others for others in playable)]
    found = {
        task.name: {
            name: measure(task, named_policy(name, task, env, seed, policy_inputs), episodes, env, seed)
            for name in chosen
        }
        for task in specs
    }
    if json:
        print_json({"environment": {"name": env, "version": version}, "seed": seed, "tasks": _plain(found)})
        return 0
    rows = [[task, *(_cell(results[name]) for name in chosen)] for task, results in found.items()]
    columns = ["task", *map(policy_label, chosen)]
    print_table(f"Win rate % [95 % over {episodes} episodes]", columns, rows)
    return 0


def measure(task: TaskSpec, policy: Policy, episodes: int, env: str, seed: int) -> TaskResult:
    """What one policy reaches on one task: the same battles for every policy."""
    from hygen_lightning.envs import make_env
    from hygen_lightning.report.results import task_results
    from hygen_lightning.rollouts.evaluation import battle_records
    from hygen_lightning.rollouts.runner import play
    from hygen_lightning.seeding import battle_seeds

    records = []
    for seeds in battle_seeds(episodes, seed, "players", task.name).split(BATTLES_AT_ONCE):
        with closing(make_env(env, task, len(seeds))) as battles:
            records += battle_records(task, seeds, play(battles, policy, seeds))
    return task_results(records, seen=())[0]


def _plain(found: dict[str, dict[str, TaskResult]]) -> dict[str, dict[str, dict[str, Any]]]:
    """task -> policy -> win_rate, episodes, return, length, ci95."""
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
