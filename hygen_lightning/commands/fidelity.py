"""How faithful the simulator is: to recorded StarCraft II battles, and to policies trained there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hygen_lightning.commands.output import print_json, print_table, progress
from hygen_lightning.specs import UserError

TARGETS = {
    "observation_max_error": "<= 1e-5",
    "availability_mismatches": "0",
    "reward_max_error": "<= 1e-5",
    "ally_position_error.median": "<= 0.02",
    "ally_position_error.p90": "<= 0.15",
    "enemy_position_error.median": "<= 0.05",
    "enemy_position_error.p90": "<= 0.3",
    "ally_health_exact_share": ">= 0.85",
    "enemy_health_exact_share": ">= 0.95",
}
"""Measure -> target of the project."""
COMPILED_FROM = 2**16
"""Total number of copies from which compiling pays: they take half a minute without it."""


def fidelity(
    recordings: Path = Path("../shared/dataset"),
    task: str = "3m",
    episodes: int | None = None,
    particles: int = 4096,
    seed: int = 1,
    ceiling: bool = False,
    device: str = "cpu",
    compiled: bool | None = None,
    policies: Path | None = None,
    battles: int | None = None,
    reference: Path | None = None,
    json: bool = False,
) -> int:
    """Compare the simulator with recordings of StarCraft II, or with what policies trained there win.

    Recordings: every recorded transition beside one simulated step from the same state. Prints the
    largest error of observations, available actions and rewards from recorded states; the error of
    positions and the share of exact health after one simulated step; and length and outcome of battles
    in which the recorded actions are replayed from the start.
    Policies: their win rates in the simulator, and the difference from a table of those in StarCraft II.

    Args:
        recordings: a recorded file, or a folder of them
        task: the recorded map; other maps below the folder are ignored
        episodes: number of episodes, evenly spaced over all of them (all if not given)
        particles: simulated copies per episode that estimate the enemies' hidden cooldowns and targets;
            doubling them doubles the time and adds about 0.1 points to the exact health of allies
        seed: seed of all random numbers of the simulator
        ceiling: follow as many battles of the simulator itself as well, where it is exactly right: how
            much exact health the estimate of what recordings hide leaves in reach; doubles the time
        device: where the copies are stepped, cpu or cuda
        compiled: whether torch.compile fuses the steps of the copies: ten times faster, after up to 40
            seconds of compiling; results differ in rounding (if not given: on a CPU with a compiler, from
            2 ** 16 copies, episodes times particles)
        policies: a folder of agents of PyMARL, <algorithm>/<map>/rnn_net_params.pkl or other state dicts
            in a folder named after the map: play these instead of following recordings
        battles: greedy battles per policy (if not given: 128)
        reference: what the policies win in StarCraft II, a CSV or JSON table of policy, map, win_percent
        json: one JSON object on stdout, instead of a table
    """
    if policies is not None:
        _refuse_with_policies(episodes=episodes, ceiling=ceiling, compiled=compiled, device=device != "cpu")
        played = _played(policies, 128 if battles is None else battles, reference, seed)
        print_json(played) if json else _print_policies(played)
        return 0
    if battles is not None or reference is not None:
        raise UserError("--battles and --reference are about --policies; give --policies DIR too")
    report = _followed(recordings, task, episodes, particles, seed, ceiling, device, compiled)
    print_json(report) if json else _print(report)
    return 0


def _followed(
    recordings: Path,
    task: str,
    episodes: int | None,
    particles: int,
    seed: int,
    ceiling: bool,
    device: str,
    compiled: bool | None,
) -> dict[str, Any]:
    """What the comparison with recordings measures; the arguments are those of `fidelity`."""
    import torch

    from hygen_lightning.calibration.fidelity import fidelity_report
    from hygen_lightning.calibration.recorded import recorded_episodes
    from hygen_lightning.commands.this_machine import can_compile, check_compiler, check_device
    from hygen_lightning.tasks import battle_task

    if particles < 1:
        raise UserError(f"--particles is {particles}; at least one copy per episode is needed")
    if episodes is not None and episodes < 1:
        raise UserError(f"--episodes is {episodes}; at least one is needed")
    check_device(device)
    spec = battle_task(task)
    recorded = recorded_episodes(recordings, spec)
    if episodes is not None and episodes < len(recorded):
        recorded = recorded[slice(None, None, len(recorded) // episodes)][slice(episodes)]
    if compiled is None:
        compiled = device == "cpu" and len(recorded) * particles >= COMPILED_FROM and can_compile(device)
    elif compiled:
        check_compiler(device)
    settings = {"particles": particles, "seed": seed, "device": device, "compiled": compiled}
    with progress("episodes followed", len(recorded) * (2 if ceiling else 1)) as done:
        measured = fidelity_report(
            spec, recorded, particles, seed, ceiling, torch.device(device), compiled, done
        )
    return {"task": task, **settings, **measured}


def _refuse_with_policies(**options: object) -> None:
    """UserError for the first option that is about recordings only."""
    for name, given in options.items():
        if given is not None and given is not False:
            raise UserError(f"--{name} is about recordings, not --policies; leave one of them out")


def _played(folder: Path, battles: int, reference: Path | None, seed: int) -> dict[str, Any]:
    """What every policy below a folder wins in the simulator, and how far that is from the reference."""
    from hygen_lightning.calibration.policies import check_match, differences, find_policies, read_reference
    from hygen_lightning.commands.players import measure
    from hygen_lightning.envs.simulator.env import SimulatorEnv
    from hygen_lightning.rollouts.policies import PYMARL
    from hygen_lightning.rollouts.pymarl import load_pymarl_agent

    if battles < 1:
        raise UserError(f"--battles is {battles}; at least one battle is needed")
    found = find_policies(folder, PYMARL)
    there = read_reference(reference) if reference else {}
    if reference:
        check_match(reference, there, found)
    agents = [load_pymarl_agent(policy.file, policy.task) for policy in found]
    rows = []
    with progress("policies played", len(found)) as done:
        for policy, agent in zip(found, agents):
            result = measure(policy.task, agent, battles, "simulator", seed)
            known = there.get(policy.key)
            rows.append(
                {
                    "policy": policy.name,
                    "map": policy.task.name,
                    "win_rate": result.win_rate,
                    "ci95": list(result.ci95),
                    "return": result.mean_return,
                    "length": result.mean_length_env_steps,
                    "reference": known,
                    "difference": None if known is None else result.win_rate - known,
                }
            )
            done(1)
    settings = {"simulator": SimulatorEnv.version, "battles": battles, "seed": seed}
    return {**settings, "policies": rows, **differences(rows)}


def _print_policies(report: dict[str, Any]) -> None:
    """A row per policy; below it the mean and the largest difference, where anything was compared."""
    columns = ["policy", "map", "win %", "[95 %]", "return", "length"]
    table = []
    for row in report["policies"]:
        low, high = row["ci95"]
        cells = [
            row["policy"],
            row["map"],
            f"{100 * row['win_rate']:.0f}",
            f"{100 * low:.0f}–{100 * high:.0f}",
        ]
        cells += [f"{row['return']:.1f}", f"{row['length']:.1f}"]
        if report["compared"]:
            known = row["reference"] is not None
            cells += [f"{100 * row['reference']:.0f}", _points(row["difference"])] if known else ["-", "-"]
        table.append(cells)
    if report["compared"]:
        columns += ["StarCraft II %", "difference"]
    title = f"Simulator {report['simulator']}, {report['battles']} battles each, seed {report['seed']}"
    print_table(title, columns, table)
    if report["compared"]:
        largest = report["largest_difference"]
        print(
            f"mean absolute difference of {report['compared']}: "
            f"{100 * report['mean_absolute_difference']:.1f} points; largest: "
            f"{largest['policy']} {largest['map']} {_points(largest['difference'])}"
        )


def _points(difference: float) -> str:
    """A difference of two shares in percentage points, signed."""
    return f"{100 * difference:+.0f}"


def _print(report: dict[str, Any]) -> None:
    """Tables for people: measured beside wished, then the free-running battles."""
    rows = []
    for key, target in TARGETS.items():
        value: Any = report
        for part in key.split("."):
            value = value[part]
        rows.append([key, f"{value:.3g}" if isinstance(value, float) else value, target])
    title = (
        f"Fidelity on {report['task']}: {report['episodes']} episodes, {report['transitions']} transitions\n"
        f"{report['particles']} copies, seed {report['seed']}, {report['device']}"
        f"{', compiled' if report['compiled'] else ''}"
    )
    print_table(title, ["measure", "measured", "aim"], rows)
    runs = report["free_running"]
    columns = list(runs["recorded"])
    table = [[name, *(f"{runs[name][column]:.3g}" for column in columns)] for name in runs]
    print_table("Recorded actions replayed from the start", ["battles", *columns], table)
    back = report["stepping_back"]
    print("hurt allies that step back are left alone for two steps:", end=" ")
    print(", ".join(f"{side} {v['left_alone_share']:.1%} of {v['steps']}" for side, v in back.items()))
    if "kinds" in report:
        _print_ceiling(report)


def _print_ceiling(report: dict[str, Any]) -> None:
    """Share of exact health of the allies by kind of transition, then of all of them."""
    sides = ("recorded", "simulated")
    table = [
        [kind, *(_figure(of_kind[side]["exact_share"]) for side in sides)]
        + [of_kind[side]["transitions"] for side in sides]
        for kind, of_kind in report["kinds"].items()
    ]
    totals = [sum(of_kind[side]["transitions"] for of_kind in report["kinds"].values()) for side in sides]
    all_of, same_mix = (
        [_figure(report[key]) for key in keys]
        for keys in (
            ("ally_health_exact_share", "ally_health_ceiling"),
            ("ally_health_exact_share_covered", "ally_health_ceiling_same_mix"),
        )
    )
    covered = f"{report['ally_health_ceiling_covered_share']:.1%}"
    table.append(["all", *all_of, *totals])
    table.append(["recorded mix", *same_mix, covered, ""])
    title = "Exact health of allies by enemies alive / near an ally;\nsimulated: the ceiling"
    print_table(title, ["kind", *sides, *(f"{side} steps" for side in sides)], table)


def _figure(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"
