"""Tables that only grow, by hand."""

from __future__ import annotations

from pathlib import Path

from hygen_lightning.data.tables import append_rows, read_rows


def test_of_a_step_the_last_cells_count(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.csv"
    append_rows(path, [{"step": 1, "loss": 4.0}, {"step": 1, "win": 0.5}, {"step": 2, "loss": 3.0}])
    append_rows(path, [{"step": 1, "loss": 2.0}])
    assert read_rows(path, "step") == [
        {"step": "1", "loss": "2.0", "win": "0.5"},
        {"step": "2", "loss": "3.0"},
    ]
    assert path.read_text() == "step,loss,win\n1,4.0,\n1,,0.5\n2,3.0,\n1,2.0,\n"


def test_a_new_column_keeps_the_rows_above(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"step": 1, "a": 1}])
    append_rows(path, [{"step": 2, "b": "x,y"}])
    assert path.read_text() == 'step,a,b\n1,1,\n2,,"x,y"\n'


def test_half_a_line_of_a_killed_writer_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"step": 1, "a": 1}])
    for half in ("2,4", "2"):
        whole = path.read_text()
        path.write_text(whole + half)
        assert read_rows(path, "step") == [{"step": "1", "a": "1"}]
    append_rows(path, [{"step": 3, "a": 9}])
    assert path.read_text() == "step,a\n1,1\n3,9\n"
    path.write_text("step")
    append_rows(path, [{"step": 3}])
    assert path.read_text() == "step\n3\n"
