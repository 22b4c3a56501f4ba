"""A study file is algorithms x task sets x data qualities x seeds, or one line says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hygen_lightning.specs import UserError
from hygen_lightning.study.plan import Cell, read_study


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_cells_are_all_combinations_seed_by_seed(tmp_path: Path) -> None:
    text = (
        "algorithms: {a: , b: }\ntask_sets: [toy, marine-easy]\nqualities: [expert, medium]\nseeds: [1, 2]\n"
    )
    cells = read_study(written(tmp_path, text))
    assert len({(cell.name, cell.seed) for cell in cells}) == len(cells) == 16
    assert [cell.seed for cell in cells] == [1] * 8 + [2] * 8
    assert cells[1] == Cell("a-toy-medium", 1, ("--data.task_set=toy", "--data.quality=medium"))


def test_an_algorithm_has_layers_options_and_qualities_of_its_own(tmp_path: Path) -> None:
    text = """
algorithms:
  online: {configs: [conf/qmix.yaml], options: {x: 2, y: [1, 2]}, qualities: [none]}
  other:
configs: [conf/base.yaml, mine.yaml]
options: {x: 1}
task_sets: [toy]
qualities: [expert, medium]
"""
    online, expert, _ = read_study(written(tmp_path, text))
    assert online.name == "online-toy-none"
    layers = ("--config", "conf/base.yaml", "--config", str(Path("mine.yaml").absolute()))
    assert online.words[:6] == (*layers, "--config", "conf/qmix.yaml")
    assert online.words[6:] == ("--x=2", "--y=[1, 2]", "--data.task_set=toy", "--data.quality=none")
    assert "--x=1" in expert.words


def test_options_may_be_merged_and_changed_again(tmp_path: Path) -> None:
    text = """
algorithms:
  a: {options: &a {width: 1, lr: 1}}
  b: {options: &b {<<: *a, width: 2}}
  c: {options: {<<: *b, beta: 3}}
"""
    words = [set(cell.words) for cell in read_study(written(tmp_path, text))]
    assert words == [
        {"--width=1", "--lr=1"},
        {"--width=2", "--lr=1"},
        {"--width=2", "--lr=1", "--beta=3"},
    ]


def test_who_needs_no_recordings_is_given_none_of_the_study(tmp_path: Path) -> None:
    text = """
algorithms:
  online: {qualities: [none]}
  own: {qualities: [none], options: {data.dataset_dir: mine}}
  other:
options: {data.dataset_dir: recorded}
qualities: [expert]
"""
    online, own, other = read_study(written(tmp_path, text))
    assert online.words == ("--data.quality=none",)
    assert own.words == ("--data.dataset_dir=mine", "--data.quality=none")
    assert other.words == ("--data.dataset_dir=recorded", "--data.quality=expert")


def test_tasks_may_be_learned_one_by_one(tmp_path: Path) -> None:
    cells = read_study(written(tmp_path, "algorithms: {a: }\ntasks: [3m, 5m_vs_6m]\n"))
    assert [cell.name for cell in cells] == ["a-3m", "a-5m_vs_6m"]
    assert cells[1].words == (
        *("--data.task_set=null", '--data.train_tasks=["5m_vs_6m"]', '--data.eval_tasks=["5m_vs_6m"]'),
        "--data.extra_tasks=[]",
    )


def test_a_cell_is_an_ordinary_fit_that_goes_on_where_it_was_broken_off() -> None:
    command = Cell("bc-toy", 3, ("--model=BC",)).command(Path("/there"))
    assert command[1:] == [
        *("-m", "hygen_lightning", "fit", "--model=BC", "--run.root", "/there", "--run.name", "bc-toy"),
        *("--seed_everything", "3", "--resume", "auto"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("algoritms: {a: }\n", "unknown key 'algoritms'; a study has algorithms, task_sets"),
        ("seeds: [1]\n", "no algorithms"),
        ("algorithms: {a: {model: BC}}\n", "algorithm a: unknown key 'model'; an algorithm has configs"),
        ("algorithms: {a: [conf/bc.yaml]}\n", "an algorithm has configs, options, qualities"),
        ("algorithms: {a: }\nseeds: 3\n", "seeds is 3; give a list of whole numbers"),
        ("algorithms: {a: }\nseeds: [1.5]\n", "seeds is"),
        ("algorithms: {a: }\nseeds: [1, -1]\n", "seed is -1; give 0 to 4294967295"),
        ("algorithms: [a]\n", "algorithms is \\['a'\\]; give names, each with its configs and options"),
        ("algorithms: {a: }\ntask_sets: toy\n", "task_sets is 'toy'; give a list"),
        ("algorithms: {a: }\noptions: [x]\n", "options is"),
        ("algorithms: {a: }\noptions: {run.name: x}\n", "run.name is the study's own"),
        ("algorithms: {a/b: }\n", "'a/b' names a folder"),
        ("algorithms: {Report: }\n", "'Report' is a folder of the study itself; give another name"),
        (f"algorithms: {{{'a' * 201}: }}\n", "is too long for a folder; give a shorter name"),
        ("algorithms: {a: }\nseeds: [1, 1]\n", r"study\.yaml: two runs are called a, seed 1"),
        ("algorithms: {\n", "not YAML"),
        ("algorithms:\n  a:\n  a: {}\n", "line 3: not YAML \\(a twice\\)"),
        ("algorithms: {a: {options: {x: 2024-13-45}}}\n", "not YAML \\(month must be"),
        ("algorithms: {a: {options: {x: !!int y}}}\n", "not YAML \\(invalid literal"),
        ("[1]\n", "\\[1\\]; a study has algorithms"),
        ("", "it is empty; a study has algorithms"),
        (
            "algorithms: {a: }\ntask_sets: [x/toy.yaml, y/toy.yaml]\n",
            "toy stands twice in task_sets and tasks",
        ),
        ("algorithms: {a: }\ntask_sets: [toy]\ntasks: [toy]\n", "toy stands twice in task_sets and tasks"),
    ],
)
def test_a_wrong_study_is_refused_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        read_study(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_study_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; give a study"):
        read_study(tmp_path / "none.yaml")
