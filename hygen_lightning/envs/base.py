"""What an environment is (many episodes of one task, stepped together), and the table of environments.

An environment from outside is a class that derives from `BattleEnv`; it is named by
`package.module:Class`, or by a name of its own after `register_env(name, Class)`. Its module makes
its tasks known with `register_task`: a name means the same task wherever one is named.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.specs import UserError
from hygen_lightning.tasks.custom import read_mapping
from hygen_lightning.tasks.registry import is_file_name, load_task

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from hygen_lightning.policy import Policy
    from hygen_lightning.specs import Observation, TaskSpec, TimeStep

ENVIRONMENTS: dict[str, str | type[BattleEnv]] = {
    "simulator": "hygen_lightning.envs.simulator.env:SimulatorEnv",
    "navigation": "hygen_lightning.envs.navigation:NavigationEnv",
    "smax": "hygen_lightning.envs.smax:SmaxEnv",
    "smac": "hygen_lightning.envs.smac.env:SmacEnv",
}
"""Name -> class, or "module:Class", imported on first use. A task's own is the first that plays it."""


@dataclass(frozen=True)
class Check:
    """One thing that an environment needs: what was found, and the command that mends it if it is wrong."""

    what: str
    found: str
    ok: bool
    remedy: str = ""

    def require(self) -> None:
        """UserError where it is wrong."""
        if not self.ok:
            raise UserError(
                f"{self.what}: {self.found}; `python -m hygen_lightning doctor` says how to mend it; "
                "where no environment is named, tasks are played in their own"
            )


class BattleEnv(ABC):
    """B episodes of one task on one device. Constructor: (task, num_envs, device="cpu").

    An episode that is over stands still until `reset`, which restarts all of them, or a `step` with seeds:
    observation and state stay the same, further actions have no effect, reward and flags are zero. Every
    agent has at least one available action at every step. Episodes with equal seeds and equal actions are
    equal, bit for bit on CPU, whatever batch they are in; an environment that cannot promise this sets
    `reproducible = False`. One that can begin single episodes anew sets `restarts = True`: its `step` takes
    seeds, and it has a `clock`.
    """

    task: TaskSpec
    task_type: type[TaskSpec] | None = None
    """The kind of task whose own environment this is; None: it is played in where a user names it."""
    num_envs: int
    reproducible: bool = True
    restarts: bool = False
    name: str = "abstract"
    version: str = "0"
    """Changes whenever results of an older version are no longer comparable."""

    @classmethod
    def scripted_policies(cls) -> dict[str, Callable[[int], Policy]]:
        """The environment's own heuristics, the best first: name -> factory that takes a seed.

        The best one plays its `expert` recordings. "random" is added for every environment."""
        return {}

    @classmethod
    def configured(cls, options: Mapping[str, Any]) -> type[BattleEnv]:
        """This environment with the options of an environment file; UserError for unknown ones."""
        if options:
            raise UserError(f"the environment {cls.name} has no options, but got {', '.join(options)}")
        return cls

    @classmethod
    def checks(cls, tasks: Sequence[TaskSpec], thorough: bool = True) -> list[Check]:
        """What the environment needs here to play these tasks, in the order in which it is mended.

        thorough: look at what takes seconds too.
        """
        return []

    @classmethod
    def check_installed(cls) -> None:
        """UserError if something that the environment needs is missing on this machine."""
        for check in cls.checks([], thorough=False):
            check.require()

    @classmethod
    def check_tasks(cls, tasks: Sequence[TaskSpec]) -> None:
        """UserError if the environment cannot play one of these tasks: here, one episode of each begins."""
        import torch

        for task in tasks:
            make: Any = cls
            with closing(make(task, 1)) as env:
                check_sizes(env, env.reset(torch.zeros(1, dtype=torch.int64)))

    @classmethod
    def most_at_once(cls) -> int | None:
        """Largest `num_envs` of one environment; None for any number."""
        return None

    @classmethod
    def fastest_device(cls, task: TaskSpec, num_envs: int, device: torch.device) -> torch.device:
        """The device that steps fastest for a policy on `device`: that one, or the CPU."""
        return device

    @abstractmethod
    def reset(self, seeds: Tensor) -> Observation:
        """Start B episodes. seeds [B] int64: all randomness of each episode."""

    @abstractmethod
    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        """actions [B, A] int64, each available in the last observation (else ValueError).

        seeds [B] int64 (only where `restarts`): every episode that is over after this step begins anew with
        its seed, and its observation is the first of the new one; reward and flags tell of the old one.
        """

    @property
    def clock(self) -> Tensor:
        """[B] int64: environment steps since each episode began; UserError if the environment keeps none."""
        raise UserError(f"the environment {self.name} does not count the steps of its episodes")

    def state_dict(self) -> dict[str, Tensor]:
        """All that is needed to continue the episodes identically; UserError if that cannot be saved."""
        raise UserError(f"the environment {self.name} cannot save its episodes")

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Continue the episodes of `state_dict`, of an environment of the same task and size."""
        raise UserError(f"the environment {self.name} cannot continue saved episodes")

    def only(self, rows: Tensor) -> BattleEnv | None:
        """The episodes rows [b] int64 alone, as an environment; None if the backend cannot split."""
        return None

    def close(self) -> None:  # noqa: B027  (most environments hold nothing to close)
        """Release processes and files. May be called twice."""


def check_sizes(env: BattleEnv, observation: Observation) -> None:
    """UserError where an environment shows vectors of other sizes than its task's layout tells."""
    layout, agents = env.task.layout, (env.num_envs, env.task.n_allies)
    sizes = {
        "obs": (*agents, layout.obs_dim),
        "state": (env.num_envs, layout.state_dim),
        "avail_actions": (*agents, layout.n_actions),
    }
    for name, expected in sizes.items():
        shape = tuple(getattr(observation, name).shape)
        if shape != expected:
            raise UserError(f"{env.name}: {name} is {shape}, the layout of {env.task.name} says {expected}")


class DeviceTransferEnv(BattleEnv):
    """Steps an environment where it is and returns observations and rewards on `device`.

    A small batch is stepped faster on the CPU than on the GPU of the policy.
    """

    def __init__(self, env: BattleEnv, device: torch.device) -> None:
        self.env, self.device = env, device
        self.task, self.num_envs, self.reproducible = env.task, env.num_envs, env.reproducible
        self.name, self.version, self.restarts = env.name, env.version, env.restarts

    def reset(self, seeds: Tensor) -> Observation:
        return self.env.reset(seeds.cpu()).to(self.device)

    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        from hygen_lightning.specs import TimeStep

        here = actions.cpu()
        step = self.env.step(here) if seeds is None else self.env.step(here, seeds.cpu())
        lost = None if step.lost is None else step.lost.to(self.device)
        return TimeStep(
            step.observation.to(self.device),
            step.reward.to(self.device),
            step.terminated.to(self.device),
            step.truncated.to(self.device),
            step.success.to(self.device),
            lost,
        )

    @property
    def clock(self) -> Tensor:
        return self.env.clock.to(self.device)

    def state_dict(self) -> dict[str, Tensor]:
        return self.env.state_dict()

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        self.env.load_state_dict(saved)

    def only(self, rows: Tensor) -> BattleEnv | None:
        part = self.env.only(rows.cpu())
        return None if part is None else DeviceTransferEnv(part, self.device)

    def close(self) -> None:
        self.env.close()


def register_env(name: str, cls: type[BattleEnv]) -> None:
    """Make a class available under a name; UserError if another class has that name."""
    if not _is_env(cls):
        raise UserError(f"environment {name!r}: {cls!r} does not derive from hygen_lightning's BattleEnv")
    known = ENVIRONMENTS.get(name, cls)
    if known is not cls:
        raise UserError(f"environment {name!r} is registered already ({known}); choose another name")
    ENVIRONMENTS[name] = cls


def environment_class(name: str) -> type[BattleEnv]:
    """The class of a registered name, of "package.module:Class", or of an environment file.

    An environment file is YAML: `env:`, one of those names, and the environment's own options.
    Raises UserError that names the known environments, or the module or attribute that is missing.
    """
    if is_file_name(name):
        return _from_file(Path(name))
    found = ENVIRONMENTS.get(name, name)
    if not isinstance(found, str):
        return found
    if ":" not in found:
        known = ", ".join(sorted(ENVIRONMENTS))
        raise UserError(f"unknown environment {name!r}; known: {known}, or give package.module:Class")
    return _imported(found)


def _from_file(path: Path) -> type[BattleEnv]:
    """The environment of an environment file."""
    content = read_mapping(path)
    kind = content.pop("env", None)
    if not isinstance(kind, str) or is_file_name(kind):
        raise UserError(f"{path}: env is {kind!r}; name an environment, as in `env: smac`")
    try:
        return environment_class(kind).configured(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _imported(path: str) -> type[BattleEnv]:
    """The class at "package.module:Class"; UserError if there is none."""
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except UserError:
        raise
    except Exception as error:  # whatever goes wrong while somebody else's module runs
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"environment {path!r}: module {module_name!r} cannot be imported ({reason}); "
            "is its folder on PYTHONPATH?"
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        raise UserError(f"environment {path!r}: module {module_name!r} has no {attribute!r}")
    if not _is_env(found):
        raise UserError(f"environment {path!r}: {attribute} does not derive from hygen_lightning's BattleEnv")
    return found  # type: ignore[no-any-return]


def _is_env(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, BattleEnv)


def own_environment(task: TaskSpec) -> str | None:
    """Name of the environment that a task is played in where nobody names one; None if it has none."""
    for name in ENVIRONMENTS:
        kind = environment_class(name).task_type
        if kind is not None and isinstance(task, kind):
            return name
    return None


def environment_for(tasks: Sequence[TaskSpec], env: str | None = None) -> str:
    """Where tasks are played together: in `env` if it is given, else in their own environment.

    UserError where they have none, or different ones.
    """
    if env is not None:
        return env
    found = {task.name: own_environment(task) for task in tasks}
    homeless = next((task for task, name in found.items() if name is None), None)
    if homeless is not None:
        raise UserError(
            f"no known environment plays {homeless}; name the one that does, package.module:Class"
        )
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{task} in {name}" for task, name in found.items())
        raise UserError(f"these tasks are played in different environments ({listed}); give those of one")
    return str(next(iter(found.values())))


def make_env(name: str, task: TaskSpec | str, num_envs: int, device: str | torch.device = "cpu") -> BattleEnv:
    """B episodes of a task in the environment of this name.

    task: a spec, or what `load_task` takes. `num_envs` of the result is smaller where the environment
    holds fewer. Raises UserError for unknown names.
    """
    kind: Any = environment_class(name)
    most = kind.most_at_once()
    env: BattleEnv = kind(load_task(task), num_envs if most is None else min(num_envs, most), device=device)
    return env


def make_env_for_policy(name: str, task: TaskSpec, num_envs: int, device: torch.device) -> BattleEnv:
    """As `make_env`, stepped on the device where that is fastest; results arrive on `device`."""
    where = environment_class(name).fastest_device(task, num_envs, device)
    env = make_env(name, task, num_envs, where)
    return env if where == device else DeviceTransferEnv(env, device)
