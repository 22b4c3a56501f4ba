"""LightningCLI for HyGen: layered configs, run folders, checkpoints that bring their own model."""

from __future__ import annotations

import argparse
import glob
import logging
import os
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import yaml
from jsonargparse import ActionConfigFile, ArgumentError, Namespace, dict_to_namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from hygen_lightning import algorithms
from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.data.datamodule import HybridDataModule
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs import environment_class
from hygen_lightning.parsing import check_config, complaint_of, differences, explain, found_file, shipped
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.rollouts.evaluation import BattleEvaluation
from hygen_lightning.rollouts.recording import scripted_recordings
from hygen_lightning.run.checkpoint import AtomicCheckpointIO, RunCheckpoint
from hygen_lightning.run.logger import MetricsLogger
from hygen_lightning.run.nonfinite import NonFiniteGuard
from hygen_lightning.run.pictures import draw_curves, draw_unseen_battle
from hygen_lightning.run.run import (
    RunFiles,
    early_end,
    last_checkpoint,
    lasting_output,
    new_run_dir,
    run_dir_of,
    run_facts,
    write_run_results,
)
from hygen_lightning.specs import Episodes, UserError

jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


def run_trainer_command(argv: list[str]) -> int:
    """fit, validate, test or predict; the exit code."""
    _quiet()
    try:
        with lasting_output():
            HyGenCLI(argv)
    except (ArgumentError, TypeError, ValueError) as error:  # what jsonargparse makes of a class's UserError
        own = complaint_of(error)
        if own is None:
            raise
        raise UserError(own) from error
    except OSError as error:  # a folder of recordings, runs or the cache that may not be read or written
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}; give another place") from error
    return 0


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


class ConfigFile(ActionConfigFile):
    """--config FILE: one of the user's, or one that the package ships."""

    def __call__(self, parser: Any, cfg: Any, values: str, option_string: str | None = None) -> None:
        path = found_file(values)
        check_config(path)
        super().__call__(parser, cfg, str(path), option_string)


def _layers(*names: str) -> list[str]:
    """Shipped configs as `default_config_files`, which are patterns."""
    return [glob.escape(str(shipped(name))) for name in names]


class HyGenCLI(LightningCLI):
    """The parser of fit, validate, test and predict, and what happens around them."""

    def __init__(self, argv: list[str]) -> None:
        self.run_dir = Path()
        self.started = time.monotonic()
        self.argv = argv
        options = {"parser_mode": "omegaconf+", "exit_on_error": False, "allow_abbrev": False}
        each = {**options, "default_config_files": _layers("conf/base.yaml")}
        super().__init__(
            MultiTaskAlgorithm,
            HybridDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=1,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=HyGenParser,
            parser_kwargs={**options, **{name: dict(each) for name in self.subcommands()}},
            args=argv,
        )

    # Options

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = self.parser_class(**kwargs)
        parser.add_argument("-c", "--config", action=ConfigFile, help="file of options; later ones win")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(OnlineRollouts, "rollouts")
        parser.add_lightning_class_args(BattleEvaluation, "evaluation")
        parser.add_lightning_class_args(RunFiles, "files")
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(NonFiniteGuard, "nonfinite")
        parser.add_argument(
            "--run.root",
            type=str | None,
            default=None,
            help="folder that holds all runs (trainer.default_root_dir, or runs, if not given)",
        )
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

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> Any:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if "verbose" in self._subcommand_method_arguments[subcommand]:
            parser.set_defaults(verbose=False)  # Lightning's table would say the same as ours
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Lowest the base config, then the quickstart if no --config is given, then the checkpoint's
        model, then the user's configs and options as they came."""
        command, *words = self.argv
        given = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        given.add_argument("-c", "--config", nargs="?")
        given.add_argument("--ckpt_path", nargs="?")
        given.add_argument("--data.task_set", nargs="?", dest="task_set")
        known, _ = given.parse_known_args(words)
        if command == "fit" and known.config is None:
            layers = _layers("conf/base.yaml", "conf/quickstart.yaml")
            self._subcommand_parsers[command].default_config_files = layers
        #: The quickstart names tasks; a set that is asked for stands instead of them.
        self.other_tasks = command == "fit" and known.config is None and known.task_set is not None
        self._parse(self.argv, known.ckpt_path if known.ckpt_path != "last" else None)

    def _parse(self, argv: list[str], checkpoint: str | None) -> None:
        """Set `config`; a checkpoint's model, and the tasks that it learned, lie under the options."""
        below: dict[str, Any] = {}
        if self.other_tasks:
            below["data"] = dict.fromkeys(("train_tasks", "eval_tasks", "extra_tasks"))
        if checkpoint is not None:
            content = read_checkpoint(checkpoint, "model_config", "trained_on", "state_dict")
            below["model"] = content["model_config"]
            if argv[0] != "fit":
                below["data"] = {"train_tasks": content["trained_on"]}
        try:
            self.config = self.parser.parse_args(argv, Namespace({argv[0]: dict_to_namespace(below)}))
        except (ArgumentError, TypeError, ValueError) as error:
            parser = self._subcommand_parsers[argv[0]]
            raise UserError(explain(error, parser, {"model": algorithms.__all__})) from error
        self.checkpoint = checkpoint

    def _parse_ckpt_path(self) -> None:
        """Find what `--resume auto` or `--ckpt_path last` means, and parse again over its model."""
        command = self.config.subcommand
        config = self.config[command]
        self.seed = _seed(config.seed_everything)
        path = config.ckpt_path
        if command == "fit" and (path == "last" or (path is None and config.resume == "auto")):
            path = self._unfinished(config)
        if path is not None and path != self.checkpoint:
            self._parse([*self.argv, "--ckpt_path", path], path)
        elif path is None and command != "fit":
            raise UserError("whose policy plays? Give --ckpt_path runs/<name>/<run>/checkpoints/best.ckpt")
        config = self.config[command]
        config.seed_everything = config.data.seed = self.seed

    def _unfinished(self, config: Namespace) -> str | None:
        """last.ckpt of the newest unfinished run of this name and seed; None if a new one begins."""
        if config.seed_everything is True:
            raise UserError("--seed_everything true draws a new seed; to go on, give the number of the run's")
        found = last_checkpoint(_root(config), config.run.name, self.seed)
        if found is not None:
            return str(found)
        where = f"no unfinished run with seed {self.seed} below {Path(_root(config)) / config.run.name}"
        if config.ckpt_path == "last":
            raise UserError(f"--ckpt_path last: {where}")
        print(f"{where}: a new one begins", flush=True)
        return None

    # The run

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        resumed = config.ckpt_path if self.subcommand == "fit" else None
        name = config.run.name if self.subcommand == "fit" else f"{config.run.name}-{self.subcommand}"
        self.run_dir = run_dir_of(Path(resumed)) if resumed else new_run_dir(_root(config), name, self.seed)
        if config.ckpt_path and os.environ.get("LOCAL_RANK", "0") == "0":
            asked = yaml.safe_load(self._parser(self.subcommand).dump(config, skip_unset=False))
            for line in differences(self._started_with(Path(config.ckpt_path)), asked):
                print(line, flush=True)

    def _started_with(self, checkpoint: Path) -> dict[str, Any]:
        """The options that a checkpoint's run was started with; of other commands the model only."""
        path = checkpoint.resolve().parent.parent / "config.yaml"
        run = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        model = read_checkpoint(checkpoint, "model_config")["model_config"]
        return {**((self.subcommand == "fit" and run) or {}), "model": model}

    def instantiate_classes(self) -> None:
        """The environments first: a file that is imported for one may register tasks of its own."""
        config = self.config[self.subcommand]
        for env in (config.rollouts.env, config.evaluation.env):
            if env is not None:
                environment_class(env)
        try:
            super().instantiate_classes()
        except (ImportError, TypeError, ValueError) as error:
            missing = complaint_of(error, ImportError)  # of a logger, a plugin, a class of the user's
            if missing is None:
                raise
            raise UserError(f"a package that the options need is not installed: {missing}") from error

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
        if data.dataset_dir is None and data.prefill_episodes == 0:  # online-only runs need none
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
        self.after_validate()
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


def _root(config: Namespace) -> str:
    """The folder that holds all runs."""
    return str(config.run.root or config.trainer.default_root_dir or "runs")


def _seed(asked: bool | int) -> int:
    """The seed of a run: the number asked for, or for `true` one that this process draws."""
    if asked is False:
        raise UserError("--seed_everything false: a run has a seed; give a number, or true for a random one")
    if asked is True:
        drawn = os.environ.get("PL_GLOBAL_SEED")  # by the process that started this one
        if "LOCAL_RANK" not in os.environ and "SLURM_PROCID" not in os.environ:
            return random.SystemRandom().randrange(2**32)
        if drawn is None:
            raise UserError("--seed_everything true: each process would draw its own; give a number")
        return int(drawn)
    if not 0 <= asked < 2**32:
        raise UserError(f"--seed_everything is {asked}; give 0 to {2**32 - 1}")
    return asked
