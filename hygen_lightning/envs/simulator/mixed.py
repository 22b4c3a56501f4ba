"""Simulators of several tasks, stepped in one batch, or in a few where that is faster."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hygen_lightning.envs.base import BattleEnv, BattleEnvs
from hygen_lightning.envs.simulator.env import SimulatorEnv
from hygen_lightning.envs.simulator.seating import Seating
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.specs import TimeStep

PAIRS_PER_CALL = {"cpu": 25_000, "cuda": 14_000_000}
"""Pairs of units (N x N x B) whose game loop takes as long as calling its operations does. Measured
on one CPU core: 0.5 ms for the calls, 18 ns per pair; on an H100: 3.2 ms, 0.2 to 0.3 ns (version 6)."""
MOST_PAIRS = {"cpu": 250_000, "cuda": 60_000_000}
"""Largest batch, in pairs, that tasks are added to: larger ones fall out of the CPU's cache. On a GPU
it is the largest batch measured; up to there a pair costs the same."""
PAIRS_WORTH_A_GPU = 60_000
"""From this batch on, in pairs, a GPU steps the battles faster than one CPU core. A step of version 6 took an
H100 29 ms, however few the battles; a core took as long for about so many pairs."""


class MixedSimulatorEnvs(BattleEnvs):
    """Steps the battles of several tasks through the same game loops; views are made task by task.

    Small batches gain most: a game loop of some dozens of battles costs about the same for one task
    as for several. Tasks are put together, the most similar first, while that costs less than it
    saves. (Rollouts play task after task; `benchmark simulator --together` shows what this saves.) The
    environments may have different numbers of battles and remain usable by themselves,
    but have to be on one device. Tasks whose battles are all over cost nothing more.
    """

    envs: tuple[SimulatorEnv, ...]

    def __init__(self, envs: Sequence[BattleEnv]) -> None:
        if not all(isinstance(env, SimulatorEnv) for env in envs):
            raise ValueError("only simulators can be stepped together with simulators")
        super().__init__(envs)
        devices = {env.device for env in self.envs}
        if len(devices) > 1:
            raise ValueError("simulators that are stepped together have to be on one device")
        sizes = [(env.params.n_allies, env.params.n_enemies, env.num_envs) for env in self.envs]
        kind = "cuda" if any(device.type == "cuda" for device in devices) else "cpu"
        self.groups = grouped(sizes, PAIRS_PER_CALL[kind], MOST_PAIRS[kind])
        self._seatings: dict[int, tuple[list[int], Seating]] = {}

    def step(self, actions: Sequence[Tensor]) -> list[TimeStep]:
        orders = [env.checked(a) for env, a in zip(self.envs, actions, strict=True)]
        after = [env.battles for env in self.envs]
        for group in self.groups:
            going = [i for i in group if not bool(self.envs[i].battles.over.all())]
            for i, battles in zip(going, self._simulated(group[0], going, orders)):
                after[i] = battles
        return [env.conclude(battles) for env, battles in zip(self.envs, after)]

    def _simulated(self, group: int, going: list[int], orders: list[Tensor]) -> list[BattleState]:
        """The battles of these tasks after the game loops of a step."""
        if not going:
            return []
        first = self.envs[going[0]]
        if len(going) == 1:
            return [first.dynamics(first.params, first.terrain, first.battles, orders[going[0]])]
        seats = self._seats(group, going)
        before = seats.joined([self.envs[i].battles for i in going])
        joined = seats.orders([orders[i] for i in going])
        return seats.parts(first.dynamics(seats.params, seats.terrain, before, joined))

    def _seats(self, group: int, going: list[int]) -> Seating:
        """Seats for the tasks of a group that still have battles; the last ones of a group are kept."""
        tasks, seating = self._seatings.get(group, ([], None))
        if seating is None or tasks != going:
            envs = [self.envs[i] for i in going]
            seating = Seating(
                rosters=tuple(env.params for env in envs),
                terrains=tuple(env.terrain for env in envs),
                num_envs=tuple(env.num_envs for env in envs),
            )
            self._seatings[group] = (going, seating)
        return seating


def grouped(sizes: Sequence[tuple[int, int, int]], pairs_per_call: int, most_pairs: int) -> list[list[int]]:
    """Which tasks to step in one batch. sizes: (A, E, B) of each.

    From the smallest task on, the next joins the batch if the rows that it adds to the battles there
    (and misses itself) cost less than the calls it saves, and the batch does not grow too large.
    """
    groups: list[list[int]] = []
    pairs = 0
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i][0] + sizes[i][1]):
        own = (sizes[i][0] + sizes[i][1]) ** 2 * sizes[i][2]
        joined = _pairs([sizes[j] for j in (*groups[-1], i)]) if groups else 0
        if groups and joined - pairs - own < pairs_per_call and joined <= most_pairs:
            groups[-1].append(i)
            pairs = joined
        else:
            groups.append([i])
            pairs = own
    return groups


def _pairs(sizes: Sequence[tuple[int, int, int]]) -> int:
    """N x N x B of a batch of tasks."""
    rows = max(a for a, _, _ in sizes) + max(e for _, e, _ in sizes)
    return rows**2 * sum(b for _, _, b in sizes)
