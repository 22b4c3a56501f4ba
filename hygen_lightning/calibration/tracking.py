"""What a recording hides, estimated from the past of each episode: a particle filter.

Recorded states hold neither the targets, cooldowns and backswing of the enemies, nor when they look
around, nor the fraction of a loop by which a weapon was ready early. Every episode is followed by P
simulated copies ("particles") that share all that is recorded and differ in what is hidden. After each
step the copies that agree with the recorded health and positions are kept and multiplied, and exchange
what is known apart.
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
"""Map units: an enemy that is off by so much makes a copy count 1 / e (but see SAME_PLACE_SCALE; assumed)."""
SAME_PLACE_SCALE, SAME_PLACE_WEIGHT = 0.01, 3.0
"""Map units within which an enemy is where it was recorded, so that the loops in which it walked are known;
and how much that counts, beside 1 for the wider scale. (Likelihood of the next recorded health, on every
third episode: higher so than by one scale of 0.15; 0.02 and 0.04, or a weight of 1 or 10, are no better.)"""
LARGEST_OFFSET = 0.5
"""Map units beyond which an enemy that is off counts no less."""
MISS = 1e-3
"""Weight of a copy per ally whose health it gets wrong. It matters little: on every sixth episode, the
share of exact health was 0.780 at 0.001, 0.01 and 0.03 alike with simulator version 3 (mean of three
seeds, which differ by 0.003), 0.818 and 0.817 at 0.001 and 0.0001 with version 4 (one seed)."""
DOUBT = 0.01
"""Share of copies in which hidden cooldowns are drawn anew after every step (halved and doubled,
together with TARGET_DOUBT: no difference that seeds do not make)."""
TARGET_DOUBT = 0.02
"""Share of the enemies' targets drawn anew after every step (likelihood of the next recorded health, on
every sixth episode: higher at 0.02 than at 0.04)."""
LOOK_DOUBT = 0.05
"""Share of the loops in which enemies look around drawn anew after every step (likelihood higher at 0.05
than at 0.1)."""
REDRAWN_SHARE = 0.5
"""In the copies of an episode that none followed, share of what is hidden drawn anew;
in the copies of `DOUBT`, of the cooldowns."""
COOLDOWN_BLUR_LOOPS = 0.5
"""Hidden cooldowns are shifted by up to this much after every step, so that no two copies stay alike."""
SHOT_RISE_LOOPS = 3.0
"""A cooldown that is higher by more than this after a step tells of a shot: a new target or walking
raises it by at most two loops. Weapons with a period below eleven loops may shoot unseen."""


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
        """start [B, state_dim]: the first recorded states, on the device that is to compute."""
        self.params, self.terrain, self.n_particles = params, terrain, n_particles
        self._dynamics = dynamics or Dynamics.plain()
        self.device = start.device
        self._generator = torch.Generator(self.device).manual_seed(seed)
        first = battle_state(params, start)
        n = params.n_allies
        first.goal_x, first.goal_y = attack_move_goals(params.task, first.x[n:], first.y[n:])
        self.battles = self._copies(first)
        self._last_shot = torch.full_like(self.battles.target[n:], -1)  # step of every enemy's, [E, B x P]
        # With more than a million copies, some get the seeds of the next tracker's, which harms nobody.
        self._seeds = torch.arange(self.battles.seed.shape[0], device=self.device) + seed * 1_000_003

    def predict(self, recorded: BattleState, actions: Tensor, step: int) -> BattleState:
        """Every copy one step later, [N, B x P], from the recorded states. actions [A, B] int64."""
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
        """[N, B]: per episode a copy with the most common health of the allies."""
        health = (self.battles.health[: self.params.n_allies] * HEALTH_GRID).round().long()
        key, order = _fingerprint(health).view(-1, self.n_particles).sort(dim=1, stable=True)  # [B, P]
        group = torch.zeros_like(key)
        group[:, 1:] = (key[:, 1:] != key[:, :-1]).cumsum(1)
        size = torch.zeros_like(key).scatter_add_(1, group, torch.ones_like(key))
        first = size.gather(1, group).argmax(1, keepdim=True)
        column = (order.gather(1, first) + self._first_columns(len(key))).squeeze(1)
        return self.battles.columns(column)

    def learn(self, recorded: BattleState) -> None:
        """Keep the copies that agree with the states [N, B] that were recorded after the step."""
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
        """Follow the first episodes only (the others are over)."""
        columns = torch.arange(n_episodes * self.n_particles, device=self.device)
        self.battles, self._last_shot = self.battles.columns(columns), self._last_shot[:, columns]

    def _disagreement(self, recorded: BattleState) -> tuple[Tensor, Tensor]:
        """How many allies' health is wrong, and how likely the enemies' places are, as logs; [B x P].

        Each enemy adds log(exp(-d / POSITION_SCALE) + SAME_PLACE_WEIGHT exp(-d / SAME_PLACE_SCALE)) at d map
        units from its recorded place; one that is dead, there or here, adds 0, like one 0.034 units off.
        """
        n, known, s = self.params.n_allies, self._copies(recorded), self.battles
        wrong = (s.health[:n] != known.health[:n]).sum(0)
        offset = torch.hypot(s.x - known.x, s.y - known.y).clamp(max=LARGEST_OFFSET)
        near, same = torch.exp(-offset / POSITION_SCALE), torch.exp(-offset / SAME_PLACE_SCALE)
        places = torch.log(near + SAME_PLACE_WEIGHT * same)
        return wrong, torch.where(s.alive & known.alive, places, 0.0)[n:].sum(0)

    def _exchange(self) -> None:
        """Copies with one story (who shot last in which step, at whom) exchange enemies' cooldowns.

        Given the story, what the recording says about one enemy's weapon says little about
        another's, so a mixture is about as likely as the copies it comes from. That holds only
        approximately, for a story leaves out all shots but the last ones, which tie the enemies
        together too. Row by row, the copies of a story are put in a random order and take each
        other's places.
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
        """Draw what is hidden anew where no copy agreed (`lost` [B x P]); elsewhere the cooldowns of a few
        copies, blurring the rest, a few targets (who is noticed, not who is followed further) and looks. The
        backswing, who walked, and whether a target was shot at, are left as they are (simpler; exchanged with
        the cooldowns, the backswing makes recorded health no likelier).
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
    """[C] int64: a number per column of rows [M, C] int64, the same for equal columns only (nearly)."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randint(-(2**62), 2**62, (len(rows), 1), generator=generator).to(rows.device)
    return (rows * factor).sum(0)  # wraps around
