"""Record data sets in the ODIS format, by teachers that are trained for it, or by one policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.policy import AgentInputs
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from hygen_lightning.recordings.making import Job
    from hygen_lightning.recordings.run_folder import Order


def collect(
    tasks: Sequence[str],
    task_set: str | None = None,
    dataset_dir: Path = Path("dataset"),
    quality: str = "expert",
    episodes: int = 2000,
    policy: str | None = None,
    policy_inputs: AgentInputs | None = None,
    epsilon: float | None = None,
    max_opening_env_steps: int = 0,
    teachers: int = 1,
    teacher: Path | None = None,
    teacher_steps: int | None = None,
    teacher_dir: Path | None = None,
    run: str = "collected",
    env: str | None = None,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Make recordings: <dataset_dir>/<task>/<quality>/<run>/part_<k>.h5, with provenance.json beside them.

    Without --policy, teachers are trained for it. Stopped at any point, the same command goes on and
    gives the same files.

    Args:
        tasks: tasks to record
        task_set: a task set whose training tasks are recorded, by name or as a YAML file
        dataset_dir: folder of data sets
        quality: one quality or several, with commas: expert, medium, medium-expert (half and half),
            medium-replay, random
        episodes: battles of each task and quality
        policy: a scripted policy, a checkpoint, or the state dict of an agent of PyMARL, instead of teachers
        policy_inputs: what an agent of PyMARL sees, where the width of its input does not say it
        epsilon: share (0..1) of random actions; if not given, actions are drawn from the policy's
            probabilities where it tells them, else teachers have 0.05 and other policies 0
        max_opening_env_steps: battles open with up to this many steps of random actions; these steps
            are not recorded, except of battles that run into the time limit
        teachers: teachers of each task, which differ in seed and style and share its battles
        teacher: recipe of the teachers, a file like the package's recordings/teachers.yaml
        teacher_steps: optimiser steps of each teacher, instead of the recipe's
        teacher_dir: folder of teachers and their checkpoints (<dataset_dir>/teachers, if not given)
        run: name of the run folder; of several teachers <run>-1, <run>-2, ...
        env: environment to train and play in (if not given, the one where a checkpoint learned, else the
            task's own)
        seed: seed of teachers, battles and exploration
        json: print one JSON object instead of tables
    """
    from hygen_lightning.envs import environment_for
    from hygen_lightning.recordings.making import alone, cost, figures, make
    from hygen_lightning.recordings.run_folder import Order
    from hygen_lightning.rollouts.policies import environment_of
    from hygen_lightning.tasks import expand, load_task_set, sources

    _check(seed, episodes, epsilon, max_opening_env_steps, teachers, teacher_steps, run)
    plays_in = environment_of([] if policy is None else [policy], env)
    if bool(tasks) == (task_set is not None):
        raise UserError("which tasks? Name some (collect 3m 5m_vs_6m), or give --task_set NAME")
    named = tasks if task_set is None else load_task_set(task_set).train
    found, jobs = sources(named), []
    for task in expand(named):
        where = environment_for([task], plays_in)
        order = Order(task, "", "", episodes, where, seed, epsilon, max_opening_env_steps)
        if policy is None:
            trained = (teacher, teachers, teacher_steps, teacher_dir, found[task.name])
            jobs += _teachers_jobs(order, quality, dataset_dir, run, *trained)
        else:
            jobs.append(_policy_job(order, quality, dataset_dir, run, policy, policy_inputs))
    with redirect_stdout(sys.stderr) if json else nullcontext(), alone(dataset_dir, print):
        told = cost(jobs)
        if told.battles:
            print(told.line(dataset_dir), flush=True)
        unreached = make(jobs, partial(print, flush=True))
    _tell(dataset_dir, figures(jobs), json)
    if unreached:
        raise UserError("; ".join(unreached))
    return 0


def _check(
    seed: int, episodes: int, epsilon: float | None, opening: int, teachers: int, steps: int | None, run: str
) -> None:
    """UserError for numbers out of range, and for a run that is no name of a folder."""
    from hygen_lightning.data.datamodule import MOST_EPISODES
    from hygen_lightning.seeding import check_seed

    check_seed(seed)
    for option, value, least in (
        ("episodes", episodes, 1),
        ("max_opening_env_steps", opening, 0),
        ("teachers", teachers, 1),
        ("teacher_steps", 1 if steps is None else steps, 1),
    ):
        if not least <= value <= MOST_EPISODES:
            raise UserError(f"--{option} is {value}; give {least} to {MOST_EPISODES}")
    if epsilon is not None and not 0 <= epsilon <= 1:
        raise UserError(f"--epsilon is {epsilon}; it is a share of random actions, give 0 to 1")
    if Path(run).name != run or run in ("", ".", ".."):
        raise UserError(f"--run is {run!r}; give the name of a folder in the data set")


def _teachers_jobs(
    order: Order,
    qualities: str,
    dataset_dir: Path,
    run: str,
    recipe_file: Path | None,
    count: int,
    steps: int | None,
    teacher_dir: Path | None,
    source: str,
) -> list[Job]:
    """The jobs of one task without --policy."""
    from hygen_lightning.recordings.making import teacher_jobs
    from hygen_lightning.recordings.qualities import named_qualities
    from hygen_lightning.recordings.recipe import Recipe
    from hygen_lightning.recordings.teacher import FOLDER, Teacher

    recipe = Recipe.read(recipe_file)
    budget, root = steps or recipe.steps_of(order.task.name), teacher_dir or dataset_dir / FOLDER
    teachers = [
        Teacher(recipe, order.task, source, number, order.seed, order.env, root, budget)
        for number in range(1, count + 1)
    ]
    return teacher_jobs(dataset_dir, teachers, named_qualities(qualities), order, run)


def _policy_job(
    order: Order, quality: str, dataset_dir: Path, run: str, policy: str, inputs: AgentInputs | None
) -> Job:
    """The job of one task that --policy plays."""
    from hygen_lightning.recordings.making import Job
    from hygen_lightning.recordings.qualities import named_qualities
    from hygen_lightning.recordings.run_folder import Player, RunFolder, file_digest
    from hygen_lightning.rollouts.policies import named_policy

    names = named_qualities(quality)
    if len(names) > 1:
        raise UserError(f"--quality {quality}: one --policy plays one quality; name one")
    first = named_policy(policy, order.task, order.env, order.seed, inputs)
    share = 0.0 if order.epsilon is None and not hasattr(first, "sample") else order.epsilon
    digest = file_digest(Path(policy))
    wanted = replace(order, quality=names[0], policy=" ".join(filter(None, [policy, digest])), epsilon=share)
    player = Player(
        policy, {"file": digest}, lambda seed: named_policy(policy, order.task, order.env, seed, inputs)
    )
    return Job(RunFolder(dataset_dir / order.task.name / names[0] / run, wanted), None, (player,))


def _tell(dataset_dir: Path, rows: list[dict[str, Any]], json: bool) -> None:
    """What is recorded, beside what was published, as a table or as one JSON object."""
    from hygen_lightning.commands.output import print_json, print_table

    if json:
        print_json({"recordings": rows})
        return
    sets: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        sets.setdefault((row["task"], row["quality"]), []).append(row)
    columns = ("data set", "episodes", "win rate", "published", "return", "length")
    print_table(f"recorded in {dataset_dir}", columns, map(_cells, sets.values()))


def _cells(runs: list[dict[str, Any]]) -> tuple[str, ...]:
    """One line of the table: the runs of one task and quality together."""
    total = sum(row["episodes"] for row in runs)

    def mean(name: str) -> float:
        return sum(row[name] * row["episodes"] for row in runs) / total

    return (
        f"{runs[0]['task']}/{runs[0]['quality']}",
        str(total),
        _rate(None if runs[0]["win_rate"] is None else mean("win_rate")),
        _rate(runs[0]["published_win_rate"]),
        f"{mean('mean_return'):.2f}",
        f"{mean('mean_length_env_steps'):.1f}",
    )


def _rate(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
