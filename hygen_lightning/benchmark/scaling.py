"""How seconds and memory grow with agents, batch and episode length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hygen_lightning.benchmark.simulator import measure
from hygen_lightning.benchmark.timing import check_above_zero, set_threads
from hygen_lightning.benchmark.update import check_timesteps, draw_episodes, peak_mb, time_stage
from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.data.files import check_picture
from hygen_lightning.tasks import load_task

MAPS = ("3m", "5m", "8m", "13m_vs_15m", "25m", "27m_vs_30m")
"""Tasks with growing numbers of agents."""
BASE_MAP, BASE_BATCH, BASE_TIMESTEPS = "5m", 16, 30
"""What stays while another size grows."""
BATCHES = (8, 16, 32, 64)
TIMESTEPS = (15, 30, 60, 120)
ENV_BATCH = 256


def scaling(
    maps: list[str] | None = None,
    batches: list[int] | None = None,
    timesteps: list[int] | None = None,
    repeats: int = 3,
    seconds: float = 2.0,
    memory: bool = True,
    threads: int | None = None,
    plot: Path | None = None,
    json: bool = False,
) -> int:
    """Time updates of both stages and environment steps while one size grows, the others stay.

    Episodes are made up, of full length, with every enemy in sight: the worst case. `growth` is
    the slope between the first and the last row on logarithmic axes: 1 is linear, 2 quadratic.

    Args:
        maps: tasks with growing numbers of agents (if not given, 3m to 27m_vs_30m)
        batches: episodes per update (if not given, 8 to 64)
        timesteps: stored time steps per episode (if not given, 15 to 120)
        repeats: timed updates; their median counts
        seconds: measured time per map of the environment, not compiled
        memory: also measure the peak memory of an update
        threads: CPU threads (if not given, as many as torch takes)
        plot: PNG file to draw the table to
        json: one JSON object on stdout, instead of a table
    """
    batches, timesteps = sorted(batches or BATCHES), sorted(timesteps or TIMESTEPS)
    check_above_zero(repeats=repeats, seconds=seconds, threads=threads, batches=batches[0])
    check_timesteps(timesteps[0])
    if plot is not None:
        check_picture(plot)
    threads = set_threads(threads)
    base = {"map": BASE_MAP, "batch": BASE_BATCH, "timesteps": BASE_TIMESTEPS}
    names = sorted(maps or MAPS, key=lambda name: load_task(name).n_allies)
    found: dict[str, Any] = {
        "agents": [_measured({**base, "map": name}, repeats, memory, seconds) for name in names],
        "batch": [_measured({**base, "batch": n}, repeats, memory) for n in batches],
        "timesteps": [_measured({**base, "timesteps": n}, repeats, memory) for n in timesteps],
    }
    found = {size: {"rows": rows, "growth": growth(size, rows)} for size, rows in found.items()}
    if plot is not None:
        from hygen_lightning.report.scaling_plot import draw_scaling

        draw_scaling(found, plot)
    if json:
        print_json({"threads": threads, **found})
    else:
        _print(found)
    return 0


def _measured(
    setting: dict[str, Any], repeats: int, memory: bool, env_seconds: float | None = None
) -> dict[str, Any]:
    """Seconds and peak 10^6 bytes of an update of each stage at one size, and, if so many seconds are
    given to it, seconds of an environment step."""
    task = load_task(setting["map"])
    episodes = draw_episodes(task, setting["batch"], setting["timesteps"], None, "medium", seed=1)
    row = {"agents": task.n_allies, **setting}
    for stage in ("pretrain", "policy"):
        row[f"{stage}_s"] = time_stage(task, episodes, stage, ["fast"], repeats)["fast_s"]
        if memory:
            row[f"{stage}_peak_mb"] = peak_mb(task, episodes, stage, "fast")
    if env_seconds is not None:
        row["env_step_s"] = 1 / measure(task, ENV_BATCH, env_seconds, compiled=False, device="cpu")
    return row


def growth(size: str, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Slope on logarithmic axes between the first and the last row, for each measured quantity."""
    first, last = rows[0], rows[-1]
    if first[size] == last[size]:
        return {}
    span = math.log(last[size] / first[size])
    measured = [name for name in _measures(first) if first[name] > 0 and last[name] > 0]
    return {name: math.log(last[name] / first[name]) / span for name in measured}


def _measures(row: dict[str, Any]) -> list[str]:
    """Names of what was measured, by the units at their ends."""
    return [name for name in row if name.endswith(("_s", "_mb"))]


def _print(found: dict[str, Any]) -> None:
    for size, table in found.items():
        heads = ["map", "agents"] if size == "agents" else [size]
        columns = _measures(table["rows"][0])
        rows = [
            [*(row[head] for head in heads), *(f"{row[column]:.3g}" for column in columns)]
            for row in table["rows"]
        ]
        slopes = [f"{table['growth'].get(column, math.nan):.2f}" for column in columns]
        rows.append(["growth", *[""] * (len(heads) - 1), *slopes])
        print_table(f"Growth with {size}", [*heads, *columns], rows)
