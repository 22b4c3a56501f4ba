"""What a recording hides, estimated from the past of each episode: a particle filter.

Recorded states hold neither the targets and cooldowns of the enemies nor the fraction of a loop by
which a weapon was ready early. Every episode is followed by P simulated copies ("particles") that
share all that is recorded and differ in what is hidden. After each step the copies that agree with
the recorded health and positions are kept and multiplied.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from hygen_lightning.envs.simulator.recorded import battle_state
from hygen_lightning.envs.simulator.roster import Roster
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.step import played
from hygen_lightning.envs.simulator.terrain import Terrain

POSITION_SCALE = 0.05
"""Map units: a copy whose enemies are off by so much in sum counts 1 / e."""
LARGEST_OFFSET = 0.5
"""Map units beyond which an enemy that is off counts no less."""
DOUBT = 0.05
"""Share of copies whose hidden cooldowns are drawn anew after every step."""
UNLIKELY = 1e-12
"""Weight of a copy that does not agree, so that some remain when none does."""


class Tracker:
    """P copies of each of B recorded episodes of one task, stepped along the recordings.

    Columns of all tensors: the copies of episode 0, then those of episode 1, ...
    """

    def __init__(self, roster: Roster, terrain: Terrain, start: Tensor, n_particles: int, seed: int) -> None:
        """start [B, state_dim]: the first recorded states."""
        self.roster, self.terrain, self.n_particles = roster, terrain, n_particles
        self._generator = torch.Generator().manual_seed(seed)
        first = battle_state(roster, start)
        n, goal = roster.n_allies, roster.task.enemy_attack_move_to
        first.goal_x, first.goal_y = first.x[n:], first.y[n:]
        if goal is not None:
            first.goal_x = first.goal_x - first.goal_x.mean(0) + goal[0]
            first.goal_y = first.goal_y - first.goal_y.mean(0) + goal[1]
        self.battles = self._copies(first)
        self._seeds = torch.arange(self.battles.seed.shape[0]) + seed * 1_000_003

    def predict(self, recorded: BattleState, actions: Tensor, step: int) -> BattleState:
        """Every copy one step later, [N, B x P], from the recorded states. actions [A, B] int64."""
        s = copy.copy(self.battles)
        known, n = self._copies(recorded), self.roster.n_allies
        s.x, s.y, s.health, s.shield, s.energy = known.x, known.y, known.health, known.shield, known.energy
        shown = known.cooldown[:n]
        own = torch.where(shown > 0, shown, s.cooldown[:n].clamp(max=0.0))
        s.cooldown = torch.cat([own, s.cooldown[n:]])
        s.seed, s.step = self._seeds[: s.seed.shape[0]], torch.full_like(s.step, step)
        s.last_action = known.last_action
        self.battles = played(self.roster, self.terrain, s, self._repeat(actions))
        return self.battles

    def most_common(self) -> BattleState:
        """[N, B]: per episode a copy with the most common health of the allies."""
        health = self.battles.health[: self.roster.n_allies].unflatten(1, (-1, self.n_particles))  # [A, B, P]
        alike = (health.unsqueeze(3) == health.unsqueeze(2)).all(0).sum(2)  # [B, P]
        best = alike.argmax(1)
        column = torch.arange(len(best)) * self.n_particles + best
        return BattleState(**{k: v[..., column] for k, v in self.battles.tensors().items()})

    def learn(self, recorded: BattleState) -> None:
        """Keep the copies that agree with the states [N, B] that were recorded after the step."""
        agrees, offset = self._agreement(recorded)
        weight = torch.where(agrees, torch.exp(-offset / POSITION_SCALE), 0.0) + UNLIKELY
        p = self.n_particles
        drawn = torch.multinomial(
            weight.view(-1, p), p, replacement=True, generator=self._generator
        )  # [B, P]
        column = (torch.arange(len(drawn)).unsqueeze(1) * p + drawn).flatten()
        self.battles = BattleState(**{k: v[..., column] for k, v in self.battles.tensors().items()})
        lost = ~agrees.view(-1, p).any(1).repeat_interleave(p)
        self._doubt(lost)

    def drop_after(self, n_episodes: int) -> None:
        """Follow the first episodes only (the others are over)."""
        columns = n_episodes * self.n_particles
        self.battles = BattleState(**{k: v[..., :columns] for k, v in self.battles.tensors().items()})

    def _agreement(self, recorded: BattleState) -> tuple[Tensor, Tensor]:
        """Whether the allies' health is right, and by how much the enemies are off; [B x P]."""
        n, known, s = self.roster.n_allies, self._copies(recorded), self.battles
        agrees = (s.health[:n] == known.health[:n]).all(0)
        offset = torch.hypot(s.x - known.x, s.y - known.y).clamp(max=LARGEST_OFFSET)
        return agrees, torch.where(s.alive & known.alive, offset, 0.0)[n:].sum(0)

    def _doubt(self, lost: Tensor) -> None:
        """Draw cooldowns of enemies anew where no copy agreed (`lost`), and in a few others."""
        s, n = self.battles, self.roster.n_allies
        where = lost | (torch.rand(lost.shape, generator=self._generator) < DOUBT)
        shape = s.cooldown[n:].shape
        changed = where & (torch.rand(shape, generator=self._generator) < 0.5)
        drawn = torch.rand(shape, generator=self._generator) * self.roster.period[n:]
        s.cooldown = torch.cat([s.cooldown[:n], torch.where(changed, drawn, s.cooldown[n:])])

    def _copies(self, battles: BattleState) -> BattleState:
        return BattleState(**{k: self._repeat(v) for k, v in battles.tensors().items()})

    def _repeat(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.n_particles, dim=-1)
