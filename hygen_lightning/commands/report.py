"""Put finished runs side by side: one folder with a page, tables, plots and data."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, count
from json import JSONDecodeError, dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hygen_lightning.commands.output import print_json, print_table
from hygen_lightning.data.files import check_place, replacing_files
from hygen_lightning.specs import UserError

if TYPE_CHECKING:
    from hygen_lightning.report.page import Part
    from hygen_lightning.report.runs import Groups

MOST_COLUMNS, MOST_REMARKS = 6, 12
"""Of more, a terminal shows fewer; the files have them all."""


def report(
    runs: list[Path], out: Path = Path("report"), allow_mixed: bool = False, json: bool = False
) -> int:
    """Compare finished runs. Those with equal options form a group, whose runs differ in their seed.

    Writes report.html (opens offline), report.md, tables.tex, a CSV file per table, plots as PNG and PDF,
    report.json, marl_eval.json, runs.csv (a row per run and task) and results.csv (a row per run, which
    `report` reads again).

    Args:
        runs: run folders, folders of them, results.json files, or tables of runs (results.csv)
        out: folder for what is written
        allow_mixed: compare runs of other environments or versions than the first one's
        json: one JSON object on stdout, instead of tables
    """
    from hygen_lightning.report.find import find_runs
    from hygen_lightning.report.results import write_atomically
    from hygen_lightning.report.runs import check_comparable, grouped, tasks_of_some

    check_place(out / "report.json")
    found, unused = find_runs(runs)
    mixed = check_comparable(found, allow_mixed)
    groups, replaced = grouped(found)
    before = _files_of_report(out)
    with replacing_files(out, first="report.json") as new:  # which says whose the others are
        parts, task_sets = _compared(groups, new)
        payload = {
            "groups": {
                label: {"seeds": [r.seed for r in members], "runs": [str(r.folder) for r in members]}
                for label, members in groups.items()
            },
            "left_out": [*unused, *replaced],
            "mixed": mixed,
            "partly_played": tasks_of_some(groups),
            "task_sets": task_sets,
        }
        said = [*payload["left_out"], *(f"mixed: {line}" for line in mixed)]
        said += payload["partly_played"]
        for told in task_sets.values():
            said += [f"groups differ in {line}" for line in told["differences"]]
        texts = _texts(new, groups, parts, said)
        plots = [str(path.relative_to(new)) for path in new.rglob("*") if path.is_file()]
        payload["files"] = sorted([*texts, *plots, "report.json"])
        _check_free(out, payload["files"], runs, before)
        texts["report.json"] = dumps(payload, indent=2, allow_nan=False) + "\n"
        for name, text in texts.items():
            write_atomically(new / name, text)
    written = _files_of_report(out)
    _remove(out, before - written)
    if json:
        print_json(payload)
        return 0
    for part in parts:
        _print(part)
    if len(said) > MOST_REMARKS:
        said = [*said[:MOST_REMARKS], f"and {len(said) - MOST_REMARKS} more remarks, in report.md"]
    print(*said, f"written: {out / 'report.html'}, and {len(written) - 1} files beside it", sep="\n")
    return 0


def _compared(groups: Groups, out: Path) -> tuple[list[Part], dict[str, Any]]:
    """Tables, plots and numbers of the groups, by task set."""
    from hygen_lightning.report.comparison import compare
    from hygen_lightning.report.comparison_plots import write_plots
    from hygen_lightning.report.comparison_tables import comparison_tables, spent_table
    from hygen_lightning.report.page import Part
    from hygen_lightning.report.runs import differences_between, run_table, task_sets_of

    parts, told = [], {}
    sets = task_sets_of(groups)
    names = _folder_names(sets)
    for name, members in sets.items():
        comparison = compare(run_table(members))
        folder = out / names[name] if len(sets) > 1 else out
        pictures = write_plots(members, comparison, folder)
        tables = [*comparison_tables(comparison), spent_table(members)]
        parts.append(Part(name, tables, pictures, members))
        told[name] = {"differences": differences_between(members), **comparison.to_json()}
    return parts, told


def _texts(out: Path, groups: Groups, parts: Sequence[Part], said: Sequence[str]) -> dict[str, str]:
    """Name below `out` -> content, of every file but report.json and the plots."""
    from hygen_lightning.report.formats import comma_separated, latex, markdown
    from hygen_lightning.report.marl_eval import marl_eval_json
    from hygen_lightning.report.page import html_page
    from hygen_lightning.report.rows import run_rows
    from hygen_lightning.report.runs import run_table

    tables = [(part, table) for part in parts for table in part.tables]
    text = "\n".join(f"## Learned: {part.name}\n\n" + "\n".join(map(markdown, part.tables)) for part in parts)
    written = {
        "report.html": html_page("Runs side by side", said, parts),
        "report.md": "\n".join(["# Runs side by side\n", *(f"- {line}" for line in said), "", text]),
        "tables.tex": "\n".join(f"% learned: {part.name}\n{latex(table)}" for part, table in tables),
        "marl_eval.json": dumps(marl_eval_json(groups), allow_nan=False) + "\n",
        "runs.csv": run_table(groups).to_csv(index=False),
        "results.csv": run_rows(groups),
    }
    for part, table in tables:
        place = part.pictures[0].parent.relative_to(out)
        written[str(place / f"{table.name}.csv")] = comma_separated(table)
    return written


def _check_free(out: Path, names: Collection[str], read: Sequence[Path], before: set[str]) -> None:
    """UserError where a file of a report would take the place of one that it reads, or of a user's.

    before: what a report wrote there. Where one of an older version lies, which told no files, all are its.
    """
    reads = {path.resolve() for path in read}
    is_report = (out / "report.json").is_file()
    for name in names:
        place = out / name
        if place.resolve() in reads:
            raise UserError(f"{place} is read for the report, which would overwrite it; give another --out")
        if place.exists() and name not in before and not (is_report and not before):
            raise UserError(f"{place} is not of a report; give another --out, or move it away")


def _files_of_report(folder: Path) -> set[str]:
    """The files that the report in this folder wrote; none where there is no report, or a damaged one."""
    try:
        names = loads((folder / "report.json").read_text())["files"]
        files = {name for name in names if (folder / name).is_file()}
        return {name for name in files if (folder / name).resolve().is_relative_to(folder.resolve())}
    except (OSError, JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return set()


def _remove(folder: Path, names: set[str]) -> None:
    """Files below this folder, and the folders that are empty without them."""
    for path in [folder / name for name in names]:
        path.unlink(missing_ok=True)
        if path.parent != folder and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _folder_names(task_sets: Iterable[str]) -> dict[str, str]:
    """A folder for each task set, no two alike, also where letters' case does not count.

    Names of tasks may hold any character.
    """
    folders: dict[str, str] = {}
    for name in task_sets:
        plain = re.sub(r"[^\w+.=-]", "_", name.replace(", ", "+")).lstrip(".") or "tasks"
        taken = {folder.lower() for folder in folders.values()}
        numbered = (f"{plain}-{n}" for n in count(2))
        folders[name] = next(one for one in chain([plain], numbered) if one.lower() not in taken)
    return folders


def _print(part: Part) -> None:
    """The tables of one task set that fit a terminal."""
    wide = any(table.name == "by_task" and len(table.columns) > MOST_COLUMNS for table in part.tables)
    for table in part.tables:
        if table.name != ("by_task" if wide else "tasks"):
            print_table(f"Learned {part.name}: {table.title}", table.columns, table.rows)
            if table.note:
                print(table.note, end="\n\n")
