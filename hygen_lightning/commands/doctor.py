"""What every environment needs on this machine, and the commands that mend what is missing."""

from __future__ import annotations

from dataclasses import asdict

from hygen_lightning.commands.output import print_json, print_table


def doctor(task_set: str | None = None, env: str | None = None, json: bool = False) -> int:
    """Check what environments need; exit code 1 if one that is named with --env lacks something.

    Args:
        task_set: a task set, by name or as a YAML file, whose tasks have to be playable too
        env: the environment to check, a name, package.module:Class or an environment file (if not given,
            all that play the task set; without a task set, all)
        json: print one JSON object instead of tables
    """
    from hygen_lightning.envs import ENVIRONMENTS, environment_class
    from hygen_lightning.tasks import expand

    kinds = {name: environment_class(name) for name in ([env] if env else ENVIRONMENTS)}
    tasks = expand([task_set]) if task_set else []
    if env is None:
        kinds = {
            name: kind
            for name, kind in kinds.items()
            if all(kind.task_type is not None and isinstance(task, kind.task_type) for task in tasks)
        }
    found = {name: kind.checks(tasks) for name, kind in kinds.items()}
    ready = {name: all(check.ok for check in checks) for name, checks in found.items()}
    if json:
        plain = {name: [asdict(check) for check in checks] for name, checks in found.items()}
        print_json({"environments": {name: {"ready": ready[name], "checks": plain[name]} for name in found}})
        return 0 if env is None or ready[env] else 1
    for name, checks in found.items():
        if not checks:
            print(f"{name}: ready, it needs nothing more")
            continue
        rows = [["yes" if check.ok else "NO", check.what, check.found] for check in checks]
        print_table(f"{name}: {'ready' if ready[name] else 'not ready'}", ["", "needs", "found"], rows)
        mend = dict.fromkeys(check.remedy for check in checks if not check.ok)
        if mend:
            print("to mend it, in this order, then run doctor again:")
        for remedy in mend:
            print(f"  {remedy}")
    return 0 if env is None or ready[env] else 1
