"""Record battles of a policy as a data set in the ODIS format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hygen_lightning.specs import TaskSpec, UserError


def collect(
    task: str,
    dataset_dir: str = "dataset",
    quality: str = "expert",
    episodes: int = 2000,
    player: str = "kiting",
    ckpt_path: str | None = None,
    epsilon: float = 0.0,
    max_opening_env_steps: int = 0,
    run: str = "collected",
    env: str = "simulator",
    seed: int = 1,
    json: bool = False,
) -> int:
    """Play battles and write <dataset_dir>/<task>/<quality>/<run>/part_<k>.h5.

    Args:
        task: the task to play
        dataset_dir: folder of data sets
        quality: name of the quality folder
        episodes: battles to record
        player: scripted policy, unless a checkpoint plays
        ckpt_path: checkpoint whose policy plays, greedily
        epsilon: share (0..1) of random actions
        max_opening_env_steps: battles open with up to this many steps of random actions; these steps
            are not recorded, except of battles that run into the time limit
        run: name of the run folder; it must not exist yet
        env: environment to play in
        seed: seed of battles and exploration
        json: print one JSON object instead of a table
    """
    import torch

    from hygen_lightning.commands.output import print_json, print_table
    from hygen_lightning.data.files import check_place
    from hygen_lightning.data.odis import write_run
    from hygen_lightning.rollouts.recording import record
    from hygen_lightning.seeding import stream_generator
    from hygen_lightning.tasks import load_task

    if episodes < 1 or max_opening_env_steps < 0 or not 0 <= epsilon <= 1:
        raise UserError("collect: episodes >= 1, max_opening_env_steps >= 0 and epsilon in 0..1 expected")
    spec, folder = load_task(task), Path(dataset_dir) / task / quality / run
    if folder.exists():
        raise UserError(f"{folder} exists already; give another --run name")
    check_place(folder)
    policy = _player(player, seed) if ckpt_path is None else _learned(ckpt_path, spec)
    draw = stream_generator(seed, "openings", task)
    opening = torch.randint(max_opening_env_steps + 1, (episodes,), generator=draw)
    played = record(spec, policy, torch.full((episodes,), epsilon), opening, env, seed)
    about: dict[str, str | int | float] = {
        "player": ckpt_path or player,
        "environment": env,
        "seed": seed,
        "epsilon": epsilon,
    }
    files = write_run(folder, played.episodes, spec, about=about)
    figures = {
        "task": task,
        "episodes": episodes,
        "win_rate": float(played.success.double().mean()),
        "mean_return": float(played.returns.mean()),
        "mean_length": float(played.lengths.double().mean()),
        "files": [str(path) for path in files],
    }
    if json:
        print_json(figures)
    else:
        cells = [f"{x:.3f}" if isinstance(x, float) else x for x in list(figures.values())[:-1]]
        print_table(f"recorded in {folder}", list(figures)[:-1], [cells])
    return 0


def _player(name: str, seed: int) -> Any:
    """The scripted policy of this name."""
    from hygen_lightning.rollouts.scripted import scripted_policy

    return scripted_policy(name, seed)


def _learned(ckpt_path: str, task: TaskSpec) -> Any:
    """The policy of a checkpoint."""
    from hygen_lightning.algorithms.base import load_policy

    return load_policy(ckpt_path, task)
