"""A particle filter that estimates the hidden variables of recorded episodes.

Recorded states do not show the enemies' targets, cooldowns, backswing and `look_loop`, nor the fraction of a
loop by which a weapon was ready early. Every episode is followed by P simulated copies (particles) that
share the recorded variables and differ in the hidden ones. After each step the copies are resampled by how
well they agree with the recorded health and positions.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from hygen_lightning.calibration.recorded import HEALTH_GRID, battle_state
from hygen_lightning.envs.simulator.constants import LOOPS_PER_STEP
from hygen_lightning.envs.simulator.formation import attack_move_goals
from hygen_lightning.envs.simulator.state import BattleState
from hygen_lightning.envs.simulator.step import Dynamics
from hygen_lightning.envs.simulator.terrain import Terrain
from hygen_lightning.envs.simulator.unit_params import UnitParams

POSITION_SCALE = 0.3
"""Offset of an enemy, in map units, that reduces a copy's weight to 1 / e (see SAME_PLACE_SCALE; assumed)."""
SAME_PLACE_SCALE, SAME_PLACE_WEIGHT = 0.01, 3.0
"""A second, narrow scale in map units and its weight relative to the wide one: an enemy at its recorded
place walked in the right loops. (Likelihood of the next recorded health, every third episode: higher than
with one scale of 0.15; 0.02 and 0.04, or weights of 1 and 10, are no better.)"""
LARGEST_OFFSET = 0.5
"""Largest offset in map units that counts."""
MISS = 1e-3
"""Factor of a copy's weight per ally with wrong health. It matters little: exact share on every sixth
episode 0.780 at 0.001, 0.01 and 0.03 with simulator version 3 (mean of three seeds, which differ by 0.003),
0.818 and 0.817 at 0.001 and 0.0001 with version 4 (one seed)."""
DOUBT = 0.01
"""Share of copies whose hidden cooldowns are redrawn after every step (half and double, together with
TARGET_DOUBT, differ less than seeds do)."""
TARGET_DOUBT = 0.02
"""Share of the enemies' targets redrawn after every step (likelihood of the next recorded health, every
sixth episode: higher at 0.02 than at 0.04)."""
LOOK_DOUBT = 0.05
"""Share of `look_loop` redrawn after every step (likelihood higher at 0.05 than at 0.1)."""
REDRAWN_SHARE = 0.5
"""Share of the hidden variables redrawn in episodes where no copy has the right health, and of the
cooldowns in the copies chosen by DOUBT."""
COOLDOWN_BLUR_LOOPS = 0.5
"""Largest random shift of hidden cooldowns after every step, which keeps copies from becoming equal."""
SHOT_RISE_LOOPS = 3.0
"""A cooldown that rises by more than this in a step shows a shot: a new target or walking raises it by at
most two loops. Shots of weapons with a period below eleven loops may be missed."""


class Tracker:
    """P copies of each of B recorded episodes of one task, stepped along the recordings.

    Columns of all tensors: the copies of episode 0, then those of episode 1, ...
    """

    def __init__(
        self,
        params: UnitParams,
        terrain: Terrain,
        start: Tensor,
        n_particles: int,
        seed: int,
        dynamics: Dynamics | None = None,
    ) -> None:
        """start [B, state_dim]: the first recorded states, on the device that steps the copies."""
        self.params, self.terrain, self.n_particles = params, terrain, n_particles
        self._dynamics = dynamics or Dynamics.plain()
        self.device = start.device
        self._generator = torch.Generator(self.device).manual_seed(seed)
        first = battle_state(params, start)
        n = params.n_allies
        first.goal_x, first.goal_y = attack_move_goals(params.task, first.x[n:], first.y[n:])
        self.battles = self._copies(first)
        self._last_shot = torch.full_like(self.battles.target[n:], -1)  # step of every enemy's, [E, B x P]
        # Beyond a million copies, seeds repeat those of the next tracker: harmless.
        self._seeds = torch.arange(self.battles.seed.shape[0], device=self.device) + seed * 1_000_003

    def predict(self, recorded: BattleState, actions: Tensor, step: int) -> BattleState:
        """Step every copy from the recorded state: [N, B x P]. actions [A, B] int64."""
        s = copy.copy(self.battles)
        known, n = self._copies(recorded), self.params.n_allies
        s.x, s.y, s.health, s.shield, s.energy = known.x, known.y, known.health, known.shield, known.energy
        shown = known.cooldown[:n]
        own = torch.where(shown > 0, shown, s.cooldown[:n].clamp(max=0.0))
        s.cooldown = torch.cat([own, s.cooldown[n:]])
        s.seed, s.step = self._seeds[: s.seed.shape[0]], torch.full_like(s.step, step)
        s.last_action = known.last_action
        self.battles = self._dynamics.advance(self.params, self.terrain, s, self._repeat(actions))
        shot = self.battles.cooldown[n:] > s.cooldown[n:] + SHOT_RISE_LOOPS
        self._last_shot = torch.where(shot, step, self._last_shot)
        return self.battles

    def most_common(self) -> BattleState:
        """[N, B]: per episode, a copy with the most common health of the allies."""
        health = (self.battles.health[: self.params.n_allies] * HEALTH_GRID).round().long()
        key, order = _fingerprint(health).view(-1, self.n_particles).sort(dim=1, stable=True)  # [B, P]
        group = torch.zeros_like(key)
        group[:, 1:] = (key[:, 1:] != key[:, :-1]).cumsum(1)
        size = torch.zeros_like(key).scatter_add_(1, group, torch.ones_like(key))
        first = size.gather(1, group).argmax(1, keepdim=True)
        column = (order.gather(1, first) + self._first_columns(len(key))).squeeze(1)
        return self.battles.columns(column)

    def learn(self, recorded: BattleState) -> None:
        """Resample the copies by their agreement with the recorded states [N, B] after the step."""
        p = self.n_particles
        wrong, places = self._disagreement(recorded)
        weight = (wrong * math.log(MISS) + places).view(-1, p).double().softmax(1)
        bounds = weight.cumsum(1)
        start = torch.rand(len(weight), 1, generator=self._generator, dtype=torch.float64, device=self.device)
        # Evenly spaced, with one random shift: fewer copies are lost by chance.
        points = (torch.arange(p, device=self.device) + start) / p
        drawn = torch.searchsorted(bounds, points).clamp(max=p - 1)  # [B, P]
        column = (drawn + self._first_columns(len(drawn))).flatten()
        self.battles, self._last_shot = self.battles.columns(column), self._last_shot[:, column]
        lost = (wrong > 0).view(-1, p).all(1).repeat_interleave(p)
        self._exchange()
        self._doubt(lost)

    def drop_after(self, n_episodes: int) -> None:
        """Keep the first episodes only (the others are over)."""
        columns = torch.arange(n_episodes * self.n_particles, device=self.device)
        self.battles, self._last_shot = self.battles.columns(columns), self._last_shot[:, columns]

    def _disagreement(self, recorded: BattleState) -> tuple[Tensor, Tensor]:
        """Number of allies with wrong health, and the log weight of the enemies' places; [B x P] each.

        An enemy d map units from its recorded place adds log(exp(-d / POSITION_SCALE) + SAME_PLACE_WEIGHT
        exp(-d / SAME_PLACE_SCALE)); an enemy that is dead in either adds 0, as if it were 0.034 units off.
        """
        n, known, s = self.params.n_allies, self._copies(recorded), self.battles
        wrong = (s.health[:n] != known.health[:n]).sum(0)
        offset = torch.hypot(s.x - known.x, s.y - known.y).clamp(max=LARGEST_OFFSET)
        near, same = torch.exp(-offset / POSITION_SCALE), torch.exp(-offset / SAME_PLACE_SCALE)
        places = torch.log(near + SAME_PLACE_WEIGHT * same)
        return wrong, torch.where(s.alive & known.alive, places, 0.0)[n:].sum(0)

    def _exchange(self) -> None:
        """Permute each enemy's cooldown among the copies with equal histories (last shots and targets).

        Given that history, the cooldowns of different enemies are nearly independent (approximately:
        earlier shots are left out), so a mixture is about as likely as the copies that it comes from.
        """
        s, n, p = self.battles, self.params.n_allies, self.n_particles
        story = _fingerprint(torch.cat([self._last_shot, s.target[n:]])).view(-1, p)  # [B, P]
        base = self._first_columns(len(story))
        home = (story.argsort(dim=1, stable=True) + base).flatten()
        cooldown = s.cooldown.clone()
        for row in range(n, self.params.n_units):
            shuffled = self._draw(story.shape).argsort(1)
            by_story = story.gather(1, shuffled).argsort(dim=1, stable=True)
            source = (shuffled.gather(1, by_story) + base).flatten()
            cooldown[row, home] = s.cooldown[row, source]
        s.cooldown = cooldown

    def _doubt(self, lost: Tensor) -> None:
        """Redraw hidden variables: in many copies where none had the right health (lost [B x P] bool), else
        in a few. Cooldowns that are not redrawn are blurred; targets are redrawn among visible allies.
        Backswing, `walked` and `not_shot_at` stay as they are (redrawing the backswing with the cooldowns
        does not raise the likelihood).
        """
        s, n = self.battles, self.params.n_allies
        hidden, aimed = s.cooldown[n:], s.target[n:]
        where = lost | (self._draw(lost.shape) < DOUBT)
        changed = where & (self._draw(hidden.shape) < REDRAWN_SHARE)
        drawn = self._draw(hidden.shape) * self.params.period[n:]
        shift = (2 * self._draw(hidden.shape) - 1) * COOLDOWN_BLUR_LOOPS
        blurred = torch.where(hidden > 1.0, hidden + shift, hidden)  # ready weapons stay ready
        s.cooldown = torch.cat([s.cooldown[:n], torch.where(changed, drawn, blurred)])
        dx, dy = (p[:n].unsqueeze(1) - p[n:].unsqueeze(0) for p in (s.x, s.y))
        seen = (torch.hypot(dx, dy) <= self.params.notice) & s.alive[:n].unsqueeze(1)
        chance, somebody = torch.where(seen, self._draw(seen.shape), -1.0).max(0)  # [E, B x P]
        redrawn = self._draw(aimed.shape) < torch.where(lost, REDRAWN_SHARE, TARGET_DOUBT)
        redrawn &= (chance >= 0) & (aimed >= 0)
        s.target = torch.cat([s.target[:n], torch.where(redrawn, somebody, aimed)])
        again = self._draw(aimed.shape) < torch.where(lost, REDRAWN_SHARE, LOOK_DOUBT)
        looks = (self._draw(aimed.shape) * LOOPS_PER_STEP).long()
        s.look_loop = torch.where(again, looks, s.look_loop)

    def _draw(self, shape: torch.Size) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self.device)

    def _first_columns(self, n_episodes: int) -> Tensor:
        """[B, 1] int64: the column of every episode's first copy."""
        return torch.arange(n_episodes, device=self.device).unsqueeze(1) * self.n_particles

    def _copies(self, battles: BattleState) -> BattleState:
        return BattleState(**{k: self._repeat(v) for k, v in battles.tensors().items()})

    def _repeat(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.n_particles, dim=-1)


def _fingerprint(rows: Tensor) -> Tensor:
    """[C] int64: a hash of each column of rows [M, C] int64."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randint(-(2**62), 2**62, (len(rows), 1), generator=generator).to(rows.device)
    return (rows * factor).sum(0)  # wraps around
