"""One table, four ways to write it: Markdown, CSV, LaTeX (booktabs), HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

MOST_OPEN_ROWS = 40
"""A longer table of a page is folded."""


@dataclass(frozen=True)
class TextTable:
    """Cells as text.

    name: of its file. note: what the figures are, in a sentence. texts: columns of words, left-aligned.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    texts: int = 1


def markdown(table: TextTable) -> str:
    """A heading, the table, the note."""
    aligned = ["---" if index < table.texts else "---:" for index in range(len(table.columns))]
    lines = [table.columns, aligned, *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return "\n\n".join(part for part in (f"### {table.title}", body, table.note) if part) + "\n"


def comma_separated(table: TextTable) -> str:
    """The cells as they are, a header above."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([table.columns, *table.rows])
    return buffer.getvalue()


LATEX = {"\\": r"\textbackslash{}", "–": "--", "τ": r"$\tau$", **{sign: f"\\{sign}" for sign in "%&#_${}"}}
"""What LaTeX reads as something else than the sign itself."""


def latex(table: TextTable) -> str:
    """A table of the package booktabs, with the title as its caption."""
    aligned = "".join("l" if index < table.texts else "r" for index in range(len(table.columns)))
    head, *body = (" & ".join(map(_latex_text, line)) + r" \\" for line in (table.columns, *table.rows))
    caption = _latex_text(". ".join(part for part in (table.title, table.note) if part))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{aligned}}}"]
    lines += [r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def html_table(table: TextTable) -> str:
    """A section with a table that scrolls by itself where the page is narrow; a long one opens on a click."""

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = ["" if index < table.texts else ' class="figure"' for index in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{k}>{html.escape(c)}</{tag}>" for k, c in zip(kinds, cells)) + "</tr>"

    body = "\n".join(row(cells, "td") for cells in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    whole = (
        f'<div class="wide"><table>\n<thead>{row(table.columns, "th")}</thead>\n<tbody>{body}</tbody></table>'
        f"</div>{note}"
    )
    if len(table.rows) > MOST_OPEN_ROWS:
        whole = f"<details><summary>{len(table.rows)} rows</summary>{whole}</details>"
    return f"<section><h3>{html.escape(table.title)}</h3>{whole}</section>"
