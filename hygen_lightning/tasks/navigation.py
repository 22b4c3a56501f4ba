"""Cooperative navigation (ODIS): walkers that have to reach landmarks on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hygen_lightning.specs import EntityLayout, Side, TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes

LIMIT_ENV_STEPS = 50
"""Episode limit (ODIS recordings: 51 stored steps)."""


@dataclass(frozen=True)
class NavigationTask(TaskSpec):
    """As many walkers as landmarks; the only reward is paid when all landmarks are reached.

    Observation [own 2 | (A-1) x ally 2 | E x landmark 2], state [A x position 2 | E x landmark 2].
    """

    enemy_name: ClassVar[str] = "landmark"

    def timed_out(self, episodes: Episodes) -> Tensor:
        """[B] bool: at the limit, without the reward that the goal pays."""
        return super().timed_out(episodes) & ~self.success(episodes)

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        """state [..., state_dim] -> (walkers, landmarks) at the positions of the state itself."""
        allies, enemies, _ = self.layout.split_state(state)
        return Side.always_alive(allies), Side.always_alive(enemies)

    def outcomes(self, episodes: Episodes) -> dict[str, Tensor]:
        """ "goal reached", "timed out" and "broken off" -> [B] bool each."""
        kinds = super().outcomes(episodes)
        return {"goal reached": kinds.pop("success"), **kinds}

    def success(self, episodes: Episodes) -> Tensor:
        """[B] bool: the step that ended the episode paid a reward."""
        last = (episodes.reward * episodes.terminated).sum(dim=1)
        return last > 0


def navigation_task(n: int) -> NavigationTask:
    """`cn-n`: n walkers, n landmarks."""
    xy = ("x", "y")
    layout = EntityLayout.of(
        n,
        n,
        own=xy,
        enemy=xy,
        ally=xy,
        state_ally=xy,
        state_enemy=xy,
        base_actions=("stay", "north", "south", "west", "east"),
        has_targets=False,
        obs_order=("own", "allies", "enemies"),
        state_order=("allies", "enemies"),
    )
    return NavigationTask(f"cn-{n}", LIMIT_ENV_STEPS, layout)
