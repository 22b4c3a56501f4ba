"""Battles and task sets of users: from Python, from YAML files, by module and name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hygen_lightning.envs import make_env
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import (
    TASK_SETS,
    BattleTask,
    TaskSet,
    expand,
    load_task,
    load_task_set,
    make_battle,
    read_task,
    register_task,
    register_task_set,
    registry,
)
from hygen_lightning.tasks.battles import as_battle

SMALL = """
allies: {marauder: 1, marine: 2}
enemies:
  - {unit: marine, count: 2, spawn: [23, 12]}
  - {unit: marine, spawn: [23.5, 20]}
episode_limit_env_steps: 100
enemy_attack_move_to: null
"""


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_task_file_of_two_lines_is_a_battle_with_sensible_defaults(tmp_path: Path) -> None:
    path = _written(tmp_path / "6m_vs_8m.yaml", "allies: {marine: 6}\nenemies: {marine: 8}\n")
    task = as_battle(load_task(str(path)))
    like = as_battle(load_task("5m_vs_6m"))
    assert (task.name, task.n_allies, task.n_enemies) == ("6m_vs_8m", 6, 8)
    assert task.layout.widths == like.layout.widths, "a policy for marines plays it"
    assert {*task.ally_spawns} == {*like.ally_spawns}
    assert {*task.enemy_spawns} == {*like.enemy_spawns}
    assert task.enemy_attack_move_to == like.enemy_attack_move_to
    assert (task.terrain, task.ally_race, task.episode_limit_env_steps) == (like.terrain, "T", 120)


def test_everything_that_a_task_file_may_say_is_heard(tmp_path: Path) -> None:
    text = f"{SMALL}name: small\nterrain: open\nally_race: P\nunit_types: [marine, marauder]\n"
    task = read_task(_written(tmp_path / "x.yaml", text))
    assert task.name == "small"
    assert task.ally_units == ("marine", "marine", "marauder"), "sorted by type, as SMAC does"
    assert task.enemy_spawns == ((23.0, 12.0), (23.0, 12.0), (23.5, 20.0))
    assert task.enemy_attack_move_to is None
    assert (task.terrain, task.ally_race, task.enemy_race) == ("open", "P", "T")
    assert task.ally_types == task.enemy_types == ("marine", "marauder")
    assert task.layout.own_features[-3:] == ("shield", "type0", "type1")


def test_type_bits_follow_from_the_units_as_smac_numbers_them() -> None:
    mixed = make_battle("a", {"marine": 2, "marauder": 1}, {"marine": 3})
    assert mixed.layout.widths == load_task("MMM").layout.widths
    assert mixed.ally_units == ("marauder", "marine", "marine")
    zealots = make_battle("b", {"zealot": 2, "stalker": 1}, {"zealot": 1})
    assert (zealots.ally_types, zealots.enemy_types) == (("stalker", "zealot"), ("zealot", "stalker"))
    assert make_battle("c", {"marine": 2}, {"zealot": 1}).layout.widths == load_task("2m_vs_1z").layout.widths
    odd = make_battle("d", {"marine": 1}, {"hydralisk": 1, "zergling": 1})
    assert odd.ally_types == ("hydralisk", "marine", "zergling")


@pytest.mark.parametrize("name", ["6m_vs_8m", "2m1M_vs_3m", "1z_vs_2h1z"])
def test_the_simulator_plays_battles_of_users(name: str) -> None:
    sides: dict[str, tuple[dict[str, int], dict[str, int]]] = {
        "6m_vs_8m": ({"marine": 6}, {"marine": 8}),
        "2m1M_vs_3m": ({"marine": 2, "marauder": 1}, {"marine": 3}),
        "1z_vs_2h1z": ({"zealot": 1}, {"hydralisk": 2, "zergling": 1}),
    }
    task = make_battle(name, *sides[name])
    env = make_env("simulator", task, 4)
    seen = env.reset(torch.arange(4))
    assert seen.obs.shape == (4, task.n_allies, task.layout.obs_dim)
    assert seen.state.shape == (4, task.layout.state_dim)
    for _ in range(task.episode_limit_env_steps):
        step = env.step(seen.avail_actions.float().flatten(0, 1).argmax(-1).view(4, -1))
        seen = step.observation
        if bool(step.terminated.any()):
            break
    assert step.terminated.any()


BAD_FILES = {
    "alies: {marine: 3}\nenemies: {marine: 3}": "unknown key 'alies'; did you mean allies?",
    "allies: {marine: 3}": "no enemies; give `enemies: {marine: 3}`",
    "[1, 2]": "holds no keys",
    "allies: {marine: [": "cannot be read as YAML",
    "allies: {marin: 3}\nenemies: {marine: 3}": "unknown unit 'marin'; did you mean marine?",
    "allies: {marine: 0}\nenemies: {marine: 3}": "allies has 0 of marine; give a number of at least 1",
    "allies: {marine: three}\nenemies: {marine: 3}": "allies has 'three' of marine",
    "allies: 3\nenemies: {marine: 3}": "allies is 3; give units and counts",
    "allies: {}\nenemies: {marine: 3}": "allies is {}; give units and counts",
    "allies: {marine: 3}\nenemies: [{unit: marine, place: [3, 3]}]": "unknown key in enemies 'place'",
    "allies: {marine: 3}\nenemies: [{unit: marine, spawn: [0, 40]}]": "spawn of enemies is [0, 40]; give",
    "allies: {marine: 3}\nenemies: [{unit: marine, spawn: [0, 0]}]": "where nobody can walk on terrain plain",
    "allies: {marine: 3}\nenemies: {marine: 3}\nepisode_limit_env_steps: 0": "the limit is 0 steps",
    "allies: {marine: 3}\nenemies: {marine: 3}\nepisode_limit_env_steps: 1000000000": "give at most 10000",
    "allies: {marine: 100000000}\nenemies: {marine: 3}": "allies has more than 500 units",
    "name: ../evil\nallies: {marine: 3}\nenemies: {marine: 3}": "names a folder too",
    "allies: {marine: 3}\nenemies: {marine: 3}\nunit_types: 5": "unit_types is 5; give a list",
    "allies: {marine: 3}\nenemies: {marine: 3}\nterrain: moon": "unknown terrain 'moon'",
    "allies: {marine: 3}\nenemies: {marine: 3}\nally_race: X": "unknown ally_race 'X'; known: T, P, Z",
    "allies: {marine: 1, zealot: 1}\nenemies: {marine: 3}": "units of races P and T on one side; say which",
    "allies: {marine: 3}\nenemies: {marine: 3}\nunit_types: [zealot]": "unit_types does not name marine",
    "allies: {marine: 3}\nenemies: {marine: 3}\nenemy_attack_move_to: home": "enemy_attack_move_to is 'home'",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_task_file_that_is_wrong_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "mine.yaml", text)
    with pytest.raises(UserError) as error:
        load_task(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert BAD_FILES[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        load_task(str(tmp_path / "nowhere.yaml"))


def test_a_registered_task_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {})
    task = register_task(make_battle("6m_vs_8m", {"marine": 6}, {"marine": 8}))
    assert load_task("6m_vs_8m") is task
    assert "6m_vs_8m" in registry.all_task_names()
    register_task(make_battle("6m_vs_8m", {"marine": 6}, {"marine": 8}))  # its module may be read twice
    for name in ("6m_vs_8m", "3m", "cn-3"):
        with pytest.raises(UserError, match=f"a task {name} exists already"):
            register_task(make_battle(name, {"marine": 1}, {"marine": 1}))


def test_a_task_of_a_module_is_found_by_the_module_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(
        tmp_path / "my_battles.py",
        "from hygen_lightning.tasks import make_battle\n"
        "DUEL = make_battle('duel', {'marine': 1}, {'marine': 1})\nOTHER = 3\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_task("my_battles:DUEL").name == "duel"
    for name, message in (
        ("my_battles:DUAL", "no attribute 'DUAL'"),
        ("my_battles:OTHER", "is a int; give a TaskSpec"),
        ("no_such_module:X", "No module named"),
    ):
        with pytest.raises(UserError, match=f"task {name}: .*{message}"):
            load_task(name)


def test_a_task_set_file_names_tasks_and_task_files_beside_it(tmp_path: Path) -> None:
    _written(tmp_path / "tasks" / "6m_vs_8m.yaml", "allies: {marine: 6}\nenemies: {marine: 8}\n")
    path = _written(tmp_path / "my_set.yaml", "train: [3m, 5m]\nunseen: [4m, tasks/6m_vs_8m.yaml]\n")
    task_set = load_task_set(str(path))
    assert [task.name for task in expand(task_set.train)] == ["3m", "5m"]
    assert [task.name for task in expand(task_set.unseen)] == ["4m", "6m_vs_8m"]
    assert task_set.extra == ()
    assert [task.name for task in expand([str(path), "3m"])] == ["3m", "5m", "4m", "6m_vs_8m"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unseen: [3m]", "no train; give a list"),
        ("train: 3m", "train is '3m'; give a list"),
        ("train: [3m]\ntest: [4m]", "unknown key 'test'; a task set has train, unseen, extra"),
    ],
)
def test_a_task_set_file_that_is_wrong_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"set\.yaml: {message}"):
        load_task_set(str(_written(tmp_path / "set.yaml", text)))


def test_a_registered_task_set_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hygen_lightning.tasks.sets.TASK_SETS", dict(TASK_SETS))
    mine = TaskSet((make_battle("duel", {"marine": 1}, {"marine": 1}),), ("3m",))
    register_task_set("mine", mine)
    assert load_task_set("mine") == mine
    with pytest.raises(UserError, match="a task set toy exists already"):
        register_task_set("toy", mine)
    with pytest.raises(UserError, match=r"unknown task set 'marine-hart'; did you mean marine-hard\?"):
        load_task_set("marine-hart")


def test_two_tasks_of_one_name_do_not_go_together() -> None:
    def duel(n: int) -> BattleTask:
        return make_battle("duel", {"marine": n}, {"marine": n})

    assert expand([duel(1), duel(1)]) == [duel(1)]
    with pytest.raises(UserError, match="two tasks are called duel"):
        expand([duel(1), duel(2)])


def test_a_mistyped_name_is_told_whether_task_or_set() -> None:
    for name, near in (("marine-hart", "marine-hard"), ("5m_vs_6", "5m_vs_6m")):
        with pytest.raises(UserError, match=f"did you mean {near}"):
            expand([name])
