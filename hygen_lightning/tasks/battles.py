"""Battles as SMAC defines them: two sides of units, flat vectors, actions, and who has won."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hygen_lightning.specs import EntityLayout, Look, Side, TaskSpec, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs import Episodes

NO_OP, STOP, NORTH, SOUTH, EAST, WEST = range(6)
FIRST_TARGET = 6
"""Action 6 + j attacks enemy j (a Medivac heals ally j); no-op is for the dead alone."""
BASE_ACTIONS = ("no_op", "stop", "north", "south", "east", "west")

SIGHT_RANGE = 9.0
"""Sight of every agent in map units, as SMAC defines it for all unit types."""
SHOOT_RANGE = 6.0
"""Distance in map units within which SMAC offers an attack action, for all unit types."""

STATE_CENTRE = 16.0
"""Map coordinate at which a battle's state has x = y = 0 (half of SMAC's 32 x 32 maps)."""
STATE_EXTENT = 28.0
"""Map units per unit of a state position: width and height of SMAC's playable area."""

HEALERS = frozenset({"medivac"})
"""Units that cannot fight: a side with nobody else left has lost (SMAC `only_medivac_left`)."""

Race = Literal["T", "P", "Z"]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FightTask(TaskSpec):
    """Two sides fight; in the state, the first number of every unit is its health, 0 if it is dead."""

    def fighters_alive(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """state [..., state_dim] -> (allies, enemies), [...] bool each: a unit that can fight lives."""
        allies, enemies = self.survivors(state)
        return allies > 0, enemies > 0

    def success(self, episodes: Episodes) -> Tensor:
        """[B] bool: a fighting ally lives at the end and no fighting enemy does."""
        allies, enemies = self.fighters_alive(episodes.final_state)
        return allies & ~enemies

    def timed_out(self, episodes: Episodes) -> Tensor:
        """[B] bool: at the limit, both sides still live."""
        allies, enemies = self.fighters_alive(episodes.final_state)
        return super().timed_out(episodes) & allies & enemies

    def outcomes(self, episodes: Episodes) -> dict[str, Tensor]:
        """ "won", "lost", "drawn", "timed out" and "broken off" (before the limit) -> [B] bool each."""
        timed_out = episodes.truncated.any(dim=1)
        allies, enemies = self.fighters_alive(episodes.final_state)
        return {
            "won": allies & ~enemies,
            "lost": ~allies & enemies,
            "drawn": ~allies & ~enemies,
            "timed out": timed_out,
            "broken off": allies & enemies & ~timed_out,
        }

    def survivors(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """state [..., state_dim] -> allies and enemies alive, each [...] int64."""
        allies, enemies, _ = self.layout.split_state(state)
        return (allies[..., 0] > 0).sum(-1), (enemies[..., 0] > 0).sum(-1)


@dataclass(frozen=True)
class BattleTask(FightTask):
    """Who fights whom, where and for how long (SMAC map registry and map files).

    layout: `smac_layout` of the same units, races and types.
    Units stand in SMAC's order: allies by unit type, enemies as the map creates them.
    Spawns are map coordinates, one per unit; `enemy_attack_move_to` is where the enemies are
    ordered to attack-move at the start (None: they hold their place until they see somebody).
    ally_types, enemy_types: the unit of each type bit; as many on both sides, none where no bit tells.
    """

    ally_units: tuple[str, ...] = ()
    enemy_units: tuple[str, ...] = ()
    ally_spawns: Points = ()
    enemy_spawns: Points = ()
    enemy_attack_move_to: tuple[float, float] | None = None
    ally_race: Race = "T"
    enemy_race: Race = "T"
    ally_types: tuple[str, ...] = ()
    enemy_types: tuple[str, ...] = ()
    terrain: str = "plain"

    @property
    def ally_shield(self) -> bool:
        """Whether the vectors tell the shields of allies (Protoss)."""
        return self.ally_race == "P"

    @property
    def enemy_shield(self) -> bool:
        """Whether the vectors tell the shields of enemies (Protoss)."""
        return self.enemy_race == "P"

    def fighters_alive(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """As in `FightTask`; Medivacs alone cannot fight."""
        import torch

        allies, enemies, _ = self.layout.split_state(state)
        can_fight = [
            torch.tensor([unit not in HEALERS for unit in units], device=state.device)
            for units in (self.ally_units, self.enemy_units)
        ]
        return ((allies[..., 0] > 0) & can_fight[0]).any(-1), ((enemies[..., 0] > 0) & can_fight[1]).any(-1)

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        """state [..., state_dim] -> (allies, enemies): what scripted policies and pictures read."""
        import torch

        allies, enemies, _ = self.layout.split_state(state)
        zeros_a, zeros_e = torch.zeros_like(allies[..., 0]), torch.zeros_like(enemies[..., 0])
        ally = Side(
            position=allies[..., 2:4] * STATE_EXTENT + STATE_CENTRE,
            health=allies[..., 0],
            shield=allies[..., 4] if self.ally_shield else zeros_a,
            alive=allies[..., 0] > 0,
            cooldown=allies[..., 1],
        )
        enemy = Side(
            position=enemies[..., 1:3] * STATE_EXTENT + STATE_CENTRE,
            health=enemies[..., 0],
            shield=enemies[..., 3] if self.enemy_shield else zeros_e,
            alive=enemies[..., 0] > 0,
            cooldown=zeros_e,
        )
        return ally, enemy

    def look(self) -> Look:
        """The units by their types on the terrain; Medivacs act on allies."""
        from hygen_lightning.tasks.maps import terrain_levels

        healers = frozenset(i for i, unit in enumerate(self.ally_units) if unit in HEALERS)
        return Look(self.ally_units, self.enemy_units, healers, tuple(terrain_levels(self.terrain)))


def smac_layout(
    n_allies: int, n_enemies: int, ally_race: Race, enemy_race: Race, unit_type_bits: int
) -> EntityLayout:
    """The vectors of SMAC (`get_obs_agent`, `get_state`), where Protoss have shields:

    observation  [move 4 | E x enemy | (A-1) x ally | health, shield, type]
    state        [A x ally | E x enemy | A x last action one-hot]
    """
    types = [f"type{k}" for k in range(unit_type_bits)]
    a, e = (["shield"] * (race == "P") for race in (ally_race, enemy_race))
    own = [*(f"can_move_{way}" for way in BASE_ACTIONS[2:]), "health", *a, *types]
    return EntityLayout.of(
        n_allies,
        n_enemies,
        own=own,
        enemy=["attackable", "distance", "dx", "dy", "health", *e, *types],
        ally=["visible", "distance", "dx", "dy", "health", *a, *types],
        state_ally=["health", "cooldown", "x", "y", *a, *types],
        state_enemy=["health", "x", "y", *e, *types],
        base_actions=BASE_ACTIONS,
        has_targets=True,
        obs_order=(("own", 0, 4), "enemies", "allies", ("own", 4, len(own))),
    )


def as_battle(task: TaskSpec) -> BattleTask:
    """The task, which has to be a battle; UserError if it is none."""
    if not isinstance(task, BattleTask):
        raise UserError(f"{task.name} is no battle; give a map such as 3m, or another environment")
    return task
