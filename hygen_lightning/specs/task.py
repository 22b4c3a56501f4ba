"""What a task is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hygen_lightning.specs.complaints import UserError
from hygen_lightning.specs.layout import EntityLayout

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.specs.episodes import Episodes


@dataclass
class Side:
    """The entities of one side, for pictures and scripted policies. N is A or E.

    position [..., N, 2] (a dead unit lies anywhere). health, shield [..., N] in 0..1 of the maximum.
    alive [..., N] bool. cooldown [..., N]: weapon cooldown as a share of the longest one (energy
    for a Medivac), zeros where it is not told.
    """

    position: Tensor
    health: Tensor
    shield: Tensor
    alive: Tensor
    cooldown: Tensor

    @classmethod
    def always_alive(cls, position: Tensor) -> Side:
        """Entities at position [..., N, 2] that cannot be hurt."""
        ones = position.new_ones(position.shape[:-1])
        return cls(position, ones, ones * 0, ones > 0, ones * 0)


@dataclass(frozen=True)
class Look:
    """What a picture of a task shows beside its sides; the defaults suit a task without unit types.

    ally_units, enemy_units: a type per unit, which gives it a shape and a size. healers: allies (by
    index) whose targets are allies. ground: rows of cells one unit wide, row 0 at y in [0, 1): "0"
    closed, "1" low, "2" high, "r" a ramp. Without ground, positions are scaled to the picture.
    """

    ally_units: tuple[str, ...] = ()
    enemy_units: tuple[str, ...] = ()
    healers: frozenset[int] = frozenset()
    ground: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSpec:
    """One task: its entities, where their numbers lie, and how long an episode lasts.

    An environment hands out the specs of its tasks. What an outcome means belongs to the
    environment too, so its tasks may derive from this class and say what counts as success.
    """

    name: str
    episode_limit_env_steps: int
    layout: EntityLayout

    enemy_name: ClassVar[str] = "enemy"
    """What users call the entities on the other side."""

    @property
    def n_allies(self) -> int:
        return self.layout.n_allies

    @property
    def n_enemies(self) -> int:
        return self.layout.n_enemies

    def success(self, episodes: Episodes) -> Tensor | None:
        """[B] bool: which recorded episodes reached the goal; None where recordings do not tell."""
        return None

    def timed_out(self, episodes: Episodes) -> Tensor:
        """[B] bool: which recorded episodes only the time limit ended: full length, and no success."""
        full, success = episodes.length == self.episode_limit_env_steps + 1, self.success(episodes)
        return full if success is None else full & ~success

    def outcomes(self, episodes: Episodes) -> dict[str, Tensor]:
        """Each way that recorded episodes can end, by name -> [B] bool; every episode ended in one."""
        timed_out, success = episodes.truncated.any(dim=1), self.success(episodes)
        if success is None:
            return {"ended": ~timed_out, "timed out": timed_out}
        return {"success": success, "timed out": timed_out, "broken off": ~success & ~timed_out}

    def sides(self, state: Tensor) -> tuple[Side, Side]:
        """state [..., state_dim] -> (allies, enemies); UserError where the state tells no places."""
        raise UserError(f"{self.name}: its environment does not say where its units stand")

    def look(self) -> Look:
        """How pictures draw the entities that `sides` places."""
        return Look()

    def survivors(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """state [..., state_dim] -> allies and enemies in play, each [...] int64; all of them here."""
        import torch

        shape = state.shape[:-1]
        counts = self.n_allies, self.n_enemies
        allies, enemies = (torch.full(shape, n, dtype=torch.int64, device=state.device) for n in counts)
        return allies, enemies
