"""The file that says how teachers are trained."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from hygen_lightning.recordings.recipe import Recipe, task_digest
from hygen_lightning.specs import UserError
from hygen_lightning.tasks import load_task

SMALL: dict[str, Any] = {"fit": {"--data.quality": "none"}, "max_steps": {"3m": 7}, "env_steps_per_step": 5}


def read(tmp_path: Path, **other: Any) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **other}), encoding="utf-8")
    return Recipe.read(path)


def test_the_shipped_recipe_names_options_of_fit_and_budgets() -> None:
    recipe = Recipe.read()
    assert all(name.startswith("--") for words in (recipe.fit, *recipe.styles) for name in words)
    assert recipe.steps_of("3m") >= 1
    assert recipe.steps_of("27m_vs_30m") >= 1


def test_styles_lie_over_the_options_and_begin_again(tmp_path: Path) -> None:
    styles = [{}, {"--data.quality": "medium", "--data.batch_size": 3}]
    recipe = read(tmp_path, styles=styles)
    assert recipe.options(1) == recipe.options(3) == {"--data.quality": "none"}
    assert recipe.options(2) == {"--data.quality": "medium", "--data.batch_size": "3"}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"budget": 3}, "unknown key 'budget'; a recipe has fit, max_steps,"),
        ({"points": 0}, "points is 0; give a number from 1 on"),
        ({"stop_at": 97}, "stop_at is 97; it is a share, give 0 to 1"),
        ({"max_steps": {"3m": "many"}}, "max_steps is"),
        ({"fit": ["--data.quality"]}, "hold options of `fit`"),
        ({"styles": []}, "hold options of `fit`"),
    ],
)
def test_a_wrong_recipe_is_refused(other: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        read(tmp_path, **other)


def test_what_a_recipe_must_say_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("fit: {}\n", encoding="utf-8")
    with pytest.raises(UserError, match="no max_steps"):
        Recipe.read(path)


def test_a_task_without_a_budget_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no max_steps for 8m; give --teacher_steps N"):
        read(tmp_path).steps_of("8m")


def test_numbers_that_are_not_given_have_defaults(tmp_path: Path) -> None:
    recipe = read(tmp_path, within=0.2)
    assert recipe.bounds.within == 0.2
    assert recipe.bounds.least_expert == {f.name: f.default for f in fields(Recipe)}["least_expert"]


def test_tasks_of_one_name_have_digests_of_their_own() -> None:
    from dataclasses import replace

    task = load_task("3m")
    assert task_digest(task) == task_digest(load_task("3m"))
    assert task_digest(task) != task_digest(replace(task, enemy_attack_move_to=None))
