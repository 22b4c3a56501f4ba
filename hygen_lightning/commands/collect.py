"""Record battles of a policy as a data set in the ODIS format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.policy import AgentInputs
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from hygen_lightning.rollouts.runner import Rollout


def collect(
    task: str,
    dataset_dir: str = "dataset",
    quality: str = "expert",
    episodes: int = 2000,
    policy: str = "kiting",
    policy_inputs: AgentInputs | None = None,
    epsilon: float = 0.0,
    max_opening_env_steps: int = 0,
    run: str = "collected",
    env: str | None = None,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Play battles and write <dataset_dir>/<task>/<quality>/<run>/part_<k>.h5.

    Args:
        task: the task to play
        dataset_dir: folder of data sets
        quality: name of the quality folder
        episodes: battles to record
        policy: a scripted policy, a checkpoint, or the state dict of an agent of PyMARL
        policy_inputs: what an agent of PyMARL sees, where the width of its input does not say it
        epsilon: share (0..1) of random actions
        max_opening_env_steps: battles open with up to this many steps of random actions; these steps
            are not recorded, except of battles that run into the time limit
        run: name of the run folder; it must not exist yet
        env: environment to play in (if not given, the one where a checkpoint learned, else the task's
            own)
        seed: seed of battles and exploration
        json: print one JSON object instead of a table
    """
    import torch

    from hygen_lightning.data.datamodule import MOST_EPISODES
    from hygen_lightning.data.files import check_place
    from hygen_lightning.data.hdf5 import write_run
    from hygen_lightning.envs import environment_for
    from hygen_lightning.rollouts.policies import environment_of, named_policy
    from hygen_lightning.rollouts.recording import record
    from hygen_lightning.seeding import check_seed, stream_generator
    from hygen_lightning.tasks import load_task

    check_seed(seed)
    if not 1 <= episodes <= MOST_EPISODES or not 0 <= epsilon <= 1:
        raise UserError(f"--episodes {episodes}, --epsilon {epsilon}: give 1 to {MOST_EPISODES}, and 0 to 1")
    if not 0 <= max_opening_env_steps <= MOST_EPISODES:
        raise UserError(f"--max_opening_env_steps is {max_opening_env_steps}; give 0 to {MOST_EPISODES}")
    for name, folder_name in {"quality": quality, "run": run}.items():
        if Path(folder_name).name != folder_name or folder_name in ("", ".", ".."):
            raise UserError(f"--{name} is {folder_name!r}; give the name of a folder in the data set")
    env = environment_of([policy], env)
    spec = load_task(task)
    env = environment_for([spec], env)
    folder = Path(dataset_dir) / spec.name / quality / run
    if folder.exists():
        raise UserError(f"{folder} exists already; give another --run name")
    check_place(folder)
    plays = named_policy(policy, spec, env, seed, policy_inputs)
    draw = stream_generator(seed, "openings", spec.name)
    opening = torch.randint(max_opening_env_steps + 1, (episodes,), generator=draw)
    played = record(spec, plays, torch.full((episodes,), epsilon), opening, env, seed)
    about: dict[str, Any] = {"policy": policy, "environment": env, "seed": seed, "epsilon": epsilon}
    _tell(folder, write_run(folder, played.episodes, about=about), played, json)
    return 0


def _tell(folder: Path, files: list[Path], played: Rollout, json: bool) -> None:
    """What was recorded, as a table or as one JSON object."""
    from hygen_lightning.commands.output import print_json, print_table

    figures = {
        "task": played.episodes.task.name,
        "episodes": len(played.episodes),
        "win_rate": float(played.success.double().mean()),
        "mean_return": float(played.returns.mean()),
        "mean_length": float(played.lengths.double().mean()),
    }
    if json:
        print_json({**figures, "files": [str(path) for path in files]})
        return
    cells = [f"{x:.3f}" if isinstance(x, float) else x for x in figures.values()]
    print_table(f"recorded in {folder}", list(figures), [cells])
