"""LightningCLI for HyGen: layered configs, run folders, checkpoints that bring their own model."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from hygen_lightning import algorithms
from hygen_lightning.algorithms import HyGen
from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs import environment_class
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.rollouts.evaluation import BattleEvaluation
from hygen_lightning.rollouts.recording import scripted_recordings
from hygen_lightning.run.arguments import layered_arguments
from hygen_lightning.run.checkpoint import AtomicCheckpointIO, RunCheckpoint
from hygen_lightning.run.complaints import explain, own_complaint
from hygen_lightning.run.differences import differences, started_with
from hygen_lightning.run.logger import MetricsLogger
from hygen_lightning.run.nonfinite import NonFiniteGuard
from hygen_lightning.run.pictures import draw_curves, draw_unseen_battle
from hygen_lightning.run.run import (
    RunFiles,
    early_end,
    lasting_output,
    new_run_dir,
    run_dir_of,
    run_facts,
    write_run_results,
)
from hygen_lightning.specs import Episodes, UserError

jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


def run_trainer_command(command: str, argv: list[str]) -> int:
    """fit, validate, test or predict; the exit code."""
    _quiet()
    try:
        with lasting_output():
            HyGenCLI([command, *layered_arguments(command, argv)])
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        if isinstance(error, jsonargparse.ArgumentError) or own_complaint(error):
            raise UserError(explain(error, _option_names(argv), algorithms.__all__)) from error
        raise
    return 0


def _option_names(argv: list[str]) -> list[str]:
    """Options of the classes that users most often set, as they are typed."""
    words = [word.rsplit(".", 1)[-1] for before, word in pairwise(argv) if before == "--model"]
    named = [word for word in words if word in algorithms.__all__]
    groups = {
        "data": HybridDataModule,
        "model": getattr(algorithms, named[-1]) if named else HyGen,
        "rollouts": OnlineRollouts,
        "evaluation": BattleEvaluation,
        "files": RunFiles,
        "checkpoint": RunCheckpoint,
        "nonfinite": NonFiniteGuard,
        "trainer": Trainer,
    }
    nested = [f"{group}.{name}" for group, cls in groups.items() for name in signature(cls).parameters]
    return [*nested, "seed_everything", "resume", "ckpt_path", "config", "run.name", "run.root"]


def _quiet() -> None:
    """Advice of the libraries that users of this package cannot act on."""
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators",
        "lightning.fabric",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)


def require_wandb_access() -> None:
    """UserError instead of a prompt that would hang a job."""
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in ("offline", "disabled", "dryrun") and wandb.api.api_key is None:
        raise UserError("run.wandb_project: no W&B key; run `wandb login`, or set WANDB_MODE=offline")


class HyGenParser(LightningArgumentParser):
    """Says in every usage line, that of --model.help too, how the program is called."""

    def __init__(self, *args: Any, prog: str = "python -m hygen_lightning", **kwargs: Any) -> None:
        super().__init__(*args, prog=prog, **kwargs)


class HyGenCLI(LightningCLI):
    """The parser of fit, validate, test and predict, and what happens around them."""

    def __init__(self, argv: list[str]) -> None:
        self.run_dir = Path()
        self.started = time.monotonic()
        options = {"parser_mode": "omegaconf+", "exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            MultiTaskAlgorithm,
            HybridDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=1,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=HyGenParser,
            parser_kwargs={**options, **{name: dict(options) for name in self.subcommands()}},
            args=argv,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(OnlineRollouts, "rollouts")
        parser.add_lightning_class_args(BattleEvaluation, "evaluation")
        parser.add_lightning_class_args(RunFiles, "files")
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(NonFiniteGuard, "nonfinite")
        parser.add_argument("--run.root", type=str, default="runs", help="folder that holds all runs")
        parser.add_argument(
            "--run.name", type=str, default="hygen", help="name of the experiment, a folder in root"
        )
        parser.add_argument(
            "--run.record_episodes",
            type=int,
            default=2000,
            help="scripted battles per task, recorded when no data.dataset_dir is given",
        )
        parser.add_argument(
            "--run.wandb_project",
            type=str | None,
            default=None,
            help="also log to this Weights & Biases project; WANDB_MODE=offline needs no account",
        )
        parser.add_argument(
            "--resume",
            type=Literal["never", "auto"],
            default="never",
            help="auto: go on with the newest unfinished run of this name and seed, if there is one",
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("data.widths", "model.init_args.widths", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        command = self.config["subcommand"]
        config = self.config[command]
        if command != "fit" and config.get("ckpt_path") is None:
            raise UserError("whose policy plays? Give --ckpt_path runs/<name>/<run>/checkpoints/best.ckpt")
        if not 0 <= int(config.seed_everything) < 2**32:
            raise UserError(f"--seed_everything is {config.seed_everything}; give 0 to {2**32 - 1}")

    def _parse_ckpt_path(self) -> None:
        """Nothing to do: `layered_arguments` puts a checkpoint's model under the command line."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        resumed = config.get("ckpt_path") if self.subcommand == "fit" else None
        name = config.run.name if self.subcommand == "fit" else f"{config.run.name}-{self.subcommand}"
        seed = int(config.seed_everything)
        self.run_dir = run_dir_of(Path(resumed)) if resumed else new_run_dir(config.run.root, name, seed)
        if config.get("ckpt_path") and os.environ.get("LOCAL_RANK", "0") == "0":
            asked = yaml.safe_load(self._parser(self.subcommand).dump(config, skip_none=False))
            for line in differences(started_with(Path(config.ckpt_path), str(self.subcommand)), asked):
                print(line, flush=True)

    def instantiate_classes(self) -> None:
        """The environments first: a file that is imported for one may register tasks of its own."""
        config = self.config[self.subcommand]
        for env in (config.rollouts.env, config.evaluation.env):
            if env is not None:
                environment_class(env)
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        kwargs["logger"] = self._loggers(self._get(self.config_init, "trainer.logger"))
        terminal = sys.stdout is not None and sys.stdout.isatty()
        if self._get(self.config_init, "trainer.enable_progress_bar") is None and not terminal:
            kwargs["enable_progress_bar"] = False  # a file or a pipe keeps the lines without the bars
        strategy, devices = (self._get(self.config_init, f"trainer.{key}") for key in ("strategy", "devices"))
        if isinstance(strategy, str) and strategy.endswith(("_spawn", "_fork", "_notebook")):
            raise UserError(f"--trainer.strategy {strategy}: runs are no functions to hand over; give ddp")
        if strategy == "ddp" or (strategy == "auto" and devices not in (1, "1")):
            # Each stage trains some of the networks only.
            kwargs["strategy"] = DDPStrategy(find_unused_parameters=True)
        plugins = self._get(self.config_init, "trainer.plugins") or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        kwargs["default_root_dir"] = str(self.run_dir)
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError) as error:  # what this machine has not, or nobody has
            raise UserError(f"--trainer options: {error}") from error

    def _loggers(self, users: Any) -> list[Logger]:
        """The user's own, Weights & Biases where run.wandb_project says so, and metrics.csv always."""
        config = self.config[self.subcommand]
        own = [] if users in (None, True, False) else users if isinstance(users, list) else [users]
        loggers: list[Logger] = [*own, MetricsLogger(self.run_dir)]
        if config.run.wandb_project is not None:
            require_wandb_access()
            name = f"{config.run.name}-{self.run_dir.name}"
            full = {"config": yaml.safe_load(self._parser(self.subcommand).dump(config))}
            self.run_dir.mkdir(parents=True, exist_ok=True)
            loggers.append(
                WandbLogger(name=name, project=config.run.wandb_project, save_dir=str(self.run_dir), **full)
            )
        return loggers

    # fit

    def before_fit(self) -> None:
        config = self.config[self.subcommand]
        if self.trainer.is_global_zero:
            parser = self._parser(self.subcommand)
            self._callback(RunFiles).config_yaml = parser.dump(config, skip_none=False)
        data = self.datamodule
        if data.needs_recordings:
            known = data.train_tasks, data.quality, config.run.record_episodes, config.rollouts.env
            data.dataset_dir = str(scripted_recordings(*known))

    def after_fit(self) -> None:
        """The best checkpoint plays the final evaluation; then the files are written."""
        if self.trainer.fast_dev_run or self.trainer.interrupted:
            return
        checkpoint: RunCheckpoint = self._callback(RunCheckpoint)
        best, steps = checkpoint.best_path, self.trainer.global_step
        stopped = early_end(self.trainer, checkpoint.saved_step)
        if stopped and self.trainer.is_global_zero:
            print(f"{stopped}; --resume auto goes on from there", flush=True)
        self.trainer.test(
            self.model,
            datamodule=self.datamodule,
            ckpt_path=str(best) if best.exists() else None,
            weights_only=True,
            verbose=False,
        )
        if self.trainer.is_global_zero:
            self._write_results(steps, {"finished": stopped is None, "stopped": stopped})
            wanted: RunFiles = self._callback(RunFiles)
            if wanted.curve:
                draw_curves(self.datamodule, self.run_dir)
            if wanted.battle_gif:
                env = self._callback(BattleEvaluation).env_name
                draw_unseen_battle(self.model, self.datamodule, self.run_dir, env)

    # validate, test, predict

    def after_validate(self) -> None:
        if self.trainer.is_global_zero:
            played = self._get(self.config_init, "ckpt_path")
            learned_from = {} if self.model.loaded_data is None else {"data": self.model.loaded_data}
            self._write_results(self.model.loaded_steps, {"checkpoint": str(played), **learned_from})

    after_test = after_validate

    def after_predict(self) -> None:
        folder = self.run_dir / "recordings"
        run = f"rank{self.trainer.global_rank}"
        for name, parts in self._callback(BattleEvaluation).played.items():
            episodes = Episodes.cat([played.episodes for played in parts])
            write_run(folder / name / "policy" / run, episodes)
        print(f"recordings: {folder}", flush=True)

    def _write_results(self, steps: int, known: dict[str, Any] | None = None) -> None:
        """known: facts of the run or of the checkpoint that played, over those of this command's options."""
        evaluation = self._callback(BattleEvaluation)
        facts = run_facts(self.trainer, self.model, evaluation.env_name, time.monotonic() - self.started)
        facts |= {"optimiser_steps": steps, **(known or {})}
        seen, extra = evaluation.tasks_of("seen"), evaluation.tasks_of("extra")
        write_run_results(self.run_dir, evaluation.records, seen, extra, facts)
        print(f"results: {self.run_dir / 'results.json'}", flush=True)

    def _callback(self, kind: type[Any]) -> Any:
        return next(c for c in self.trainer.callbacks if isinstance(c, kind))
