"""What HyGen's skills do: win rates with each of them, how often which is used, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hygen_lightning.commands.output import print_json, print_table, progress
from hygen_lightning.seeding import check_seed
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from hygen_lightning.run.skill_report import SkillReport
    from hygen_lightning.specs import TaskSpec


def skills(
    ckpt_path: Path,
    tasks: list[str] | None = None,
    episodes: int = 256,
    out: Path = Path("skills.png"),
    env: str | None = None,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Play a checkpoint of HyGen with each skill fixed, random skills, those predicted, those learned.

    Greedy, with actions sampled, and with 5 % random actions; the same battles for all.

    Args:
        ckpt_path: the checkpoint; its policy chooses among skills
        tasks: tasks, or task sets for all that they train and evaluate; if not given, those it learned
        episodes: battles per task, choice of skills and way to play
        out: a picture of the skills over one battle of each task
        env: environment that plays the battles (if not given, the one where the checkpoint learned)
        seed: seed of the battles and of all that is drawn
        json: one JSON object on stdout, instead of tables
    """
    from hygen_lightning.checkpoint import read_checkpoint
    from hygen_lightning.data.datamodule import MOST_EPISODES
    from hygen_lightning.data.files import check_picture
    from hygen_lightning.envs import environment_for
    from hygen_lightning.report.skill_plot import draw_skills
    from hygen_lightning.rollouts.policies import environment_of
    from hygen_lightning.run.skill_report import verdict_on

    check_seed(seed)
    check_picture(out)
    if not 1 <= episodes <= MOST_EPISODES:
        raise UserError(f"--episodes is {episodes}; give 1 to {MOST_EPISODES} battles")
    if tasks is not None and not tasks:
        raise UserError("--tasks is empty; name one, or leave the option out for those it learned")
    learned = read_checkpoint(ckpt_path, "trained_on")["trained_on"]
    env = environment_of([str(ckpt_path)], env)
    specs = expand(tasks or list(learned.values()))
    env = environment_for(specs, env)
    with progress("battles", total=len(specs)) as advance:
        reports = [_measured(ckpt_path, task, episodes, env, seed, advance) for task in specs]
    n_skills = len(reports[0].use)
    draw_skills({report.task: report.battle.numpy() for report in reports}, n_skills, out)
    verdict = verdict_on(reports)
    if json:
        told = {report.task: report.to_json() for report in reports}
        print_json({"out": str(out), "environment": env, "seed": seed, "verdict": verdict, "tasks": told})
        return 0
    for report in reports:
        print_report(report)
    print(f"picture: {out}")
    print(verdict)
    return 0


def _measured(
    ckpt_path: Path, task: TaskSpec, episodes: int, env: str, seed: int, advance: Callable[[int], None]
) -> SkillReport:
    """One task, played; UserError where the checkpoint has no skills."""
    from hygen_lightning.algorithms.hygen import HyGen
    from hygen_lightning.checkpoint import load_policy
    from hygen_lightning.run.skill_report import measure_skills

    model = load_policy(ckpt_path, task)
    if not isinstance(model, HyGen):
        raise UserError(f"{ckpt_path} is of {type(model).__name__}, which has no skills; give HyGen's")
    report = measure_skills(model, task, episodes, env, seed)
    advance(1)
    return report


def print_report(report: SkillReport) -> None:
    """One task's table: who chooses, in rows, how it is played, in columns, and how often a skill is used."""
    ways = list(next(iter(report.win_rates.values())))
    uses = {f"skill {skill}": f"{100 * share:.0f}" for skill, share in enumerate(report.use.tolist())}
    rows = [
        [who, *(f"{100 * rates[way]:.0f}" for way in ways), uses.get(who, "")]
        for who, rates in report.win_rates.items()
    ]
    title = (
        f"{report.task}: win rate % over {report.battles} battles. Two skills act alike in "
        f"{100 * report.agreement:.0f} % of choices; all skills alike: p = {report.p_value:.2g}"
    )
    print_table(title, ["skills chosen", *ways, "used %"], rows)
