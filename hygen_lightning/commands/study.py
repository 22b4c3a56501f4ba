"""Run a study: every algorithm on every task set, data quality and seed, then the report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hygen_lightning.commands.output import print_json
from hygen_lightning.data.files import check_place

if TYPE_CHECKING:
    from hygen_lightning.study.conduct import Place
    from hygen_lightning.study.plan import Cell


def study(
    file: str,
    out: Path | None = None,
    jobs: int | None = None,
    threads: int = 1,
    launcher: Literal["local", "slurm"] = "local",
    slurm: dict[str, Any] | None = None,
    cost: bool = True,
    print_only: bool = False,
    json: bool = False,
) -> int:
    """Train algorithms x task sets x data qualities x seeds, each a run of its own, and report on them.

    The same command again goes on: what is done is skipped, what was broken off is resumed. A run that fails
    stops no other.

    Args:
        file: study, like conf/studies/smoke.yaml
        out: folder of the runs and the report (if not given, studies/ and the name of the file)
        jobs: runs at once (if not given, as many as the GPUs, or the cores divided by --threads)
        threads: CPU threads of each run; numbers repeat exactly with the same number of threads only
        launcher: local: processes here; slurm: a job array, through the package submitit
        slurm: the cluster's options, as {"timeout_min":240,"gpus_per_node":1,"slurm_partition":"gpu"}
        cost: first time a few steps of each setting, and say what the whole will take
        print_only: check the options, print the commands, one line each, and run nothing
        json: one JSON object on stdout, instead of tables
    """
    from hygen_lightning.parsing import found_file
    from hygen_lightning.study.conduct import Place
    from hygen_lightning.study.plan import read_study

    path = found_file(file)
    cells = read_study(path)
    place = Place(out or Path("studies") / path.stem, jobs, threads, launcher, slurm)
    return run_cells(cells, place, cost, print_only, json)


def run_cells(cells: list[Cell], place: Place, cost: bool, print_only: bool, json: bool) -> int:
    """Check the options and print the commands of these cells, or run and report them; the exit code.

    UserError where `fit` refuses the options of one, or its runs were begun with others.
    """
    if print_only:
        from hygen_lightning.study.cost import asked_of, changed_cells

        check_place(place.root / "report")
        changed_cells(asked_of(cells), place.root)
        commands = [shlex.join(cell.command(place.root)) for cell in cells]
        if json:
            print_json({"commands": commands})
        else:
            print(*commands, sep="\n")
        return 0
    from hygen_lightning.study.conduct import conduct

    told = conduct(cells, place, cost, quiet=json)
    told |= _reported(place.root, quiet=json)
    if json:
        print_json(told)
    return int(any(run["state"] != "done" for run in told["runs"]))


def _reported(root: Path, quiet: bool) -> dict[str, Any]:
    """Report on the finished runs; a line instead where they cannot be compared, or there is none."""
    import contextlib
    import io

    from hygen_lightning.commands.report import report
    from hygen_lightning.specs import UserError

    try:
        with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
            report([root], out=root / "report")
    except UserError as error:
        if not quiet:
            print(f"no report: {error}", flush=True)
        return {"report": None}
    return {"report": str(root / "report")}
