"""Who else is told of a run: Weights & Biases and TensorBoard, beside metrics.csv."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from hygen_lightning.specs import UserError

PICTURES = ("learning_curves.png", "skills.png", "battle.gif")
"""Files of a run's folder that W&B shows, those that there are."""


def trackers(options: Any, command: str, name: str, config: dict[str, Any], run_dir: Path) -> list[Logger]:
    """The loggers that a run's options (`RunOptions`) ask for.

    command: of the run, its job type on W&B. name: the experiment. config: all options of the run.
    UserError where W&B has no key, or TensorBoard is not installed.
    """
    loggers: list[Logger] = []
    if options.wandb_project is not None:
        require_wandb_access()
        run_dir.mkdir(parents=True, exist_ok=True)
        tags = options.wandb_tags if options.wandb_tags is not None else tags_of(config)
        loggers.append(
            WandbLogger(
                name=f"{name}-{run_dir.name}",
                project=options.wandb_project,
                save_dir=str(run_dir),
                config=config,
                group=options.wandb_group or name,
                job_type=command,
                tags=tags,
            )
        )
    if options.tensorboard:
        try:
            loggers.append(TensorBoardLogger(str(run_dir), name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            raise UserError(
                "--run.tensorboard true needs tensorboard: pip install 'hygen_lightning[tensorboard]'"
            ) from error
    return loggers


def require_wandb_access() -> None:
    """UserError instead of a prompt that would hang a job."""
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in ("offline", "disabled", "dryrun") and wandb.api.api_key is None:
        raise UserError("--run.wandb_project: no W&B key; run `wandb login`, or set WANDB_MODE=offline")


def tags_of(config: dict[str, Any]) -> list[str]:
    """Algorithm, what is learned, and from which recordings."""
    data = config["data"]
    learned = [data["task_set"]] if data.get("task_set") else data.get("train_tasks") or ["toy"]
    algorithm = str(config["model"]["class_path"]).rpartition(".")[2]
    return [algorithm, *(Path(str(name)).stem for name in learned), str(data["quality"])]


def share_files(loggers: list[Logger], run_dir: Path, best: Path | None) -> None:
    """Show W&B the pictures of a finished run, and give it the checkpoint `best` (None: keep it here)."""
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        import wandb

        for path in (run_dir / name for name in PICTURES):
            if path.is_file():
                film = path.suffix == ".gif"
                media = wandb.Video(str(path), format="gif") if film else wandb.Image(str(path))
                logger.experiment.log({f"pictures/{path.stem}": media})
        if best is not None and best.is_file():
            artifact = wandb.Artifact(f"{logger.experiment.id}-best", type="model")
            artifact.add_file(str(best))
            logger.experiment.log_artifact(artifact)
