"""One table in four formats, with the signs that each of them reads as something else."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from hygen_lightning.report.formats import TextTable, comma_separated, html_table, latex, markdown

TABLE = TextTable("t", "A & B", ("group", "win %"), [("a|b_<c>", "12.5 [3–4]")], "Over 3 seeds.")


def test_markdown_has_a_heading_an_aligned_table_and_a_note() -> None:
    assert markdown(TABLE).splitlines() == [
        *("### A & B", "", "| group | win % |", "| --- | ---: |", "| a\\|b_<c> | 12.5 [3–4] |", ""),
        "Over 3 seeds.",
    ]


def test_csv_has_the_cells_as_they_are() -> None:
    assert list(csv.reader(io.StringIO(comma_separated(TABLE)))) == [
        ["group", "win %"],
        ["a|b_<c>", "12.5 [3–4]"],
    ]


def test_latex_is_a_table_of_booktabs_and_escapes_its_signs() -> None:
    text = latex(TABLE)
    assert r"\caption{A \& B. Over 3 seeds.}" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"group & win \% \\" in text
    assert r"a|b\_<c> & 12.5 [3--4] \\" in text
    rules = [line for line in text.splitlines() if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]


def test_html_escapes_and_aligns_figures() -> None:
    text = html_table(TABLE)
    assert '<td>a|b_&lt;c&gt;</td><td class="figure">12.5 [3–4]</td>' in text
    assert "<h3>A &amp; B</h3>" in text
    assert "<details>" not in text


def test_a_long_table_of_the_page_is_folded() -> None:
    text = html_table(replace(TABLE, rows=[["a", "1"]] * 41))
    assert "<details><summary>41 rows</summary>" in text
    assert text.endswith("</details></section>")
