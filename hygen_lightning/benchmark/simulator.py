"""Environment steps per second of the embedded simulator, beside JaxMARL's SMAX if asked for."""

from __future__ import annotations

import json as json_format
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from hygen_lightning.benchmark.timing import check_above_zero, set_threads, timed
from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.commands.this_machine import check_compiler, check_device
from hygen_lightning.data.files import check_picture
from hygen_lightning.specs import UserError

DEFAULT_MAPS = ["3m", "5m_vs_6m", "10m_vs_11m"]
GROWING_MAPS = ["3m", "5m", "10m", "13m_vs_15m", "25m", "27m_vs_30m"]
LARGER_BATTLES = [(40, 44), (60, 66)]
"""Marines on both sides of battles beyond SMAC's largest, for --growth."""
UNITS_PER_BATCH, PAIRS_PER_BATCH = 64_000, 1_000_000
"""Most units, and pairs of units, in a batch that keeps two CPU cores busy and their caches not too
full; they set the batch where none is given (measured: 2 256 battles of 21 units at once make 8 to 12 %
more steps per second than 1 120, two pairs of runs)."""
LANES = 16
"""Batches are multiples of this, so that rows of battles begin where vector instructions load."""
SMAX_BATCHES = ["1024", "4096", "16384"]
SMAX_TIMEOUT_S = 1800
STEPS_PER_READING = 8
"""Environment steps between two looks at the clock."""


def simulator(
    map: list[str] | str | None = None,
    batch: int | None = None,
    seconds: float = 5.0,
    compiled: bool = True,
    device: str = "cpu",
    threads: int | None = None,
    against: Literal["smax"] | None = None,
    smax_python: Path = Path(sys.executable),
    growth: bool = False,
    plot: Path | None = None,
    json: bool = False,
) -> int:
    """Time battles with random available actions; battles that are over start anew.

    With --against smax, SMAX plays the same maps on
    the same machine right after, with its best of three batch sizes; there both sides act at random,
    here the enemies fight.

    Args:
        map: maps to play (if not given, 3m, 5m_vs_6m and 10m_vs_11m; not with --growth)
        batch: battles at once (if not given, fewer the more units a map has)
        seconds: measured time per map, without compiling
        compiled: whether torch.compile fuses the operations
        device: device of the battles
        threads: CPU threads of torch (as many as it takes, if not given)
        against: smax also measures JaxMARL's SMAX
        smax_python: interpreter that has jaxmarl (its own environment)
        growth: whether to play Marines from 3m to 27m_vs_30m, and 40 against 44 and 60 against 66
        plot: PNG file to draw steps per second against the number of units to
        json: one JSON object on stdout, instead of a table
    """
    check_above_zero(seconds=seconds, batch=batch, threads=threads)
    settings = {"compiled": compiled, "device": device, "threads": set_threads(threads)}
    _check_ways(map, against, growth, plot)
    check_device(device)
    tasks = _tasks(map, growth)
    if compiled:
        check_compiler(device)
    found: dict[str, Any] = {}
    for task in tasks:
        units = task.n_allies + task.n_enemies
        size = batch or _usual_batch(units)
        speed = measure(task, size, seconds, compiled, device)
        found[task.name] = {"env_steps_per_s": speed, "batch": size, "units": units}
        if against == "smax":
            smax = {f"smax_{k}": v for k, v in _smax(task.name, seconds, smax_python).items()}
            found[task.name] |= {**smax, "ratio": speed / smax["smax_env_steps_per_s"]}
    if plot is not None:
        from hygen_lightning.report.scaling_plot import draw_speeds

        draw_speeds(found, plot)
    if json:
        print_json({**settings, "maps": found})
    else:
        _print(found)
    return 0


def _check_ways(map: list[str] | str | None, against: str | None, growth: bool, plot: Path | None) -> None:
    """UserError where options exclude one another."""
    if growth and against is not None:
        raise UserError("--growth plays battles that SMAX does not have; leave --against out")
    if growth and map is not None:
        raise UserError("--growth chooses the maps; leave --map out")
    if plot is not None:
        check_picture(plot)


def _tasks(map: list[str] | str | None, growth: bool) -> list[Any]:
    """The tasks to play."""
    from hygen_lightning.tasks import load_task, make_battle

    if growth:
        larger = [make_battle(f"{a}m_vs_{e}m", {"marine": a}, {"marine": e}) for a, e in LARGER_BATTLES]
        return [*(load_task(name) for name in GROWING_MAPS), *larger]
    return [load_task(name) for name in ([map] if isinstance(map, str) else map or DEFAULT_MAPS)]


def _usual_batch(units: int) -> int:
    """Battles at once, where the user does not say."""
    battles = min(UNITS_PER_BATCH // units, PAIRS_PER_BATCH // units**2)
    return max(battles // LANES, 2) * LANES


def measure(task: Any, batch: int, seconds: float, compiled: bool, device: str) -> float:
    """Environment steps per second; the first ones, which compile and fill caches, do not count."""
    import torch

    from hygen_lightning.envs.simulator.env import SimulatorEnv

    torch.compiler.reset()
    env = SimulatorEnv(task, batch, device=device, compiled=compiled)
    generator = torch.Generator(device=device).manual_seed(0)
    seeds = torch.arange(batch, device=device)
    observation, counted = env.reset(seeds), 0

    def some_steps() -> None:
        nonlocal observation, seeds, counted
        for _ in range(STEPS_PER_READING):
            draws = torch.rand(observation.avail_actions.shape, generator=generator, device=device)
            counted += batch
            seeds = seeds + batch
            observation = env.step((draws * observation.avail_actions).argmax(2), seeds).observation

    some_steps()
    counted, spent = 0, 0.0
    while spent < seconds:
        spent += timed(some_steps, device)
    return counted / spent


def _smax(name: str, seconds: float, python: Path) -> dict[str, Any]:
    """SMAX's speed on a map, measured by another interpreter; UserError if that fails."""
    script = Path(__file__).with_name("smax_speed.py")
    command = [str(python), "-I", str(script), name, str(seconds), *SMAX_BATCHES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMAX_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise UserError(
            f"SMAX did not run on {name} with {python} ({lines[-1] if lines else 'no message'}); "
            "install jaxmarl in an environment of its own and give its interpreter: --smax_python PATH"
        ) from error
    return dict(json_format.loads(done.stdout.strip().splitlines()[-1]))


def _print(found: dict[str, Any]) -> None:
    columns = ["units", "env_steps_per_s", "batch", "smax_env_steps_per_s", "ratio"]
    shown = [c for c in columns if any(c in row for row in found.values())]
    rows = [
        [name, *(f"{row[c]:,.2f}" if c == "ratio" else f"{row[c]:,.0f}" for c in shown)]
        for name, row in found.items()
    ]
    print_table("Environment steps per second, random available actions", ["map", *shown], rows)
