"""The options of LightningCLI's commands: configs in layers, a checkpoint's model under them, seeds."""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jsonargparse
from jsonargparse import ActionConfigFile, ArgumentError, Namespace, dict_to_namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from hygen_lightning import algorithms
from hygen_lightning.algorithms.base import MultiTaskAlgorithm
from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.data.datamodule import MOST_EPISODES, HybridDataModule
from hygen_lightning.parsing import (
    as_word,
    check_config,
    explain,
    file_that_says,
    found_file,
    given_options,
    shipped,
)
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.rollouts.evaluation import BattleEvaluation
from hygen_lightning.run.checkpoint import RunCheckpoint
from hygen_lightning.run.nonfinite import NonFiniteGuard
from hygen_lightning.run.run import RunFiles, last_checkpoint
from hygen_lightning.seeding import check_seed
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import absolute

jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)

REFUSALS = (ArgumentError, TypeError, ValueError)
"""What jsonargparse raises."""

CALLBACKS: dict[str, type[Callback]] = {
    "rollouts": OnlineRollouts,
    "evaluation": BattleEvaluation,
    "files": RunFiles,
    "checkpoint": RunCheckpoint,
    "nonfinite": NonFiniteGuard,
}
"""Group of options -> the callback of every run that they are for."""


class HyGenParser(LightningArgumentParser):
    """Says in every usage line, that of --model.help too, how the program is called."""

    refused_in: Path | None = None
    """The config file whose values could not be parsed."""

    def __init__(self, *args: Any, prog: str = "python -m hygen_lightning", **kwargs: Any) -> None:
        super().__init__(*args, prog=prog, **kwargs)


class ConfigFile(ActionConfigFile):
    """--config FILE: one of the user's, or one that the package ships."""

    def __call__(self, parser: Any, cfg: Any, values: str, option_string: str | None = None) -> None:
        path = found_file(values)
        check_config(path)
        parser.refused_in = path
        super().__call__(parser, cfg, str(path), option_string)
        parser.refused_in = None


def _layers(*names: str) -> list[str]:
    """Shipped configs as `default_config_files`, which are patterns."""
    return [glob.escape(str(shipped(name))) for name in names]


def _config_of(model: str | None) -> str:
    """The shipped config that `fit --model` stands for; quickstart where there is none."""
    own = f"conf/{(model or '').rpartition('.')[2].lower()}.yaml"
    return own if model and shipped(own).is_file() else "conf/quickstart.yaml"


@dataclass
class RunOptions:
    """Where a run lies, what it starts from and who else is told of it.

    Args:
        root: folder that holds all runs (trainer.default_root_dir, or runs, if not given)
        name: name of the experiment, a folder in root
        record_episodes: battles per task, recorded when no data.dataset_dir is given
        teachers: who plays them: scripted policies, teachers that are trained for it (minutes each), or
            auto: scripted policies, and teachers for the tasks that these win too seldom
        wandb_project: also log to this Weights & Biases project; WANDB_MODE=offline needs no account
        wandb_group: runs that belong together there (if not given, the name: seeds of one setting share it)
        wandb_tags: tags there (if not given: algorithm, task set or training tasks, data quality)
        wandb_checkpoint: also keep best.ckpt there, as an artifact
        tensorboard: also write TensorBoard's event files; needs the package tensorboard
    """

    root: str | None = None
    name: str = "hygen"
    record_episodes: int = 2000
    teachers: Literal["auto", "scripted", "trained"] = "auto"
    wandb_project: str | None = None
    wandb_group: str | None = None
    wandb_tags: list[str] | None = None
    wandb_checkpoint: bool = False
    tensorboard: bool = False


class LayeredCLI(LightningCLI):
    """The options of fit, validate, test and predict, and how they lie over one another."""

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.learned: list[str] = []
        """Names or files of the checkpoint's training tasks; [] in fit."""
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

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that was asked for: the options of each take a third of a second."""
        return {self.argv[0]: super().subcommands()[self.argv[0]]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = self.parser_class(**kwargs)
        parser.add_argument("-c", "--config", action=ConfigFile, help="file of options; later ones win")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for group, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, group)
        parser.add_class_arguments(RunOptions, "run")
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
        """Layers, the lowest first: base config; for `fit` without --config, that of the --model, or
        quickstart; the checkpoint's model; the user's configs and options.

        --config and --ckpt_path are looked up before: the parse itself ends at --print_config and --help.
        """
        command, *words = self.argv
        given = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        given.add_argument("-c", "--config", nargs="?")
        given.add_argument("--ckpt_path", nargs="?")
        given.add_argument("--model", nargs="?")
        known, _ = given.parse_known_args(words)
        if command == "fit" and known.config is None:
            layers = _layers("conf/base.yaml", _config_of(known.model))
            self._subcommand_parsers[command].default_config_files = layers
        self._parse(self.argv, known.ckpt_path if known.ckpt_path != "last" else None)

    def _parse(self, argv: list[str], checkpoint: str | None) -> None:
        """Set `config`; a checkpoint's model, and what it learned where, lie under the options."""
        below: dict[str, Any] = {}
        if checkpoint is not None:
            content = read_checkpoint(checkpoint, "model_config", "trained_on", "state_dict")
            below["model"] = content["model_config"]
            if argv[0] != "fit":
                self.learned = list(content["trained_on"].values())
                below["data"] = {"train_tasks": self.learned}
                below["rollouts"] = {"env": content["environment"]} if "environment" in content else {}
        try:
            self.config = self._layered(argv, below)
        except REFUSALS as error:
            options = [f"--{n}" for n in self._parser(argv[0]).get_defaults().keys(branches=True)]
            said = explain(error, options, {"model": algorithms.__all__})
            refused_in = self._parser(argv[0]).refused_in
            file = f"{refused_in}: " if refused_in else file_that_says(said, argv)
            raise UserError(file + said) from error
        config = self.config[argv[0]]
        check_run_options(config, argv)
        _make_absolute(config)
        self.checkpoint = checkpoint

    def _layered(self, argv: list[str], below: dict[str, Any]) -> Namespace:
        """The options over `below`.

        Configs may hold options of another model before they name the checkpoint's, as conf/tasks/toy.yaml
        under conf/bc.yaml. Over that model these are unknown; so it then stands behind the configs, with
        the options that they do not give.
        """
        try:
            return self.parser.parse_args(argv, Namespace({argv[0]: dict_to_namespace(below)}))
        except REFUSALS:
            parser = self._parser(argv[0])
            refused_in = parser.refused_in
            if "model" not in below:
                raise
            model, rest = below["model"], {key: below[key] for key in below if key != "model"}
            silent = [word for word in argv if not word.startswith("--print_config")]
            alone = None
            with contextlib.suppress(*REFUSALS):
                alone = self._layered(silent, rest)
            if alone is None or _class_name(alone[argv[0]].model) != _class_name(model):
                parser.refused_in = refused_in
                raise
            given = {name for _, name in given_options(argv)}
            own = {f"model.{name}": value for name, value in model["init_args"].items()}
            behind = [f"--{name}={as_word(value)}" for name, value in own.items() if name not in given]
            return self._layered([*argv, *behind], rest)

    def _parse_ckpt_path(self) -> None:
        """Find the file that `--resume auto` or `--ckpt_path last` means, and parse again over its model."""
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
        if command != "fit" and config.data.task_set is not None:  # to play; what was learned stays seen
            config.data.eval_tasks = config.data.eval_tasks or [config.data.task_set]
            config.data.task_set = None

    def _unfinished(self, config: Namespace) -> str | None:
        """last.ckpt of the newest unfinished run of this name and seed; None if a new one begins."""
        if config.seed_everything is True:
            raise UserError("--seed_everything true draws a new seed; to go on, give the number of the run's")
        found = last_checkpoint(run_root(config), config.run.name, self.seed)
        if found is not None:
            try:
                read_checkpoint(found)
            except UserError as error:
                run = found.parent.parent
                again = "--resume auto" if config.ckpt_path == "last" else "the same command"
                raise UserError(
                    f"{error}; or move {run.name} out of {run.parent}, and {again} goes on without it"
                ) from error
            return str(found)
        where = f"no unfinished run with seed {self.seed} below {Path(run_root(config)) / config.run.name}"
        if config.ckpt_path == "last":
            raise UserError(f"--ckpt_path last: {where}")
        print(f"{where}: a new one begins", flush=True)
        return None


def check_run_options(config: Mapping[str, Any], words: Sequence[str]) -> None:
    """UserError where a value stands in the place of a group of options, or options of a run make no sense.

    config: all options, nested. words: the command line that gave them, whose file is named.
    """
    wrong = _wrong_options(config)
    if wrong is not None:
        raise UserError(file_that_says(wrong, words) + wrong)


def _wrong_options(config: Mapping[str, Any]) -> str | None:
    for group in ("trainer", "data", "run", *CALLBACKS):
        if not isinstance(config.get(group), (Namespace, dict)):
            return f"--{group} is {config.get(group)!r}; it is a group of options, give those in it"
    episodes, name = config["run"]["record_episodes"], config["run"]["name"]
    if not 1 <= episodes <= MOST_EPISODES:
        return f"--run.record_episodes is {episodes}; give 1 to {MOST_EPISODES}"
    if not name or ".." in Path(name).parts:
        return f"--run.name is {name!r}; give the name of a folder in run.root"
    return None


def _make_absolute(config: Namespace) -> None:
    """Paths of the user's mean the same files in config.yaml, in a checkpoint, and in any folder."""
    data = config.data
    for key in ("task_set", "train_tasks", "eval_tasks", "extra_tasks"):
        named = data[key]
        if named is not None:
            data[key] = absolute(named) if isinstance(named, str) else [absolute(name) for name in named]
    for group in ("rollouts", "evaluation"):
        if config[group].env is not None:
            config[group].env = absolute(config[group].env)
    if data.dataset_dir is not None:
        data.dataset_dir = str(Path(data.dataset_dir).absolute())
    for option in ("model.init_args.skills_from", "model.init_args.init_from"):
        if config.get(option) is not None:
            config[option] = str(Path(config[option]).absolute())


def _class_name(model: Mapping[str, Any]) -> str:
    return str(model["class_path"]).rpartition(".")[2]


def run_root(config: Namespace) -> str:
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
    return check_seed(asked, "--seed_everything")
