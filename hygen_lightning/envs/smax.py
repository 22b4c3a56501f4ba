"""SMAX with its heuristic enemies (JaxMARL's HeuristicEnemySMAX): many battles of one task, stepped in jax.

The battles are JaxMARL's own, and so are observations, available actions and rewards: the share of the
enemies' health that a step cost them, and 1 for a victory. They are stepped in blocks of `BLOCK`, each by the
same compiled code, so a battle does not depend on how many are played beside it. That code is kept in the
cache folder. jax computes on the CPU unless JAX_PLATFORMS says otherwise.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hygen_lightning.data.files import cache_dir
from hygen_lightning.envs.base import BattleEnv, Check
from hygen_lightning.policy import PolicyOutput
from hygen_lightning.specs import Observation, TaskSpec, TimeStep, UserError
from hygen_lightning.tasks.smax import BASE_ACTIONS, MAP_SIDE, STOP, UNIT_TYPES, SmaxTask

if TYPE_CHECKING:
    from hygen_lightning.policy import Policy

BLOCK = 32
"""Battles that compiled code steps at once: as fast as larger batches on a CPU, whose caches it fits."""
OLDEST = (0, 2)
"""First version of JaxMARL with these rules: since 0.2 the dead neither move nor stand in the way, and
cooldowns and targets are told as shares."""


def _jaxmarl_version() -> str:
    """Of JaxMARL here; "" where it is missing."""
    try:
        return installed_version("jaxmarl")
    except PackageNotFoundError:
        return ""


class SmaxEnv(BattleEnv):
    """B battles of one task, in blocks; those that fill up the last block are never shown."""

    name = "smax"
    version = f"1-jaxmarl-{_jaxmarl_version() or 'none'}"
    restarts = True
    task_type = SmaxTask
    task: SmaxTask

    def __init__(self, task: TaskSpec, num_envs: int, device: str | torch.device = "cpu") -> None:
        """UserError if the task is none of SMAX, or JaxMARL is missing."""
        self.task, self.num_envs, self.device = _as_smax(task), num_envs, torch.device(device)
        self.check_installed()
        self._rules = _rules(self.task)
        self.reset(torch.zeros(num_envs, dtype=torch.int64))

    @classmethod
    def checks(cls, tasks: Sequence[TaskSpec], thorough: bool = True) -> list[Check]:
        oldest, found = ".".join(map(str, OLDEST)), _jaxmarl_version()
        new_enough = tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) >= OLDEST
        remedy = f"{sys.executable} -m pip install 'jaxmarl>={oldest}'"
        checks = [Check(f"JaxMARL {oldest} or newer", found or "missing", new_enough, remedy)]
        if thorough and new_enough:
            checks.append(_import_check(remedy))
        return checks

    @classmethod
    def scripted_policies(cls) -> dict[str, Callable[[int], Policy]]:
        return {"concentrated": ConcentratedFire}

    @classmethod
    def fastest_device(cls, task: TaskSpec, num_envs: int, device: torch.device) -> torch.device:
        return torch.device("cpu")

    def reset(self, seeds: Tensor) -> Observation:
        if seeds.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} seeds expected, got shape {tuple(seeds.shape)}")
        begun = [self._rules.begin(words) for words in _in_blocks(_words(seeds))]
        self._blocks = [block for block, _ in begun]
        return self._show([shown for _, shown in begun])

    def step(self, actions: Tensor, seeds: Tensor | None = None) -> TimeStep:
        actions = actions.to(self.device)
        if not bool(self._available.gather(2, actions[..., None]).all()):
            raise ValueError(f"{self.task.name}: an action was not available in the last observation")
        orders = _in_blocks(actions.cpu().numpy().astype(np.int32), STOP)
        words = _in_blocks(_words(torch.zeros(self.num_envs, dtype=torch.int64) if seeds is None else seeds))
        restart = np.bool_(seeds is not None)
        stepped = [self._rules.step(*each, restart) for each in zip(self._blocks, orders, words)]
        self._blocks = [block for block, _, _ in stepped]
        brought = self._joined([told for _, _, told in stepped])
        return TimeStep(self._show([shown for _, shown, _ in stepped]), *brought)

    def _show(self, shown: list[Any]) -> Observation:
        observation = Observation(*self._joined(shown))
        self._available = observation.avail_actions
        return observation

    def _joined(self, parts: list[Any]) -> list[Tensor]:
        """Tuples of arrays [BLOCK, ...], one per block -> tensors [B, ...] of their own."""
        whole = (torch.cat([_tensor(part) for part in same]) for same in zip(*parts))
        return [x[: self.num_envs].to(self.device) for x in whole]

    @property
    def clock(self) -> Tensor:
        return self._joined([(block["state"].state.step,) for block in self._blocks])[0].long()

    def only(self, rows: Tensor) -> SmaxEnv:
        part = copy.copy(self)
        part.num_envs = len(rows)
        picked = rows.cpu().numpy()
        part._blocks = self._rules.blocks([_in_blocks(leaf[picked]) for leaf in self._leaves()])
        part._available = self._available[rows]
        return part

    def _leaves(self) -> list[np.ndarray]:
        """All that the battles are, arrays [B, ...]."""
        leaves = zip(*(self._rules.leaves(block) for block in self._blocks))
        return [np.concatenate(same)[: self.num_envs] for same in leaves]

    def state_dict(self) -> dict[str, Tensor]:
        leaves = {f"leaf{k}": x for k, x in enumerate(self._leaves())}
        signed = {name: x.view(np.int32) if x.dtype == np.uint32 else x for name, x in leaves.items()}
        tensors = {name: torch.from_numpy(x.copy()) for name, x in signed.items()}
        return {**tensors, "available": self._available.clone()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        self._available = saved["available"].to(self.device).clone()
        here = self._leaves()
        arrays = [saved[f"leaf{k}"].cpu().numpy().copy() for k in range(len(here))]
        self._blocks = self._rules.blocks([_in_blocks(x.view(old.dtype)) for x, old in zip(arrays, here)])


def _as_smax(task: TaskSpec) -> SmaxTask:
    if not isinstance(task, SmaxTask):
        raise UserError(f"{task.name} is no battle of SMAX; give a map such as smax-3m")
    return task


def _words(seeds: Tensor) -> np.ndarray:
    """seeds [B] int64 -> [B, 2] uint32, a key of jax each."""
    return seeds.cpu().contiguous().numpy().view(np.uint32).reshape(-1, 2)


def _in_blocks(x: np.ndarray, fill: int = 0) -> list[np.ndarray]:
    """x [B, ...] -> parts [BLOCK, ...], the last one filled up."""
    missing = -len(x) % BLOCK
    filled = np.concatenate([x, np.full((missing, *x.shape[1:]), fill, x.dtype)]) if missing else x
    return np.split(filled, len(filled) // BLOCK)


def _tensor(x: Any) -> Tensor:
    """An array of jax, which stays as it is: the tensor may share its memory."""
    try:
        return torch.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError):  # a type that either side cannot hand over
        return torch.from_numpy(np.array(x))


@cache
def _smax() -> Any:
    """JaxMARL's module of SMAX."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    quiet, real = StringIO(), sys.__stdout__
    with redirect_stdout(quiet), redirect_stderr(sys.stderr):
        sys.__stdout__ = quiet  # type: ignore[misc,assignment]
        try:  # JaxMARL prints when it is imported, and leaves sys.stdout and sys.stderr reset
            from jaxmarl.environments import smax
        finally:
            sys.__stdout__ = real  # type: ignore[misc]
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "jax"))
    return smax


def _import_check(remedy: str) -> Check:
    """Whether JaxMARL can be imported, in seconds."""
    try:
        _smax()
    except Exception as error:  # whatever goes wrong while it runs
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return Check("JaxMARL can be imported", told, False, f"{remedy} --force-reinstall")
    return Check("JaxMARL can be imported", "yes", True)


@cache
def _rules(task: SmaxTask) -> _Rules:
    """Compiled once per task and process."""
    return _Rules(task)


class _Rules:
    """The compiled code of a task.

    A block is BLOCK battles: {"key": uint32 [BLOCK, 2], "state": JaxMARL's, "over": bool [BLOCK]}.
    begin(words [BLOCK, 2]) -> block, shown. step(block, actions [BLOCK, A], words, restart) -> block, shown,
    told. shown: obs, state, available actions. told: reward, terminated, truncated, success.
    """

    def __init__(self, task: SmaxTask) -> None:
        import jax

        self.n_allies, self.game = task.n_allies, _game(task)
        self.begin = jax.jit(self._begin)
        self.step = jax.jit(self._step)
        like = jax.eval_shape(self._begin, np.zeros((BLOCK, 2), np.uint32))[0]
        self._tree = jax.tree.structure(like)

    def leaves(self, block: Any) -> list[np.ndarray]:
        """All arrays [BLOCK, ...] of a block."""
        import jax

        return [np.asarray(leaf) for leaf in jax.tree.leaves(block)]

    def blocks(self, leaves: list[list[np.ndarray]]) -> list[Any]:
        """Blocks of the arrays that `leaves` gave: per leaf, one array per block."""
        import jax

        return [jax.tree.unflatten(self._tree, same) for same in zip(*leaves)]

    def _begin(self, words: Any) -> tuple[Any, Any]:
        import jax

        def begin(words: Any) -> Any:
            key, now = jax.random.split(jax.random.wrap_key_data(words, impl="threefry2x32"))
            _, state = self.game.reset(now)
            return {"key": jax.random.key_data(key), "state": state, "over": False}

        block = _typed(jax.vmap(begin)(words))
        return block, jax.vmap(self._show)(block["state"])

    def _step(self, block: Any, actions: Any, words: Any, restart: Any) -> tuple[Any, Any, Any]:
        import jax

        was_over = block["over"]
        stepped, told = jax.vmap(self._advance)(block, actions)
        stepped = _typed(_where(was_over, block, stepped))
        told = jax.tree.map(lambda x: _where(was_over, x * 0 if x.dtype != bool else x & False, x), told)
        over = was_over | told[1]
        stepped["over"] = over
        after = jax.lax.cond(
            restart & over.any(), lambda: _where(over, self._begin(words)[0], stepped), lambda: stepped
        )
        return after, jax.vmap(self._show)(after["state"]), told

    def _advance(self, battle: Any, actions: Any) -> tuple[Any, Any]:
        """One step of one battle."""
        import jax

        key, now = jax.random.split(jax.random.wrap_key_data(battle["key"], impl="threefry2x32"))
        orders = dict(zip(self.game.agents, actions))
        _, state, rewards, done, _ = self.game.step_env(now, battle["state"], orders)
        allies, enemies = (side.any() for side in np.split(state.state.unit_alive, [self.n_allies]))
        told = rewards[self.game.agents[0]], done["__all__"], done["__all__"] & allies & enemies
        after = {"key": jax.random.key_data(key), "state": state, "over": battle["over"]}
        return after, (*told, allies & ~enemies)

    def _show(self, state: Any) -> tuple[Any, Any, Any]:
        """obs [A, obs_dim], state [state_dim], available actions [A, K] bool of one battle."""
        import jax.numpy as jnp

        seen, available = self.game.get_all_unit_obs(state), self.game.get_avail_actions(state)
        own = len(self.game.own_features)
        obs, can = (jnp.stack([x[unit] for unit in self.game.agents]) for x in (seen, available))
        return obs, jnp.concatenate([seen[unit][-own:] for unit in self.game.all_agents]), can > 0


def _game(task: SmaxTask) -> Any:
    """JaxMARL's environment of a task."""
    import jax.numpy as jnp

    smax, units = _smax(), (*task.ally_units, *task.enemy_units)
    types = [UNIT_TYPES.index(unit) for unit in units] or [0] * (task.n_allies + task.n_enemies)
    drawn = not units
    scenario = smax.Scenario(jnp.array(types, jnp.uint8), task.n_allies, task.n_enemies, drawn, drawn)
    sizes = {"map_width": MAP_SIDE, "map_height": MAP_SIDE, "max_steps": task.episode_limit_env_steps - 1}
    return smax.HeuristicEnemySMAX(scenario=scenario, **sizes)


def _typed(tree: Any) -> Any:
    """The same arrays with types that a second step does not change, so that nothing is compiled twice."""
    import jax
    import jax.numpy as jnp

    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, np.dtype(jnp.result_type(x))), tree)


def _where(rows: Any, tree: Any, other: Any) -> Any:
    """Trees of arrays [BLOCK, ...] -> that of `tree` where rows [BLOCK] bool, else that of `other`."""
    import jax
    import jax.numpy as jnp

    def pick(x: Any, y: Any) -> Any:
        return jnp.where(rows.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return jax.tree.map(pick, tree, other)


class ConcentratedFire:
    """A teacher: allies shoot whom most of them reach, of equals the weakest, or meet the nearest."""

    def __init__(self, seed: int = 0) -> None:
        del seed  # it draws nothing

    def initial_hidden(self, task: TaskSpec, num_envs: int) -> None:
        """Nothing to remember; UserError for a task that is none of SMAX."""
        _as_smax(task)

    def act(
        self, task: TaskSpec, observation: Observation, last_actions: Tensor, last_reward: Tensor, hidden: Any
    ) -> PolicyOutput:
        """One step of B battles; see `Policy.act`."""
        allies, enemies = task.sides(observation.state)
        reached = observation.avail_actions[..., len(BASE_ACTIONS) :]
        worth = reached.sum(1) + 1 - enemies.health  # [B, E]
        target = torch.where(reached, worth[:, None], -1.0).argmax(-1) + len(BASE_ACTIONS)
        ways = enemies.position[:, None] - allies.position[:, :, None]  # [B, A, E, 2]
        far = ways.norm(dim=-1).masked_fill(~enemies.alive[:, None], torch.inf).argmin(-1)
        way = ways.gather(2, far[..., None, None].expand(-1, -1, 1, 2)).squeeze(2)
        along = torch.stack([way[..., 1], way[..., 0], -way[..., 1], -way[..., 0]], dim=-1)
        move = torch.where(allies.alive, along.argmax(-1), STOP)
        return PolicyOutput(torch.where(reached.any(-1), target, move), hidden)
