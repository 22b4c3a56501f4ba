"""Learning curves from sparse metrics files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pandas import Index
from PIL import Image

from hygen_lightning.report.learning_curves import (
    _averaged,
    draw_learning_curves,
    read_metrics,
    skill_uses,
    switch_place,
    task_win_rates,
)
from hygen_lightning.specs import UserError

SPARSE = """\
epoch,step,train/3m/td_loss,train/4m/td_loss,val/4m/win_rate,val/3m/win_rate,val/mean/seen_win_rate
0,10,0.5,1.5,,,
0,20,0.25,0.75,,,
0,20,,,0.25,0.5,0.5
0,30,nan,inf,,,
,,3,,,,
0,40,,,0.75,1.0,1.0
"""


def metrics_file(folder: Path, text: str = SPARSE) -> Path:
    path = folder / "metrics.csv"
    path.write_text(text)
    return path


def test_sparse_rows_become_one_row_per_step_of_which_the_last_cells_count(tmp_path: Path) -> None:
    again = SPARSE + "0,20,0.3,,,,\n0,50,9"
    metrics = read_metrics(metrics_file(tmp_path, again))
    assert metrics["train/3m/td_loss"].dropna().to_dict() == {10: 0.5, 20: 0.3}
    assert metrics["val/4m/win_rate"].dropna().to_dict() == {20: 0.25, 40: 0.75}
    assert "epoch" not in metrics


def test_task_curves_list_seen_tasks_first_and_leave_means_out(tmp_path: Path) -> None:
    metrics = read_metrics(metrics_file(tmp_path))
    assert list(task_win_rates(metrics, seen={"3m"})) == ["3m", "4m"]
    assert list(task_win_rates(metrics, seen={"4m"})) == ["4m", "3m"]


def test_a_panel_appears_for_each_kind_of_metric(tmp_path: Path) -> None:
    draw_learning_curves(metrics_file(tmp_path), tmp_path / "all.png", seen={"3m"})
    losses_only = "step,train/mean/loss\n1,0.5\n2,-0.2\n"
    draw_learning_curves(metrics_file(tmp_path, losses_only), tmp_path / "losses.png")
    with Image.open(tmp_path / "all.png") as full, Image.open(tmp_path / "losses.png") as small:
        assert full.width > 1.9 * small.width
        assert full.height > 1.7 * small.height
        assert len(full.convert("RGB").getcolors(10**6) or []) > 50
    assert {path.name for path in tmp_path.iterdir()} == {"all.png", "losses.png", "metrics.csv"}


def test_training_metrics_are_averaged_over_tasks_at_equal_steps(tmp_path: Path) -> None:
    header = "step,train/3m/td_loss,train/4m/td_loss,rollout/3m/epsilon,val/3m/td_loss"
    text = f"{header}\n1,1.0,3.0,0.5,9\n2,1.0,,,9\n"
    metrics = read_metrics(metrics_file(tmp_path, text))
    averaged = _averaged(metrics, lambda name: name in ("td_loss", "epsilon"))
    assert averaged["td_loss"].to_dict() == {1: 2.0, 2: 1.0}
    assert averaged["epsilon"].dropna().to_dict() == {1: 0.5}


def test_skill_use_gets_a_panel_of_its_own(tmp_path: Path) -> None:
    uses = "step,train/3m/loss,train/3m/skill0_use,train/3m/skill1_use\n1,1,0.4,0.6\n2,1,0.5,0.5\n3,1,,\n"
    draw_learning_curves(metrics_file(tmp_path, uses), tmp_path / "skills.png")
    draw_learning_curves(metrics_file(tmp_path, "step,train/3m/loss\n1,1\n2,2\n"), tmp_path / "loss.png")
    with Image.open(tmp_path / "skills.png") as both, Image.open(tmp_path / "loss.png") as one:
        assert both.width > 1.7 * one.width


def test_numbers_of_played_skills_do_not_empty_the_panel_of_their_use(tmp_path: Path) -> None:
    text = "step,train/3m/skill0_use,train/3m/skill1_use,rollout/3m/skills_in_use\n1,0.4,0.6,\n2,,,2\n"
    uses = skill_uses(read_metrics(metrics_file(tmp_path, text)))
    assert uses.to_dict() == {"skill0_use": {1: 0.4}, "skill1_use": {1: 0.6}}


@pytest.mark.parametrize(
    ("switch", "by_step", "by_column"),
    [(20, 20, 1.5), (25, 25, 1.5), (30, 30, 2.5), (9, None, None), (40, None, None), (50, None, None)],
)
def test_the_switch_stands_at_its_step_or_behind_the_last_column_of_stage_one(
    switch: int, by_step: float | None, by_column: float | None
) -> None:
    steps = Index([10, 20, 30, 40])
    assert switch_place(steps, switch, by_column=False) == by_step
    assert switch_place(steps, switch, by_column=True) == by_column


def test_what_has_no_stage_one_has_no_switch() -> None:
    assert switch_place(Index([0, 10]), 0, by_column=False) is None


def test_each_panel_marks_the_switch_of_stages(tmp_path: Path) -> None:
    for name, switch in (("none", None), ("off", 10**9), ("marked", 15)):
        draw_learning_curves(metrics_file(tmp_path), tmp_path / f"{name}.png", switch=switch)
    pictures = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("none", "off", "marked")}
    assert pictures["none"] == pictures["off"] != pictures["marked"]


def test_nothing_to_draw_and_no_file_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no win rate, loss or share was logged"):
        draw_learning_curves(metrics_file(tmp_path, "step,x\n1,2\n"), tmp_path / "none.png")
    with pytest.raises(UserError, match=r"gone\.csv: cannot be read"):
        draw_learning_curves(tmp_path / "gone.csv", tmp_path / "none.png")
