"""Seats for battles of several tasks in one batch: who stands in which row and column.

A batch of several tasks has as many rows as its largest teams need, allies on top. In a battle of a
smaller task the rows left over hold units that are dead from the start: they take no part, so every
battle goes on bit for bit as it would among its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.state import OF_ALLIES, OF_BATTLES, OF_ENEMIES, BattleState
from hygen_lightning.envs.simulator.terrain import Ground, Patchwork, Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.tasks.battles import NO_OP

OF_VIEWS = ("ally_types", "enemy_types")
"""Constants that only views need, which are made task by task: none in a batch of several."""
NOBODY = {"target": -1, "last_action": -1}
"""What a row without a unit holds, where it is not zero."""


@dataclass(frozen=True)
class Seating:
    """B battles side by side: those of the first task, of the second, and so on.

    rosters, terrains, num_envs: one of each per task.
    """

    rosters: tuple[UnitParams, ...]
    terrains: tuple[Terrain, ...]
    num_envs: tuple[int, ...]

    @cached_property
    def n_allies(self) -> int:
        return max(r.n_allies for r in self.rosters)

    @cached_property
    def n_enemies(self) -> int:
        return max(r.n_enemies for r in self.rosters)

    @cached_property
    def rows(self) -> list[Tensor]:
        """Per task [N of the task] int64: the row of each of its units."""
        return [
            torch.cat(
                [
                    torch.arange(r.n_allies, device=r.health.device),
                    torch.arange(r.n_enemies, device=r.health.device) + self.n_allies,
                ]
            )
            for r in self.rosters
        ]

    @cached_property
    def seated(self) -> list[UnitParams]:
        """Every task's unit parameters with rows for everybody, still one column for all of its battles."""
        return [self._seated(r, rows) for r, rows in zip(self.rosters, self.rows)]

    @cached_property
    def params(self) -> UnitParams:
        """Constants of all units, [N, B]."""
        seated = self.seated
        constants: dict[str, Any] = {
            name: torch.cat(
                [getattr(r, name).expand(*value.shape[:-1], n) for r, n in zip(seated, self.num_envs)],
                dim=-1,
            )
            for name, value in tensors(seated[0]).items()
            if name not in OF_VIEWS
        }
        return replace(
            seated[0],
            tasks=tuple(r.task for r in seated),
            has_shields=any(r.has_shields for r in seated),
            has_zerg=any(r.has_zerg for r in seated),
            has_medivacs=any(r.has_medivacs for r in seated),
            line_splashers=tuple(sorted({row for r in seated for row in r.line_splashers})),
            bursters=tuple(sorted({row for r in seated for row in r.bursters})),
            **constants,
        )

    @cached_property
    def terrain(self) -> Ground:
        """The one terrain, or all side by side."""
        if len({t.name for t in self.terrains}) == 1:
            return self.terrains[0]
        return Patchwork(tuple(zip(self.terrains, self.seated, self.num_envs)))

    def orders(self, actions: Sequence[Tensor]) -> Tensor:
        """actions: per task [A, B] -> [A, B] of all."""
        return torch.cat([_with_rows(a, self.n_allies, NO_OP) for a in actions], dim=1)

    def joined(self, parts: Sequence[BattleState]) -> BattleState:
        """The battles of all tasks as one batch."""
        found: dict[str, list[Tensor]] = {f.name: [] for f in fields(BattleState)}
        for params, rows, part in zip(self.rosters, self.rows, parts):
            for name, value in part.tensors().items():
                if name == "target":
                    value = torch.where(
                        value >= params.n_allies, value + self.n_allies - params.n_allies, value
                    )
                found[name].append(self._with_seats(name, value, rows))
        return BattleState(**{name: torch.cat(values, dim=-1) for name, values in found.items()})

    def parts(self, battles: BattleState) -> list[BattleState]:
        """The battles of each task, taken out of the batch."""
        columns = {k: v.split(self.num_envs, dim=-1) for k, v in battles.tensors().items()}
        found = []
        for index, (params, rows) in enumerate(zip(self.rosters, self.rows)):
            own = {name: _own(name, values[index], params, rows) for name, values in columns.items()}
            shift = self.n_allies - params.n_allies
            own["target"] = torch.where(own["target"] >= self.n_allies, own["target"] - shift, own["target"])
            found.append(BattleState(**own))
        return found

    def _with_seats(self, name: str, value: Tensor, rows: Tensor) -> Tensor:
        """A tensor of a task's battles with rows for everybody."""
        nobody = NOBODY.get(name, 0)
        if name in OF_BATTLES:
            return value
        if name in OF_ALLIES:
            return _with_rows(value, self.n_allies, nobody)
        if name in OF_ENEMIES:
            return _with_rows(value, self.n_enemies, nobody)
        return _at_rows(value, rows, self.n_allies + self.n_enemies, nobody)

    def _seated(self, params: UnitParams, rows: Tensor) -> UnitParams:
        """A task's unit parameters with rows for everybody."""
        a, e, n = self.n_allies, self.n_enemies, params.n_units
        draw = params.draw
        changed: dict[str, Any] = {
            "draw": torch.cat([_at_rows(draw[:n], rows, a + e, 0), _with_rows(draw[n:], e, 0)]),
            "notice": _with_rows(_with_rows(params.notice, a, -1).transpose(0, 1), e, -1).transpose(0, 1),
            **{name: params.health.new_zeros(0, 0) for name in OF_VIEWS},
        }
        for name, value in tensors(params).items():
            if name in changed:
                continue
            if value.dim() == 3:
                value = _at_rows(value.transpose(0, 1), rows, a + e, 0).transpose(0, 1)
            changed[name] = _at_rows(value, rows, a + e, 0)
        places = rows.tolist()
        return replace(
            params,
            n_allies=a,
            n_enemies=e,
            line_splashers=tuple(places[row] for row in params.line_splashers),
            bursters=tuple(places[row] for row in params.bursters),
            **changed,
        )


def tensors(params: UnitParams) -> dict[str, Tensor]:
    """The constants of unit parameters that are tensors, by name."""
    values = {f.name: getattr(params, f.name) for f in fields(UnitParams)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _at_rows(x: Tensor, rows: Tensor, n_rows: int, nobody: int) -> Tensor:
    """x [N of a task, ...] -> [n_rows, ...]: each unit in its row, `nobody` in the rows left over."""
    if len(rows) == n_rows:
        return x
    return x.new_full((n_rows, *x.shape[1:]), nobody).index_copy_(0, rows, x)


def _with_rows(x: Tensor, n_rows: int, nobody: int) -> Tensor:
    """x [n, ...] -> [n_rows, ...], `nobody` in the rows added at the end."""
    if len(x) == n_rows:
        return x
    return torch.cat([x, x.new_full((n_rows - len(x), *x.shape[1:]), nobody)])


def _own(name: str, value: Tensor, params: UnitParams, rows: Tensor) -> Tensor:
    """Of a tensor with rows for everybody, those of a task's units."""
    if name in OF_BATTLES:
        return value
    if name in OF_ALLIES:
        return value[: params.n_allies]
    if name in OF_ENEMIES:
        return value[: params.n_enemies]
    return value.index_select(0, rows)
