"""Cooperative navigation (ODIS): walkers that have to reach landmarks on a grid.

Sizes and limits are those of ODIS' maps (github.com/LAMDA-RL/ODIS, map_config of its grid world).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hygen_lightning.specs import EntityLayout, Look, Side, TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes

_GRIDS = {
    **{n: (2 * n + 2, 50) for n in (2, 3, 4, 5)},
    6: (15, 50),
    **dict.fromkeys((7, 8, 9, 10), (15, 70)),
    **dict.fromkeys((11, 12), (18, 70)),
    15: (20, 80),
}
"""Walkers, as many as landmarks -> cells on each side of the grid, limit in environment steps."""


@dataclass(frozen=True)
class NavigationTask(TaskSpec):
    """As many walkers as landmarks; the only reward, 1, is paid when every walker reaches its own.

    Observation [own 2 | (A-1) x ally 2 | E x landmark 2], state [A x position 2 | E x landmark 2]:
    positions are row and column, from 1 to `size`; row 1 is the northern one.
    """

    size: int = 0
    """Cells on each side of the grid."""

    enemy_name: ClassVar[str] = "landmark"

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        """state [..., state_dim] -> (walkers, landmarks) in the middle of their cells on the ground."""
        import torch

        allies, enemies, _ = self.layout.split_state(state)
        walkers, landmarks = (
            torch.stack([at[..., 1], self.size + 1 - at[..., 0]], dim=-1) + 0.5 for at in (allies, enemies)
        )
        return Side.always_alive(walkers), Side.always_alive(landmarks)

    def look(self) -> Look:
        """The grid, with a closed cell around it."""
        edge = "0" * (self.size + 2)
        return Look(ground=(edge, *(f"0{'1' * self.size}0" for _ in range(self.size)), edge))

    def outcomes(self, episodes: Episodes) -> dict[str, Tensor]:
        """ "goal reached", "timed out" and "broken off" -> [B] bool each."""
        kinds = super().outcomes(episodes)
        return {"goal reached": kinds.pop("success"), **kinds}

    def success(self, episodes: Episodes) -> Tensor:
        """[B] bool: the step that ended the episode paid a reward."""
        last = (episodes.reward * episodes.terminated).sum(dim=1)
        return last > 0


def navigation_names() -> list[str]:
    """Names of all maps, the smallest first."""
    return [f"cn-{n}" for n in _GRIDS]


def navigation_task(name: str) -> NavigationTask:
    """The task of a map `cn-n`: n walkers, n landmarks; KeyError if there is none of this name."""
    n = {f"cn-{n}": n for n in _GRIDS}[name]
    size, limit = _GRIDS[n]
    place = ("row", "column")
    layout = EntityLayout.of(
        n,
        n,
        own=place,
        enemy=place,
        ally=place,
        state_ally=place,
        state_enemy=place,
        base_actions=("stay", "north", "south", "west", "east"),
        has_targets=False,
        obs_order=("own", "allies", "enemies"),
        state_order=("allies", "enemies"),
        place=place,
        place_unit=5.0,
    )
    return NavigationTask(name, limit, layout, size)
