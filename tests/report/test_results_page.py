"""docs/results.md shows what the rows in docs/results say."""

from __future__ import annotations

from results_page import BLOCK, PAGE, filled


def test_the_tables_of_the_page_are_those_of_the_rows_and_no_rows_are_left_out() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text, "python tests/results_page.py writes them anew"
    shown = {match[2] for match in BLOCK.finditer(text)}
    assert shown == {f"results/{path.name}" for path in (PAGE.parent / "results").glob("*.csv")}
