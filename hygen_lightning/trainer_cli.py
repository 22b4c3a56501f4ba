"""LightningCLI for HyGen: layered configs, run folders, checkpoints that bring their own model."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import time
import warnings
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.checkpoint import check_goes_on, read_checkpoint
from hygen_lightning.commands.output import lasting_output
from hygen_lightning.data.hdf5 import write_run
from hygen_lightning.envs import environment_class
from hygen_lightning.parsing import complaint_of, differences, read_yaml
from hygen_lightning.policy import LearnsFromEpisodes
from hygen_lightning.recordings.on_demand import Wanted, recordings_for
from hygen_lightning.rollouts.callback import OnlineRollouts
from hygen_lightning.rollouts.evaluation import BattleEvaluation
from hygen_lightning.run.checkpoint import AtomicCheckpointIO, RunCheckpoint
from hygen_lightning.run.logger import MetricsLogger
from hygen_lightning.run.pictures import draw_curves, draw_unseen_battle, show_skills
from hygen_lightning.run.run import (
    RunFiles,
    claimed,
    early_end,
    is_first_process,
    new_run_dir,
    run_dir_of,
    run_facts,
    spent,
    write_run_results,
)
from hygen_lightning.run.trackers import share_files, trackers
from hygen_lightning.specs import Episodes, UserError
from hygen_lightning.tasks import load_task
from hygen_lightning.trainer_options import LayeredCLI, run_root

NOT_INSTALLED = "a package that the options need is not installed"


def run_trainer_command(argv: list[str]) -> int:
    """fit, validate, test or predict; the exit code."""
    _quiet()
    try:
        with ExitStack() as held, lasting_output(OSError):
            HyGenCLI(argv, held)
    except SIGTERMException:  # outside training: RunCheckpoint notes it there
        again = "the same command with --resume auto" if argv[0] == "fit" else "the same command"
        print(f"asked to stop before the last battles were played; {again} plays them", flush=True)
        return 128 + signal.SIGTERM
    except (ArgumentError, TypeError, ValueError) as error:  # what jsonargparse makes of a class's UserError
        own = complaint_of(error)
        if own is None:
            raise
        raise UserError(own) from error
    except MisconfigurationException as error:
        raise UserError(str(error)) from error
    except ModuleNotFoundError as error:  # a callback may look for it as late as when the run begins
        raise UserError(f"{NOT_INSTALLED}: {error}") from error
    except RuntimeError as error:
        if "Early stopping conditioned on metric" not in str(error):
            raise
        raise UserError(str(error)) from error
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


class HyGenCLI(LayeredCLI):
    """fit, validate, test and predict: the run's folder, its Trainer, and what is left at its end."""

    def __init__(self, argv: list[str], held: ExitStack) -> None:
        """held: lets go of the run's folder when this command is over."""
        self.run_dir, self.held = Path(), held
        self.started = time.monotonic()
        super().__init__(argv)

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        resumed = config.ckpt_path if self.subcommand == "fit" else None
        name = config.run.name if self.subcommand == "fit" else f"{config.run.name}-{self.subcommand}"
        if resumed:
            self.run_dir = run_dir_of(Path(resumed))
        else:
            self.run_dir = self.held.enter_context(new_run_dir(run_root(config), name, self.seed))
        if resumed and is_first_process():
            self.held.enter_context(claimed(self.run_dir))
        if config.ckpt_path and is_first_process():
            asked = yaml.safe_load(self._parser(self.subcommand).dump(config, skip_unset=False))
            for line in differences(self._started_with(Path(config.ckpt_path)), asked):
                print(line, flush=True)

    def _started_with(self, checkpoint: Path) -> dict[str, Any]:
        """The options that a checkpoint's run was started with; of other commands the model only."""
        path = checkpoint.resolve().parent.parent / "config.yaml"
        run: Any = {}
        if self.subcommand == "fit" and path.is_file():
            with suppress(UserError):  # a damaged one is written anew
                run = read_yaml(path)
        model = read_checkpoint(checkpoint, "model_config")["model_config"]
        return {**(run if isinstance(run, dict) else {}), "model": model}

    def instantiate_classes(self) -> None:
        """The environments first: a file that is imported for one may register tasks of its own."""
        config = self.config[self.subcommand]
        for env in (config.rollouts.env, config.evaluation.env):
            if env is not None:
                environment_class(env)
        if config.data.train_tasks == self.learned:
            self._check_learned()
        try:
            super().instantiate_classes()
        except (ImportError, TypeError, ValueError) as error:
            missing = complaint_of(error, ImportError)  # of a logger, a plugin, a class of the user's
            if missing is None:
                raise
            raise UserError(f"{NOT_INSTALLED}: {missing}") from error

    def _check_learned(self) -> None:
        """UserError where a task of the checkpoint is there no more."""
        for task in self.learned:
            try:
                load_task(task)
            except UserError as error:
                raise UserError(
                    f"{self.checkpoint} learned from {task}, but: {error}; put it back, or give "
                    "--data.train_tasks"
                ) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        kwargs["logger"] = self._loggers(self._get(self.config_init, "trainer.logger"))
        terminal = sys.stdout is not None and sys.stdout.isatty()
        if self._get(self.config_init, "trainer.enable_progress_bar") is None and not terminal:
            kwargs["enable_progress_bar"] = False  # a file or a pipe keeps the lines without the bars
        if self._get(self.config_init, "trainer.profiler") == "xla" and find_spec("torch_xla") is None:
            raise UserError(f"{NOT_INSTALLED}: --trainer.profiler xla asks for torch_xla")
        strategy, devices = (self._get(self.config_init, f"trainer.{key}") for key in ("strategy", "devices"))
        start = strategy if isinstance(strategy, str) else getattr(strategy, "_start_method", "popen")
        if start.endswith(("spawn", "fork", "forkserver", "notebook")):
            raise UserError(f"--trainer.strategy {start}: runs are no functions to hand over; give ddp")
        if strategy == "ddp" or (strategy == "auto" and devices not in (1, "1")):
            # Each stage trains some of the networks only.
            kwargs["strategy"] = DDPStrategy(find_unused_parameters=True)
        plugins = self._get(self.config_init, "trainer.plugins") or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        kwargs["default_root_dir"] = str(self.run_dir)
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, TypeError, ValueError) as error:  # nobody has it, or not here
            said = str(error).rstrip(".!")
            is_there = self._get(self.config_init, "trainer.accelerator") in ("auto", "cpu")
            is_about_it = "accelerator" in said.lower() or "backend" in said
            advice = "; --trainer.accelerator auto takes what this machine has"
            advice = advice if is_about_it and not is_there else ""
            raise UserError(f"--trainer options: {said}{advice}") from error

    def _loggers(self, users: Any) -> list[Logger]:
        """The user's own, metrics.csv always, and whoever else the options of the run name."""
        config = self.config[self.subcommand]
        own = [] if users in (None, True, False) else users if isinstance(users, list) else [users]
        full = yaml.safe_load(self._parser(self.subcommand).dump(config))
        told = trackers(config.run, str(self.subcommand), config.run.name, full, self.run_dir)
        return [*own, MetricsLogger(self.run_dir), *told]

    # fit

    def before_fit(self) -> None:
        config = self.config[self.subcommand]
        if self.trainer.is_global_zero:
            parser = self._parser(self.subcommand)
            files: RunFiles = self._callback(RunFiles)
            files.config_yaml, files.held = parser.dump(config, skip_unset=False), self.held
        # What is wrong shows before anything is recorded.
        if config.ckpt_path:
            checkpoint = read_checkpoint(config.ckpt_path, "state_dict")
            check_goes_on(self.model, checkpoint, config.ckpt_path, self.trainer.max_steps)
        data = self.datamodule
        rollouts: OnlineRollouts = self._callback(OnlineRollouts)
        rollouts.check_tasks(data.train_tasks)
        if data.needs_recordings and isinstance(self.model, LearnsFromEpisodes):
            env = rollouts.env_name(data.train_tasks)
            wanted = Wanted(data.quality, config.run.record_episodes, env)
            made = recordings_for(data.train_tasks, data.sources, wanted, config.run.teachers)
            data.dataset_dir = str(made)

    def after_fit(self) -> None:
        """The best checkpoint plays the final evaluation; then the files are written."""
        if self.trainer.fast_dev_run or self.trainer.interrupted:
            return
        checkpoint: RunCheckpoint = self._callback(RunCheckpoint)
        best, steps = checkpoint.best_path, self.trainer.global_step
        stopped = early_end(self.trainer, checkpoint.saved_step)
        if stopped and self.trainer.is_global_zero:
            hint = "; --resume auto goes on from there" if checkpoint.saved_step >= 0 else ""
            print(stopped + hint, flush=True)
        played = read_checkpoint(best, "global_step")["global_step"] if best.exists() else steps
        if played != steps and self.trainer.is_global_zero:
            print(f"the weights of step {played}, chosen on seen tasks, play the last battles", flush=True)
        self.trainer.test(
            self.model,
            datamodule=self.datamodule,
            ckpt_path=str(best) if best.exists() else None,
            weights_only=True,
            verbose=False,
        )
        if self.trainer.is_global_zero:
            known = {"finished": stopped is None, "stopped": stopped, "played_step": played}
            known |= spent(self.run_dir)
            self._write_results(steps, known)
            wanted: RunFiles = self._callback(RunFiles)
            if wanted.curve:
                draw_curves(self.model, self.datamodule, self.run_dir)
            env = self._callback(BattleEvaluation).env_name
            if wanted.battle_gif:
                draw_unseen_battle(self.model, self.datamodule, self.run_dir, env)
            if wanted.skills and isinstance(self.model, HyGen):
                show_skills(self.model, self.datamodule, self.run_dir, env)
            shared = self.config[self.subcommand].run.wandb_checkpoint
            share_files(self.trainer.loggers, self.run_dir, best if shared else None)

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
        facts |= {"optimiser_steps": steps, "command": shlex.join(self.argv), **(known or {})}
        seen, extra = evaluation.tasks_of("seen"), evaluation.tasks_of("extra")
        write_run_results(self.run_dir, evaluation.records, seen, extra, facts)
        print(f"results: {self.run_dir / 'results.json'}", flush=True)

    def _callback(self, kind: type[Any]) -> Any:
        return next(c for c in self.trainer.callbacks if isinstance(c, kind))
