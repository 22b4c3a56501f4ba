"""Measure speed side by side: simulator, update, whole run, scaling, processes."""

from __future__ import annotations

from hygen_lightning.benchmark.ddp import ddp
from hygen_lightning.benchmark.run import run
from hygen_lightning.benchmark.scaling import scaling
from hygen_lightning.benchmark.simulator import simulator
from hygen_lightning.benchmark.update import update

COMMAND = {"ddp": ddp, "run": run, "scaling": scaling, "simulator": simulator, "update": update}
