"""The recipes that ship: each is valid for its sample, documented, and small enough to plan without training."""

from __future__ import annotations

from pathlib import Path

import pytest

import explorer as ex
from explorer.recipe import as_recipe
from explorer.steps import Codebook, Recover
from tests import ledger
from tests.ledger import Line, recipes, rows_in, table

SAMPLES = {"cancer-tab", "digits-lenet", "digits-vit", "negation-text", "scene-digits", "story-lm"}


def test_the_first_six_samples_have_recipes() -> None:
    assert {path.stem for path in recipes()} >= SAMPLES
    assert {path.stem for path in recipes()} <= set(ex.samples())


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
    line = Line("digits-vit", "0.9", "0.89 (0.8 to 0.95)", "-1", 1000, 100, 50, 2.4)
    last = table({"digits-vit": str(line), "gone": "a sample without a recipe"}).splitlines()[-1]
    assert last == "| `digits-vit` | 0.9 | 0.89 (0.8 to 0.95) | -1 | 1,000 | 100 (×10.0) | 50 (×20.0) | 2 |"


def test_every_recipe_has_its_row_in_the_readme() -> None:
    _, inside, _ = ledger.split(ledger.README.read_text(encoding="utf-8"))
    assert set(rows_in(inside)) == {path.stem for path in recipes()}
    assert inside.strip() == table(rows_in(inside))


def test_one_row_can_be_measured_anew_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        f"before\n{ledger.START}\n{table({'digits-vit': '| `digits-vit` | old |'})}\n{ledger.END}\nafter\n"
    )
    monkeypatch.setattr(ledger, "README", readme)
    text = ledger.update({"cancer-tab": "| `cancer-tab` | new |"})
    assert text.splitlines()[2:] == ["| `cancer-tab` | new |", "| `digits-vit` | old |"]
    assert readme.read_text() == f"before\n{ledger.START}\n{text}\n{ledger.END}\nafter\n"
    ledger.update({"digits-vit": "| `digits-vit` | newer |"})
    assert rows_in(readme.read_text())["digits-vit"] == "| `digits-vit` | newer |"
    readme.write_text("no markers")
    with pytest.raises(SystemExit, match="lacks"):
        ledger.update({})
