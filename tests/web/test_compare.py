"""The Compare page as a script: whom the change hit, where the two differ, what they bear."""

from __future__ import annotations

import pytest

from explorer.recipe import Prune, Recipe
from explorer.web.compare_page import EVERY, chosen_of, pair_of, started
from tests.web.test_pages import key, opened, session, words

PRUNED = "prune,sparsity=0.75"


def waited(app: object) -> None:
    held = started(session(app))  # type: ignore[arg-type]  # an AppTest
    assert held is not None
    held.job.wait(120)


@pytest.mark.parametrize(
    "sample", ["digits-vit", "negation-text", "cancer-tab", "dates-seq2seq", "digits-cbam", "scene-vqa"]
)
def test_the_page_draws_for_every_kind_of_sample(sample: str) -> None:
    app = opened("compare", model=sample, recipe="prune,sparsity=0.5")
    waited(app)
    app.run()
    assert "could not be drawn" not in words(app) and not app.exception
    assert "Whom it hit" in words(app) and "Where they differ" in words(app)


def test_a_model_beside_itself_has_nothing_to_compare() -> None:
    app = opened("compare", model="digits-vit")
    assert "Nothing to compare" in words(app)
    assert not [button for button in app.button if button.key == "trials-start"]


def test_what_is_shown_is_what_the_comparison_says() -> None:
    app = opened("compare", model="digits-vit", recipe=PRUNED)
    waited(app)
    app.run()
    held = started(session(app))
    assert held is not None and held.found is not None
    found = held.found
    assert found.disagreements.sentence() in words(app)
    assert all(
        f'<td class="left">{group.name}</td><td>{group.examples:,}</td>' in words(app) for group in found.classes
    )
    every = found.disagreements
    broken = chosen_of(every, "broken", EVERY)
    assert len(broken) == found.quality.change.broken
    app.selectbox(key=key(app, "differ-kind")).set_value("broken").run()
    assert broken.sentence() in words(app)


def test_two_recipes_of_the_history_are_compared() -> None:
    app = opened("compare", model="digits-vit", recipe=PRUNED)
    session(app).go(Recipe([Prune(sparsity=0.5)]))
    app.run()
    app.selectbox(key=key(app, "compare-with")).set_value(Recipe.from_url(PRUNED)).run()
    assert pair_of(session(app)) == (Recipe.from_url(PRUNED), Recipe([Prune(sparsity=0.5)]))
    waited(app)
    app.run()
    assert not app.exception and "could not be drawn" not in words(app)


def test_both_are_tried_and_the_worst_is_said() -> None:
    app = opened("compare", model="cancer-tab", recipe="prune,sparsity=0.8")
    waited(app)
    app.run()
    app.button(key="trials-start").click().run()
    held = started(session(app))
    assert held is not None and held.trials is not None
    held.trials.wait(200)
    app.run()
    assert held.trials.robustness.sentence()[1:] in words(app).replace("&gt;", ">")
    assert not app.exception


def test_the_sleeper_wakes_and_is_found() -> None:
    app = opened("compare", model="digits-sleeper", recipe="prune,pattern=n:m,n=2,m=4")
    waited(app)
    app.run()
    assert "could not be drawn" not in words(app)
    held = started(session(app))
    assert held is not None and held.found is not None and held.found.quality.after.value > 0.95
