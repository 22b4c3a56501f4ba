"""Upper bound of the fidelity figures: the same measures on battles of the simulator itself.

There the dynamics are exactly right, so all error comes from hidden variables and from chance. Some
situations are harder to predict than others: transitions are grouped by "living enemies / those of them with
a living ally within 6 map units", such as "3/1".
"""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.observation import Sight
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.unit_params import UnitParams
from hygen_lightning.tasks.battles import SHOOT_RANGE

FEWEST_TRANSITIONS = 20
"""Kinds with fewer simulated transitions are left out of the reweighted mean."""


class Share(TypedDict):
    """Number of transitions, and the share (0..1) of them that is exact; None without transitions."""

    transitions: int
    exact_share: float | None


class Ceiling(TypedDict):
    """Shares (0..1) of transitions in which the allies' health is exact.

    ally_health_ceiling: of all simulated transitions.
    ally_health_ceiling_same_mix: reweighted to the frequency of the kinds in the recordings, over kinds
        with at least FEWEST_TRANSITIONS.
    ally_health_ceiling_covered_share: share of the recorded transitions that are of these kinds.
    ally_health_exact_share_covered: exact share of those recorded transitions.
    kinds: recorded and simulated shares by kind.
    """

    ally_health_ceiling: float | None
    ally_health_ceiling_same_mix: float | None
    ally_health_ceiling_covered_share: float
    ally_health_exact_share_covered: float | None
    kinds: dict[str, dict[str, Share]]


def kind_of(params: UnitParams, before: BattleState) -> Tensor:
    """[B, 2] int64: number of living enemies, and of those with a living ally in range."""
    n = params.n_allies
    living = before.alive[n:]
    near = Sight.of(params, before).distance[:, n:] <= SHOOT_RANGE  # [A, E, B]
    near &= before.alive[:n].unsqueeze(1)
    return torch.stack([living.sum(0), (living & near.any(0)).sum(0)], dim=1)


def share_by_kind(kind: Tensor, exact: Tensor) -> dict[str, Share]:
    """The share of exact transitions of every kind. kind [M, 2] int64, exact [M] bool."""
    names, where = kind.unique(dim=0, return_inverse=True)
    shares: dict[str, Share] = {}
    for row, (living, near) in enumerate(names.tolist()):
        of_kind = exact[where == row]
        shares[f"{living}/{near}"] = _share(len(of_kind), int(of_kind.sum()))
    return shares


def ceiling(recorded: dict[str, Share], simulated: dict[str, Share]) -> Ceiling:
    """Exact shares of recordings and of the simulator's own battles, by kind and in total."""
    usual = {kind for kind, share in simulated.items() if share["transitions"] >= FEWEST_TRANSITIONS}
    n_recorded = {kind: share["transitions"] for kind, share in recorded.items()}
    covered = {kind: number for kind, number in n_recorded.items() if kind in usual}
    n_simulated = {kind: share["transitions"] for kind, share in simulated.items()}
    return {
        "ally_health_ceiling": _mean(simulated, n_simulated),
        "ally_health_ceiling_same_mix": _mean(simulated, covered),
        "ally_health_ceiling_covered_share": sum(covered.values()) / max(sum(n_recorded.values()), 1),
        "ally_health_exact_share_covered": _mean(recorded, covered),
        "kinds": {
            kind: {
                "recorded": recorded.get(kind, _share(0, 0)),
                "simulated": simulated.get(kind, _share(0, 0)),
            }
            for kind in sorted({*recorded, *simulated})
        },
    }


def _mean(shares: dict[str, Share], weights: dict[str, int]) -> float | None:
    """Weighted mean of the shares over the kinds in `weights`; None if the weights are zero."""
    total = sum(weights.values())
    if total == 0:
        return None
    return sum(number * (shares[kind]["exact_share"] or 0.0) for kind, number in weights.items()) / total


def _share(transitions: int, exact: int) -> Share:
    return {"transitions": transitions, "exact_share": exact / transitions if transitions else None}
