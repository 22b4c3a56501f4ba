"""report.html: one file with tables, pictures and battles in it, which opens without a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hygen_lightning.report.formats import TextTable, html_table
from hygen_lightning.report.runs import Groups

MOST_BATTLES = 8
"""Groups of which a battle is shown; a GIF takes some hundred kilobytes."""
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1240px; padding: 1rem; color: #22303c; background: #fff;
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 2px solid #e3e8ec; }
h3 { font-size: 1rem; margin-bottom: .4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #e3e8ec; text-align: left; white-space: nowrap; }
th { color: #56636e; font-weight: 600; } .figure { text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; }
tbody tr:hover td { background: #f4f7f9; } .note, li { color: #56636e; font-size: .88rem; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
img.plot { min-width: min(540px, 200vw); }
.battles { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 1rem; }
.battles figure { margin: 0; } figcaption { font-size: .88rem; color: #56636e; }
@media (max-width: 600px) { body { padding: .6rem; font-size: 14px; } }
"""


@dataclass(frozen=True)
class Part:
    """What the runs that learned the same tasks have to show. name: of the task set."""

    name: str
    tables: Sequence[TextTable]
    pictures: Sequence[Path]
    groups: Groups


def html_page(title: str, said: Sequence[str], parts: Sequence[Part]) -> str:
    """The page. said: remarks on the runs, a line each."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    if said:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in said)
        body.append(f"<details><summary>{len(said)} remarks on the runs</summary><ul>{lines}</ul></details>")
    for part in parts:
        body.append(f"<h2>Learned: {html.escape(part.name)}</h2>")
        means, details = part.tables[:1], part.tables[1:]
        body += [html_table(table) for table in means]
        body += [_picture(path) for path in part.pictures]
        body += [html_table(table) for table in details]
        body.append(_battles(part.groups))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    text = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{text}\n</body></html>\n"
    )


def _picture(path: Path) -> str:
    name = html.escape(path.stem.replace("_", " "))
    return f'<figure class="wide"><img class="plot" alt="{name}" src="{_inline(path)}"></figure>'


def _battles(groups: Groups) -> str:
    """A battle of each group's first run that left one."""
    films = {label: [run.folder / "battle.gif" for run in runs] for label, runs in groups.items()}
    first = {label: next((p for p in paths if p.is_file()), None) for label, paths in films.items()}
    shown: Mapping[str, Path] = {label: path for label, path in first.items() if path is not None}
    figures = [
        f'<figure><img alt="battle of {html.escape(label)}" src="{_inline(path)}">'
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
        for label, path in list(shown.items())[:MOST_BATTLES]
    ]
    if not figures:
        return ""
    return f'<section><h3>Battles to look at</h3><div class="battles">{"".join(figures)}</div></section>'


def _inline(path: Path) -> str:
    kind = path.suffix.removeprefix(".")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
