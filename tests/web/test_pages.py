"""The pages as scripts: they draw, their knobs move the recipe, and nothing that goes wrong empties them."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from explorer.recipe import LowRank, Prune, Recipe
from explorer.subjects.samples import shipped
from explorer.web.server import APP
from explorer.web.state import KEY, START, Session

SECONDS = 60


def opened(page: str = "compress", **link: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=SECONDS)
    for name, value in link.items():
        app.query_params[name] = value
    app.run()
    if page != "compress":
        app.switch_page(str(shipped("pages") / f"{page}.py")).run()
    assert not app.exception
    return app


def session(app: AppTest) -> Session:
    found: Session = app.session_state[KEY]
    return found


def key(app: AppTest, control: str) -> str:
    """The key under which a control stands now (see `Session.control`)."""
    return f"{control}-{session(app).controls[control][0]}"


def words(app: AppTest) -> str:
    """All the HTML that the page shows."""
    return "\n".join(element.proto.body for element in app.get("html"))


@pytest.mark.parametrize("page", ["compress", "model", "layers", "attention", "attribution", "compare"])
def test_each_page_draws_without_a_trace(page: str) -> None:
    app = opened(page)
    assert "accuracy" in words(app).lower()
    assert "could not be drawn" not in words(app)


def test_a_first_visit_finds_one_knob_at_nothing() -> None:
    app = opened()
    assert session(app).recipe == START
    assert app.query_params["model"] == "digits-vit"


def test_the_sparsity_slider_moves_the_recipe_the_numbers_and_the_address() -> None:
    app = opened()
    step = session(app).trail.now.ids[0]
    app.slider(key=key(app, f"sparsity-{step}")).set_value(40.0).run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.4)])
    assert app.query_params["recipe"] == "prune,sparsity=0.4"
    size = session(app).bench.compress(Recipe([Prune(sparsity=0.4)])).size
    assert f"{100 * size.sparsity:.1f} %" in words(app)


def test_threshold_and_sparsity_move_each_other() -> None:
    app = opened()
    step = session(app).trail.now.ids[0]
    app.number_input(key=key(app, f"threshold-{step}")).set_value(0.03).run()
    assert session(app).recipe == Recipe([Prune(threshold=0.03)])
    share = session(app).bench.scores(session(app).recipe, 0).sparsity_at(0.03)
    assert app.slider(key=key(app, f"sparsity-{step}")).value == pytest.approx(100 * share, abs=0.05)
    app.slider(key=key(app, f"sparsity-{step}")).set_value(50.0).run()
    threshold = session(app).bench.scores(session(app).recipe, 0).threshold_at(0.5)
    assert app.number_input(key=key(app, f"threshold-{step}")).value == pytest.approx(threshold)


def test_the_pattern_brings_its_own_amounts() -> None:
    app = opened(model="digits-vit", recipe="prune,sparsity=0.3")
    step = session(app).trail.now.ids[0]
    app.button_group(key=key(app, f"pattern-{step}")).set_value("n:m").run()
    assert session(app).recipe == Recipe([Prune(pattern="n:m", n=2, m=4)])
    app.number_input(key=key(app, f"n-{step}")).set_value(1).run()
    assert session(app).recipe == Recipe([Prune(pattern="n:m", n=1, m=4)])
    app.button_group(key=key(app, f"pattern-{step}")).set_value("row").run()
    assert session(app).recipe == Recipe([Prune(pattern="row", sparsity=0.75)])
    assert not app.exception


def test_another_score_keeps_the_share_that_goes() -> None:
    app = opened(model="digits-vit", recipe="prune,threshold=0.03")
    step, before = session(app).trail.now.ids[0], session(app).bench.compress("- {step: prune, threshold: 0.03}")
    app.selectbox(key=key(app, f"criterion-{step}")).set_value("random").run()
    (chosen,) = session(app).recipe
    assert isinstance(chosen, Prune) and chosen.criterion == "random"
    assert chosen.sparsity == pytest.approx(before.size.sparsity, abs=1e-4)


def test_all_layers_chosen_one_by_one_are_simply_all() -> None:
    app = opened(model="digits-vit", recipe="prune,sparsity=0.3,layers=head")
    step, names = session(app).trail.now.ids[0], session(app).bench.matrices().names
    app.multiselect(key=key(app, f"layers-{step}")).set_value(["head", *names]).run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.3)])


def test_the_layers_page_offers_a_scan_and_says_what_it_cannot_start_from() -> None:
    app = opened("layers", model="digits-vit")
    assert "Nothing is scanned yet" in words(app)
    app.selectbox(key=key(app, "scan-from")).set_value("recipe").run()
    app.button(key="scan-start").click().run()
    assert "changes nothing" in (session(app).message or "") and session(app).trail.scan is None
    assert not app.exception


def test_rank_and_energy_move_each_other() -> None:
    app = opened(model="digits-vit", recipe="low-rank,rank=16")
    step = session(app).trail.now.ids[0]
    app.slider(key=key(app, f"energy-{step}")).set_value(90.0).run()
    assert session(app).recipe == Recipe([LowRank(energy=0.9)])
    matrix = app.selectbox(key=key(app, f"spectrum-{step}")).value
    rank = session(app).bench.spectrum(str(matrix), session(app).recipe, 0).rank_for(0.9)
    assert app.number_input(key=key(app, f"rank-{step}")).value == rank
    app.number_input(key=key(app, f"rank-{step}")).set_value(8).run()
    assert session(app).recipe == Recipe([LowRank(rank=8)])


def test_steps_are_added_moved_switched_off_and_removed() -> None:
    app = opened()
    app.button(key="add-low-rank").click().run()
    first, second = session(app).trail.now.ids
    assert [step.kind for step in session(app).recipe] == ["prune", "low-rank"]
    assert "the zeros" in words(app) or session(app).bench.plan(session(app).recipe).warnings == ()
    app.button(key=f"up-{second}").click().run()
    assert [step.kind for step in session(app).recipe] == ["low-rank", "prune"]
    assert session(app).trail.now.ids == (second, first)
    app.toggle(key=key(app, f"on-{second}")).set_value(False).run()
    assert not session(app).recipe[0].enabled
    app.button(key=f"remove-{first}").click().run()
    app.button(key=f"remove-{second}").click().run()
    assert len(session(app).recipe) == 0
    assert "Nothing is changed yet" in words(app)


def test_undo_and_redo_also_from_another_page() -> None:
    app = opened()
    step = session(app).trail.now.ids[0]
    app.slider(key=key(app, f"sparsity-{step}")).set_value(40.0).run()
    app.slider(key=key(app, f"sparsity-{step}")).set_value(70.0).run()
    app.switch_page(str(shipped("pages") / "model.py")).run()
    app.button(key="undo").click().run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.4)])
    app.switch_page(str(shipped("pages") / "compress.py")).run()
    assert app.slider(key=key(app, f"sparsity-{step}")).value == 40.0
    app.button(key="redo").click().run()
    assert app.slider(key=key(app, f"sparsity-{step}")).value == 70.0


def test_the_list_brings_a_former_recipe_back() -> None:
    app = opened()
    step = session(app).trail.now.ids[0]
    app.slider(key=key(app, f"sparsity-{step}")).set_value(40.0).run()
    app.slider(key=key(app, f"sparsity-{step}")).set_value(70.0).run()
    app.selectbox(key=key(app, "history-list")).select_index(1).run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.4)])


def test_another_sample_keeps_what_was_done_with_the_first() -> None:
    app = opened()
    step = session(app).trail.now.ids[0]
    app.slider(key=key(app, f"sparsity-{step}")).set_value(40.0).run()
    app.selectbox(key=key(app, "sample")).set_value("cancer-tab").run()
    assert not app.exception and session(app).recipe == START
    app.selectbox(key=key(app, "sample")).set_value("digits-vit").run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.4)])


def test_a_link_opens_its_state_and_leaves_nothing_to_undo() -> None:
    app = opened(model="cancer-tab", recipe="low-rank,rank=4")
    assert session(app).sample == "cancer-tab"
    assert session(app).recipe == Recipe([LowRank(rank=4)])
    assert app.button(key="undo").disabled


@pytest.mark.parametrize(
    ("link", "sentence", "sample"),
    [
        ({"model": "no-such"}, "here is no sample called", "digits-vit"),
        ({"model": "cancer-tab", "recipe": "prune,sparsity=1.4"}, "outside 0 to 1", "cancer-tab"),
        ({"model": "digits-vit", "recipe": "melt,heat=3"}, "here is no step called", "digits-vit"),
        (
            {"model": "digits-vit", "recipe": "prune,sparsity=0.5,layers=nowhere"},
            "no weight matrix matches",
            "digits-vit",
        ),
        ({"model": "digits-vit", "recipe": "%%%;,,="}, "", "digits-vit"),
        ({"model": "<img src=x onerror=alert(1)>"}, "&lt;img", "digits-vit"),
    ],
)
def test_a_bad_link_shows_one_sentence_and_a_working_page(link: dict[str, str], sentence: str, sample: str) -> None:
    app = opened(**link)
    assert sentence in words(app) and "Not done." in words(app)
    assert session(app).sample == sample and session(app).recipe == START
    step = session(app).trail.now.ids[0]
    app.slider(key=key(app, f"sparsity-{step}")).set_value(20.0).run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.2)])
    assert "Not done." not in words(app)


def test_an_impossible_move_says_so_and_leaves_the_state() -> None:
    app = opened(model="digits-vit", recipe="prune,sparsity=0.3")
    step = session(app).trail.now.ids[0]
    app.multiselect(key=key(app, f"layers-{step}")).set_value(["*", "nowhere.*"]).run()
    assert "no weight matrix matches" in words(app)
    assert session(app).recipe == Recipe([Prune(sparsity=0.3)])
    assert app.multiselect(key=key(app, f"layers-{step}")).value == ["*"]
    app.text_input(key=key(app, f"overrides-{step}")).set_value("head 3").run()
    assert "is not name=amount" in words(app)
    app.text_input(key=key(app, f"overrides-{step}")).set_value("head=off").run()
    assert session(app).recipe == Recipe([Prune(sparsity=0.3, overrides={"head": None})])


def test_the_python_lines_and_the_yaml_are_the_recipe() -> None:
    app = opened(model="digits-vit", recipe="low-rank,rank=16;prune,sparsity=0.5")
    python = next(block.value for block in app.code if "ex.load" in block.value)
    assert 'ex.load("digits-vit")' in python and "ex.LowRank(rank=16)" in python and "ex.Prune(sparsity=0.5)" in python
    assert any("recipe=low-rank" in block.value for block in app.code)


def test_a_model_with_several_heads_shows_the_accuracy_of_each_beside_the_dense_one() -> None:
    app = opened(model="digits-cbam", recipe="prune,sparsity=0.6")
    found = session(app)
    found.dense.wait(SECONDS)
    found.job.wait(SECONDS)
    app.run()
    shown = words(app)
    assert found.dense.quality is not None and found.job.quality is not None
    for name, value in found.job.quality.by_head.items():
        assert f"{name} {100 * value:.1f} %, dense {100 * found.dense.quality.by_head[name]:.1f} %" in shown
    assert " · no loop<span>" in shown and "could not be drawn" not in shown
    fields = [field.key for field in app.number_input if "gate-" in str(field.key)]
    assert any("min_agreement" in str(name) for name in fields)
    assert not any("max_class_loss" in str(name) for name in fields)
    app.button(key="see-all").click().run()
    assert "loop → " in words(app) and not app.exception
    app.switch_page(str(shipped("pages") / "model.py")).run()
    assert "digit (10 classes) · loop (2 classes)" in words(app) and "Accuracy, loop" in words(app)


def test_dates_stand_with_what_was_written_on_both_pages() -> None:
    app = opened(model="dates-seq2seq", recipe="prune,sparsity=0.7")
    session(app).dense.wait(SECONDS)
    session(app).job.wait(SECONDS)
    app.run()
    shown = words(app)
    assert "The same twelve texts, now" in shown and "Work per text" in shown
    assert "the 31st of July, 1933" in shown and "was 1933-07-31" in shown and "<mark>" in shown
    app.button(key="see-all").click().run()
    assert "1933-07-31 → " in words(app) or "1949-12-17 → " in words(app)
    app.switch_page(str(shipped("pages") / "model.py")).run()
    assert not app.exception and "could not be drawn" not in words(app)
    assert "march the 2nd, &#x27;15" in words(app) and "<b>2015-03-02</b>" in words(app)
