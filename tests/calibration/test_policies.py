"""Policies trained in StarCraft II: found in folders, compared with a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hygen_lightning.calibration.policies import differences, find_policies, read_reference
from hygen_lightning.specs import UserError

SUFFIXES = (".th", ".pkl")


def touch(folder: Path, *names: str) -> Path:
    """Empty files of these names below the folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path) -> list[tuple[str, str, str]]:
    return [(*policy.key, policy.file.name) for policy in find_policies(folder, SUFFIXES)]


def test_a_policy_is_named_after_the_folders_above_its_map(tmp_path: Path) -> None:
    touch(tmp_path, "qmix/3m/rnn_net_params.pkl", "qmix/3m/qmix_net_params.pkl", "qmix/8m/agent.th")
    touch(tmp_path, "vdn/2s3z/100/agent.th", "vdn/2s3z/100/opt.th", "odd/seed_1/3m/mine.th", "notes/3m/x.txt")
    assert found(tmp_path) == [
        ("odd/seed_1/mine", "3m", "mine.th"),
        ("qmix", "3m", "rnn_net_params.pkl"),
        ("qmix", "8m", "agent.th"),
        ("vdn/100", "2s3z", "agent.th"),
    ]


def test_the_folder_of_an_algorithm_or_of_a_map_will_do(tmp_path: Path) -> None:
    touch(tmp_path, "qmix/3m/agent.th")
    assert found(tmp_path / "qmix") == [("qmix", "3m", "agent.th")]
    assert found(tmp_path / "qmix" / "3m") == [("qmix", "3m", "agent.th")]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "holds no state dict"),
        (["qmix/33m/agent.th"], "no folder above it is named after a map"),
        (["qmix/3m/agent.th", "qmix/3m/rnn_net_params.pkl"], "another qmix 3m is"),
    ],
)
def test_folders_that_hold_no_such_policies_are_refused(
    files: list[str], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint):
        find_policies(touch(tmp_path, *files), SUFFIXES)
    with pytest.raises(UserError, match="no such folder"):
        find_policies(tmp_path / "nowhere", SUFFIXES)


def test_csv_and_json_tables_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"policy": "vdn", "map": "3m", "win_percent": 97},
        {"policy": "qmix", "map": "3m", "win_percent": 50},
    ]
    as_json, as_csv = tmp_path / "there.json", tmp_path / "there.csv"
    as_json.write_text(json.dumps(rows))
    as_csv.write_text("policy,map,source,win_percent\nvdn,3m,paper,97\nqmix, 3m,,50.0\n")
    assert read_reference(as_json) == read_reference(as_csv) == {("vdn", "3m"): 0.97, ("qmix", "3m"): 0.5}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.json", "{", "cannot be read as CSV or JSON"),
        ("a.json", '{"vdn": 97}', "holds no rows"),
        ("a.json", "[97]", "row 1: policy, map, win_percent expected"),
        ("a.csv", "", "holds no rows"),
        ("a.csv", "policy,map\nvdn,3m\n", "row 1: policy, map, win_percent expected"),
        ("a.csv", "policy,map,win_percent\nvdn,3m,97\nvdn,8m,197\n", "row 2: win_percent is '197'"),
        ("a.csv", "policy,map,win_percent\nvdn,3m,many\n", "row 1: win_percent is 'many'"),
        ("a.csv", "policy,map,win_percent\nvdn,3m,97\nvdn,3m,98\n", "row 2: vdn 3m has a row already"),
    ],
)
def test_a_bad_table_is_one_line_that_names_the_row(
    name: str, text: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_reference(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        read_reference(tmp_path / "none.csv")


def test_the_mean_and_the_largest_difference_leave_out_what_has_no_reference() -> None:
    rows = [
        {"policy": name, "map": "3m", "difference": difference}
        for name, difference in (("a", 0.1), ("b", None), ("c", -0.3))
    ]
    told = differences(rows)
    assert told["compared"] == 2
    assert told["mean_absolute_difference"] == pytest.approx(0.2)
    assert told["largest_difference"] == {"policy": "c", "map": "3m", "difference": -0.3}
    assert differences(rows[1:2]) == {
        "compared": 0,
        "mean_absolute_difference": None,
        "largest_difference": None,
    }


def test_the_table_that_ships_names_twelve_policies_and_known_maps() -> None:
    from hygen_lightning.tasks import battle_task

    figures = read_reference(Path(__file__).parents[2] / "docs" / "starcraft_win_rates.csv")
    assert len(figures) == 12
    for _, map_name in figures:
        battle_task(map_name)
