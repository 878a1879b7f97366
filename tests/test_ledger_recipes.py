"""The recipes that ship: each is valid for its sample, documented, and small enough to plan without training."""

from __future__ import annotations

from pathlib import Path

import pytest

import explorer as ex
from explorer.recipe import as_recipe
from explorer.steps import Codebook, Recover
from tests.ledger import Line, recipes, table


def test_the_two_digit_models_have_recipes() -> None:
    assert {"digits-vit", "digits-lenet"} <= {path.stem for path in recipes()} <= set(ex.samples())


@pytest.mark.parametrize("path", recipes(), ids=lambda path: path.stem)
def test_a_recipe_fits_its_sample(path: Path) -> None:
    bench, recipe = ex.load(path.stem), as_recipe(path)
    plan = bench.plan(recipe)
    assert not plan.warnings
    assert any(isinstance(step, Codebook) and step.rest == 8 for step in recipe)
    assert isinstance(recipe[len(recipe) - 1], Recover)
    assert as_recipe(recipe.to_yaml()) == recipe == ex.Recipe.from_url(recipe.to_url())


@pytest.mark.parametrize("path", recipes(), ids=lambda path: path.stem)
def test_a_recipe_says_what_it_does(path: Path) -> None:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith(f"# How small {path.stem} gets")


def test_a_line_of_the_table_states_both_ratios() -> None:
    line = Line("toy", "0.9", "0.89 (0.8 to 0.95)", "-1", 1000, 100, 50, 2.4)
    last = table([line]).splitlines()[-1]
    assert last == "| `toy` | 0.9 | 0.89 (0.8 to 0.95) | -1 | 1,000 | 100 (×10.0) | 50 (×20.0) | 2 |"
