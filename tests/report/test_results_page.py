"""docs/results.md shows what the rows in docs/results say."""

from __future__ import annotations

from pandas import DataFrame
from results_page import BLOCK, PAGE, algorithms_table, filled

from hygen_lightning.report.comparison import compare


def test_the_tables_of_the_page_are_those_of_the_rows_and_no_rows_are_left_out() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text, "python tests/results_page.py writes them anew"
    shown = {match[2] for match in BLOCK.finditer(text)}
    assert shown == {f"results/{path.name}" for path in (PAGE.parent / "results").glob("*.csv")}


def test_an_algorithm_has_one_line_with_a_cell_for_each_kind_of_data() -> None:
    rates = {
        "BC, expert recordings": (0.5, 0.25),
        "A-online": (1.0, 0.0),
        "A, expert recordings": (0.75, 0.5),
        "A, expert recordings, earlier": (0.1, 0.1),
    }
    rows = [
        {"group": group, "seed": seed, "kind": kind, "task": kind, "win_rate": rate, "win_rate_noisy": rate}
        for group, pair in rates.items()
        for kind, rate in zip(("seen", "unseen"), pair)
        for seed in (1, 2)
    ]
    told = algorithms_table(
        compare(DataFrame([{**row, "run": f"{row['group']} {row['seed']}", "episodes": 4} for row in rows]))
    )
    assert told.columns == ("algorithm", "expert recordings", "battles alone")
    assert told.rows == [
        ("BC", "50.0 / 25.0 (2)", "–"),
        ("A", "75.0 / 50.0 (2)", "100.0 / 0.0 (2)"),
    ]
