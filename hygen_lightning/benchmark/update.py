"""Seconds per update: the networks as they are, against the same networks computed by definition."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hygen_lightning.benchmark.timing import check_above_zero, peak_bytes, set_threads, timed
from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.commands.this_machine import check_device
from hygen_lightning.specs import TaskSpec, UserError
from hygen_lightning.tasks import load_task

if TYPE_CHECKING:
    from torch import Tensor

    from hygen_lightning.algorithms.hygen import HyGen
    from hygen_lightning.models.agents import AgentKind
    from hygen_lightning.specs import Episodes

OFFLINE_SHARE = 0.5
"""The share that weighs the conservative term; it has no influence on speed."""


def update(
    map: str = "9m_vs_10m",
    agent: Literal["transformer", "pooled"] = "transformer",
    batch: int = 32,
    timesteps: int = 45,
    against: Literal["plain"] | None = None,
    recordings: Path | None = None,
    quality: str = "medium",
    device: str = "cpu",
    threads: int | None = None,
    repeats: int = 5,
    memory: bool = False,
    seed: int = 1,
    json: bool = False,
) -> int:
    """Time one update of each stage: losses, gradients and Adam, for one task's batch.

    Args:
        map: the task
        agent: networks of observation encoder and decoder
        batch: episodes per update
        timesteps: stored time steps of the longest episode
        against: plain also times the same networks by definition (every time step, token and
            projection by itself, as the published code computes), in turn with the fast path
        recordings: folder of recorded episodes. Of a map recorded there real episodes are taken,
            which bring their own time steps; other maps get made-up episodes with the lengths of
            the recorded ones, the longest scaled to timesteps. Not given: made-up episodes of
            full length in which every enemy is seen, the worst case
        quality: quality of the recordings
        device: device of networks and episodes
        threads: CPU threads (if not given, as many as torch takes)
        repeats: timed updates of each stage and path; their median counts
        memory: also measure the peak memory of an update of each stage and path
        seed: seed of weights and episodes
        json: one JSON object on stdout, instead of a table
    """
    import torch

    check_above_zero(batch=batch, repeats=repeats, threads=threads)
    check_timesteps(timesteps)
    check_device(device)
    threads = set_threads(threads)
    torch.manual_seed(seed)
    task = load_task(map)
    episodes = draw_episodes(task, batch, timesteps, recordings, quality, seed).to(device)
    found: dict[str, Any] = {
        "map": map,
        "agent": agent,
        "batch": batch,
        "timesteps": episodes.n_steps,
        "mean_length": round(float(episodes.length.float().mean()), 2),
        "device": device,
        "threads": threads,
    }
    paths = ["fast", "plain"] if against == "plain" else ["fast"]
    for stage in ("pretrain", "policy"):
        found[stage] = time_stage(task, episodes, stage, paths, repeats, agent)
        if memory:
            found[stage] |= {f"{p}_peak_mb": peak_mb(task, episodes, stage, p, device, agent) for p in paths}
    (print_json if json else _print)(found)
    return 0


def check_timesteps(timesteps: int) -> None:
    """UserError if an episode cannot have so few time steps."""
    if timesteps < 2:
        raise UserError(f"--timesteps is {timesteps}; an episode has at least 2, the first with a reward")


def draw_episodes(
    task: TaskSpec, batch: int, timesteps: int, recordings: Path | None, quality: str, seed: int
) -> Episodes:
    """B episodes to learn from, as `update` describes them."""
    import torch

    if recordings is None:
        return made_up_episodes(task, torch.full((batch,), timesteps), seed)
    from hygen_lightning.data.buffers import load_offline

    draw = torch.Generator().manual_seed(seed)
    if (recordings / task.name / quality).is_dir():
        return load_offline(recordings, task, quality).sample(batch, draw)
    recorded = sorted(folder.parent.name for folder in recordings.glob(f"*/{quality}"))
    battles = [name for name in recorded if type(load_task(name)) is type(task)]
    if not battles:
        raise UserError(f"no recordings of tasks like {task.name} at {recordings}/<task>/{quality}")
    lengths = load_offline(recordings, load_task(battles[0]), quality).sample(batch, draw).length
    return made_up_episodes(task, (lengths * timesteps / lengths.max()).round().long().clamp(min=2), seed)


def made_up_episodes(task: TaskSpec, lengths: Tensor, seed: int) -> Episodes:
    """Random numbers for episodes of these lengths [B] in stored steps; every enemy is seen."""
    import torch

    from hygen_lightning.specs import Episodes

    draw = torch.Generator().manual_seed(seed)
    layout, n_steps = task.layout, int(lengths.max())
    shape = (len(lengths), n_steps)
    steps = torch.arange(n_steps)
    agents = (*shape, layout.n_allies)
    return Episodes(
        task=task,
        obs=torch.rand(*agents, layout.obs_dim, generator=draw),
        state=torch.rand(*shape, layout.state_dim, generator=draw),
        actions=torch.randint(layout.n_actions, agents, generator=draw),
        avail_actions=torch.ones(*agents, layout.n_actions, dtype=torch.bool),
        reward=torch.rand(shape, generator=draw),
        terminated=steps == lengths[:, None] - 2,
        truncated=torch.zeros(shape, dtype=torch.bool),
        filled=steps < lengths[:, None],
    )


def time_stage(
    task: TaskSpec,
    episodes: Episodes,
    stage: str,
    paths: list[str],
    repeats: int,
    agent: AgentKind = "transformer",
) -> dict[str, float]:
    """Median seconds of one update for each path, taken in turn, and their ratio; on the episodes' device."""
    device = str(episodes.obs.device)
    models = {path: make_model(task, agent).to(device) for path in paths}
    updates = {path: make_update(models[path], episodes, stage, path) for path in paths}
    rounds = [{path: timed(run, device) for path, run in updates.items()} for _ in range(repeats + 1)]
    found = {f"{path}_s": statistics.median(row[path] for row in rounds[1:]) for path in paths}
    if "plain_s" in found:
        found["ratio"] = found["plain_s"] / found["fast_s"]
    return found


def make_model(task: TaskSpec, agent: AgentKind = "transformer") -> HyGen:
    """HyGen of default sizes, with the id bits that the task's agents need."""
    from hygen_lightning.algorithms.hygen import HyGen

    return HyGen(task.layout.widths, id_bits=max(4, task.n_allies.bit_length()), agent=agent)


def make_update(model: HyGen, episodes: Episodes, stage: str, path: str) -> Callable[[], None]:
    """One update of the model, to be called any number of times: loss, gradients, clipping, Adam."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=model.lr)

    def run() -> None:
        optimizer.zero_grad()
        loss_of(model, episodes, stage, path).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return run


def loss_of(model: HyGen, episodes: Episodes, stage: str, path: str) -> Tensor:
    """The loss of a stage as training computes it (fast), or by the definition of the networks (plain)."""
    from hygen_lightning.models import fast

    with fast.by_definition() if path == "plain" else nullcontext():
        if stage == "pretrain":
            return model.skill_loss(episodes)[0]
        return model.policy_loss(episodes, OFFLINE_SHARE)[0]


def peak_mb(
    task: TaskSpec,
    episodes: Episodes,
    stage: str,
    path: str,
    device: str = "cpu",
    agent: AgentKind = "transformer",
) -> float:
    """Memory in 10^6 bytes that two updates need beyond what stood before, in a process of its own.

    Of the process or, on a GPU, of the tensors there.
    """
    import torch.multiprocessing as processes

    with processes.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown_mb, (task, episodes.to("cpu"), stage, path, device, agent))


def _grown_mb(
    task: TaskSpec, episodes: Episodes, stage: str, path: str, device: str, agent: AgentKind
) -> float:
    model = make_model(task, agent).to(device)
    smallest = made_up_episodes(task, episodes.length[:1].clamp(max=2), seed=0).to(device)
    make_update(model, smallest, stage, path)()  # what libraries load on first use is not the update's
    before = peak_bytes(device)
    run = make_update(model, episodes.to(device), stage, path)
    run()
    run()
    return round((peak_bytes(device) - before) / 1e6, 1)


def _print(found: dict[str, Any]) -> None:
    title = (
        f"One update, {found['map']}, {found['agent']} agents, {found['batch']} episodes of "
        f"{found['mean_length']} time steps (longest {found['timesteps']}), {found['device']}, "
        f"{found['threads']} threads"
    )
    columns = list(found["policy"])
    rows = [[stage, *(f"{found[stage][name]:.3g}" for name in columns)] for stage in ("pretrain", "policy")]
    print_table(title, ["stage", *columns], rows)
