"""Draw a battle without a display: a policy, a scripted policy, or a recorded episode."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hygen_lightning.commands.output import print_json
from hygen_lightning.policy import AgentInputs
from hygen_lightning.specs import TaskSpec, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import Episodes

CANDIDATES = 32
"""Battles played, of which one is drawn."""


@dataclass
class Battles:
    """Battles to choose one from. success [B] bool, skills [B, T, A] int64 or None."""

    episodes: Episodes
    success: Tensor
    skills: Tensor | None
    by: str


def render(
    task: str = "3m",
    policy: str = "kiting",
    policy_inputs: AgentInputs | None = None,
    recording: Path | None = None,
    out: Path = Path("battle.gif"),
    pick: Literal["first", "success", "failure", "longest"] = "first",
    env: str | None = None,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Draw one battle to a GIF, an MP4 (needs ffmpeg) or a PNG of up to six moments.

    Args:
        task: the map to play, or that was recorded
        policy: a scripted policy, a checkpoint (with the skills that it chooses), or the state dict
            of an agent of PyMARL
        policy_inputs: what an agent of PyMARL sees, where the width of its input does not say it
        recording: a recorded .h5 file, or a folder of them, to draw an episode of; nobody plays then
        out: the picture; its suffix .gif, .mp4 or .png says the kind
        pick: which of 32 battles to draw: the first, the first success (won, goal reached) or
            failure, or the longest; of a recording, which of all its episodes
        env: environment that plays the battles (if not given, the one where a checkpoint learned, else
            the task's own), or whose task was recorded
        seed: seed of the battles; a recording needs none
        json: one JSON object on stdout, instead of a line
    """
    from hygen_lightning.data.files import check_place
    from hygen_lightning.envs import environment_for
    from hygen_lightning.report.battle_picture import check_suffix, draw_battle
    from hygen_lightning.rollouts.policies import environment_of, named_policy
    from hygen_lightning.seeding import check_seed
    from hygen_lightning.tasks import load_task

    check_seed(seed)
    check_suffix(out)
    check_place(out, is_file=True)
    env = environment_of([policy], env)
    spec = load_task(task)
    if recording is not None:
        battles = _recorded(spec, recording)
    else:
        plays = named_policy(policy, spec, env, seed, policy_inputs)
        battles = _played(spec, plays, policy, environment_for([spec], env), seed)
    row = _picked(battles, pick, spec)
    success, length = bool(battles.success[row]), int(battles.episodes.length[row]) - 1
    draw_battle(out, spec, battles.episodes, battles.skills, row=row, success=success, title=battles.by)
    if json:
        told = {"out": str(out), "task": task, "by": battles.by, "success": success, "length": length}
        print_json({**told, "bytes": out.stat().st_size})
    else:
        print(f"{out}: {task} by {battles.by}, {'success' if success else 'no success'}, {length} steps")
    return 0


def _recorded(task: TaskSpec, path: Path) -> Battles:
    """All episodes of a recorded file or folder."""
    from hygen_lightning.data.hdf5 import read_folder, read_part

    episodes = (read_folder if path.is_dir() else read_part)(path, task)
    success = task.success(episodes)
    if success is None:
        success = episodes.terminated.any(dim=1) & False
    return Battles(episodes, success, None, path.name)


def _played(task: TaskSpec, policy: Policy, name: str, env: str, seed: int) -> Battles:
    """Battles that a policy plays greedily."""
    from hygen_lightning.envs import make_env
    from hygen_lightning.rollouts.policies import policy_label
    from hygen_lightning.rollouts.runner import play
    from hygen_lightning.seeding import battle_seeds

    with closing(make_env(env, task, CANDIDATES)) as battles:
        played = play(battles, policy, battle_seeds(CANDIDATES, seed, "render", task.name))
    return Battles(played.episodes, played.success, played.skills, policy_label(name))


def _picked(battles: Battles, pick: str, task: TaskSpec) -> int:
    """Row of the battle to draw; UserError if there is none of that kind."""
    if pick == "longest":
        return int(battles.episodes.length.argmax())
    if pick == "first":
        return 0
    rows = (battles.success if pick == "success" else ~battles.success).nonzero().flatten().tolist()
    if not rows:
        raise UserError(f"{battles.by}: none of {len(battles.success)} battles of {task.name} was a {pick}")
    return int(rows[0])
