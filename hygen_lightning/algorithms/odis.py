"""ODIS (Zhang et al. 2023): skills from recordings, and values of skills from recordings too."""

from __future__ import annotations

from typing import Any

from hygen_lightning.algorithms.base import LRSchedule
from hygen_lightning.algorithms.hygen import HyGen
from hygen_lightning.models.mixers import MixerKind
from hygen_lightning.models.trajectory_encoder import TrajectoryEncoder
from hygen_lightning.specs import EntityWidths


class ODIS(HyGen):
    """HyGen's predecessor (Zhang et al. 2023, github.com/LAMDA-RL/ODIS): its numbers, and no battles.

    Beside its defaults it differs from HyGen in the state encoder, one narrow head over the entities of
    a time step, and in the weight of the conservative term, which is always 1 times alpha. conf/odis.yaml
    plays no battles to learn from.

    Args:
        widths: entity features of the task family; follows from the tasks
        n_skills: skills that the policy chooses among
        width: embedding width of every token
        n_heads: attention heads of observation encoder and decoder, each of the embedding width
        depth: transformer blocks in observation encoder and action decoder
        id_bits: bits of the binary agent number; 4 bits number 15 agents, 0 leaves numbers out
        mixer: how the team's value follows from the agents': attention over the state, or their sum
        pretrain_steps: optimiser steps of stage one
        lr: learning rate of Adam in both stages
        lr_schedule: constant, or linear or a cosine that falls to 2 % of it over each stage
        ema_decay: decay per optimiser step of the mean of the weights, which plays; 0: none
        beta: weight of the skill prior (KL to uniform) in stage one
        gamma: discount per environment step
        alpha: factor of the conservative term
        phi: factor of the skill distillation
        target_update_interval: optimiser steps between two copies into the target networks
        compile: run the transformer blocks through torch.compile
    """

    def __init__(
        self,
        widths: EntityWidths | dict[str, Any],
        n_skills: int = 3,
        width: int = 64,
        n_heads: int = 1,
        depth: int = 1,
        id_bits: int = 4,
        mixer: MixerKind = "attention",
        pretrain_steps: int = 5000,
        lr: float = 5e-4,
        lr_schedule: LRSchedule = "constant",
        ema_decay: float = 0.0,
        beta: float = 1e-3,
        gamma: float = 0.99,
        alpha: float = 5.0,
        phi: float = 5.0,
        target_update_interval: int = 27,
        compile: bool = False,
    ) -> None:
        super().__init__(
            widths,
            n_skills=n_skills,
            width=width,
            n_heads=n_heads,
            depth=depth,
            id_bits=id_bits,
            mixer=mixer,
            pretrain_steps=pretrain_steps,
            lr=lr,
            lr_schedule=lr_schedule,
            ema_decay=ema_decay,
            beta=beta,
            gamma=gamma,
            conservative="constant",
            alpha=alpha,
            phi=phi,
            target_update_interval=target_update_interval,
            compile=compile,
        )
        self.network.trajectory_encoder = TrajectoryEncoder(self.widths, width, attention="single_head")
        self.keep_average()
