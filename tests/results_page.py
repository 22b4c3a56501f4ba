"""The tables of docs/results.md, which are those that `report` draws from the rows beside it.

    python tests/results_page.py

writes them anew. A block of the page begins with `<!-- results/FILE.csv: TASK SET: TABLE -->`, the table as
`report` names it or `algorithms`, and ends with `<!-- end -->`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from hygen_lightning.report.comparison import Comparison, compare
from hygen_lightning.report.comparison_tables import comparison_tables, spent_table
from hygen_lightning.report.find import find_runs
from hygen_lightning.report.formats import TextTable, markdown
from hygen_lightning.report.runs import grouped, run_table, task_sets_of

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
BATTLES_ALONE = "battles alone"
COLUMNS = ("expert recordings", "medium recordings", BATTLES_ALONE)
BLOCK = re.compile(r"(<!-- (results/[\w.-]+): ([^:]+): (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@cache
def tables_of(path: Path) -> dict[tuple[str, str], str]:
    """(task set, name) -> Markdown of a table, without its heading."""
    found = {}
    for name, groups in task_sets_of(grouped(find_runs([path])[0])[0]).items():
        comparison = compare(run_table(groups))
        tables = [*comparison_tables(comparison), spent_table(groups), algorithms_table(comparison)]
        found |= {(name, table.name): _bare(table) for table in tables}
    return found


def algorithms_table(comparison: Comparison) -> TextTable:
    """Means seen / unseen (seeds) of the groups named ALGORITHM or ALGORITHM, QUALITY recordings.

    ALGORITHM-online is the algorithm's cell of battles alone. Other groups are left out, and those
    without unseen tasks.
    """
    means: dict[tuple[str, str], dict[str, float]] = {}
    seeds: dict[tuple[str, str], int] = {}
    for a in comparison.aggregates:
        named = re.fullmatch(r"([\w-]+?)(?:-online|, ((?:expert|medium) recordings))?", a.group)
        if named:
            cell = named[1], named[2] or BATTLES_ALONE
            means.setdefault(cell, {})[a.kind] = 100 * a.mean.value
            seeds[cell] = a.seeds
    told = {
        cell: f"{means[cell]['seen']:.1f} / {means[cell]['unseen']:.1f} ({seeds[cell]})"
        for cell in means
        if len(means[cell]) == 2
    }
    learned_from = sorted({column for _, column in told}, key=COLUMNS.index)
    rows = [
        (name, *(told.get((name, column), "–") for column in learned_from))
        for name in dict.fromkeys(name for name, _ in told)
    ]
    return TextTable("algorithms", "Every algorithm", ("algorithm", *learned_from), rows, "")


def _bare(table: TextTable) -> str:
    """Its lines in Markdown, without heading and note."""
    return markdown(replace(table, note="")).split("\n\n", 1)[1]


def filled(text: str) -> str:
    """The page with every block as the rows have it."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{tables_of(PAGE.parent / m[2])[m[3], m[4]]}{m[6]}", text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
