"""The Attention page as a script: examples, heads, edits, and what cannot be shown."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from explorer.errors import ExplorerError
from explorer.figures.words import ratio_text
from explorer.recipe import Recipe
from explorer.steps import EditAttention
from explorer.web import attention_example, attention_figures, attention_guides, attention_heads, look
from explorer.web.attention_example import ink_of
from explorer.web.attention_heads import grid_data, places_data
from explorer.web.look import Look, look_of, looked, offered
from explorer.web.state import Session
from explorer.web.workbenches import dense_job, workbench
from tests.web.test_pages import key, opened, session, words

LAYER = "encoder.layers.1.self_attn"
SENTENCE = "the lead is superb but the movie is never superb"


ATTENDING = (
    "digits-vit", "scene-digits", "negation-text", "story-lm", "cancer-tab", "digits-cbam", "dates-seq2seq",
    "scene-vqa",
)  # fmt: skip


@pytest.mark.parametrize("sample", ATTENDING)
def test_the_page_draws_for_every_sample_that_attends(sample: str) -> None:
    app = opened("attention", model=sample)
    assert "could not be drawn" not in words(app)
    assert "What attention does and does not explain" in words(app)
    found = looked(session(app))
    assert found.variant.layers == session(app).bench.attention_sites.names and found.before


def test_a_model_without_attention_says_so_and_offers_others() -> None:
    app = opened("attention", model="digits-lenet")
    assert "No attention here" in words(app)
    app.button(key="go-negation-text").click().run()
    assert session(app).sample == "negation-text" and "All heads" in words(app)


def test_a_typed_sentence_turns_over_when_the_head_for_not_goes() -> None:
    app = opened("attention", model="negation-text")
    app.text_input(key=key(app, "look-typed")).set_value(SENTENCE).run()
    before = looked(session(app)).after[0].answers[0]
    assert before[0] == "negative" and before[1] is not None and before[1] > 0.95
    look_of(session(app)).layer, look_of(session(app)).head = LAYER, 0
    app.run()
    app.button(key="head-off").click().run()
    assert session(app).recipe == Recipe([EditAttention(edit="off", own_heads={LAYER: (0,)})])
    assert looked(session(app)).after[0].answers[0][0] == "positive"
    session(app).job.wait(60)
    app.run()
    assert "flipped" in words(app) and "Whom it hits" in words(app)


def test_heads_that_are_switched_off_gather_in_one_step_and_come_back_one_by_one() -> None:
    app = opened("attention", model="negation-text")
    for head in (0, 1):
        look_of(session(app)).layer, look_of(session(app)).head = LAYER, head
        app.run()
        app.button(key="head-off").click().run()
    assert session(app).recipe == Recipe([EditAttention(edit="off", own_heads={LAYER: (0, 1)})])
    app.button(key="head-on").click().run()
    assert session(app).recipe == Recipe([EditAttention(edit="off", own_heads={LAYER: (0,)})])
    app.button(key="undo").click().run()
    assert session(app).recipe[0] == EditAttention(edit="off", own_heads={LAYER: (0, 1)})


@pytest.mark.parametrize(
    ("text", "told"), [("   ", "empty"), (" ".join(["good"] * 40), "more than the 24"), ("the zorp is good", "unknown")]
)
def test_sentences_that_cannot_be_read_say_why(text: str, told: str) -> None:
    app = opened("attention", model="negation-text")
    app.text_input(key=key(app, "look-typed")).set_value(text).run()
    assert told in (session(app).message or "") + words(app)
    assert "could not be drawn" not in words(app) and not app.exception


def test_an_edit_of_all_heads_is_added_turned_and_removed() -> None:
    app = opened("attention", model="digits-vit")
    app.button(key="add-edit-top-k").click().run()
    (step,) = session(app).recipe
    assert step == EditAttention(edit="top-k", k=3)
    number = session(app).trail.now.ids[0]
    app.number_input(key=key(app, f"k-{number}")).set_value(1).run()
    assert session(app).recipe == Recipe([EditAttention(edit="top-k", k=1)])
    app.selectbox(key=key(app, f"edit-{number}")).set_value("uniform").run()
    assert session(app).recipe == Recipe([EditAttention(edit="uniform")])
    app.button(key=f"remove-{number}").click().run()
    assert len(session(app).recipe) == 0


def test_examples_are_offered_by_class_and_by_what_went_wrong() -> None:
    app = opened("attention", model="digits-vit", recipe="prune,sparsity=0.8")
    here = session(app)
    here.job.wait(60)
    here.dense.wait(60)
    quality, targets = here.job.quality, here.bench.subject.split("tune").targets
    assert quality is not None and quality.correct is not None
    assert offered(here, "class 8") == (targets == 8).nonzero().flatten().tolist()
    assert len(offered(here, "wrong")) == quality.mistakes
    assert set(offered(here, "flipped")) >= set(offered(here, "wrong")) - set(_dense_mistakes(here))
    app.selectbox(key=key(app, "look-among")).set_value("wrong").run()
    assert look_of(here).index in offered(here, "wrong")
    before = look_of(here).index
    app.button(key="look-step-1").click().run()
    assert look_of(here).index != before and look_of(here).index in offered(here, "wrong")


def _dense_mistakes(here: Session) -> Any:
    quality = here.dense.quality
    assert quality is not None and quality.correct is not None
    return quality.indices[~quality.correct].tolist()


def test_the_grid_says_what_each_head_gives_to_the_chosen_place() -> None:
    app = opened("attention", model="negation-text")
    here = session(app)
    found = looked(here)
    chosen = look_of(here)
    assert chosen.place is not None  # the first word of the known evidence
    data = grid_data(here, chosen, found, "to")
    weights = found.variant[LAYER].weights[0]
    valid = found.variant[LAYER].valid_queries[0]
    cell = data["rows"][1]["cells"][0]
    assert cell["number"] == f"{float(weights[0][valid][:, chosen.place].mean()):.2f}"
    assert cell["image"].startswith("data:image/png;base64,")


def test_dense_and_variant_share_a_scale_and_their_difference_is_theirs() -> None:
    app = opened("attention", model="negation-text", recipe="prune,sparsity=0.5")
    here = session(app)
    data = places_data(here, look_of(here), looked(here), same=False)
    dense, variant, difference = data["panels"]
    assert dense["note"] == variant["note"] and difference["signed"]
    numbers = [[float(value) for value in panel["values"]] for panel in (dense, variant, difference)]
    assert np.allclose(np.subtract(numbers[1], numbers[0]), numbers[2], atol=2e-3)
    assert max(max(dense["shades"]), max(variant["shades"])) == pytest.approx(1.0)


def test_rollout_starts_from_the_class_token() -> None:
    app = opened("attention", model="digits-vit")
    here = session(app)
    chosen = look_of(here)
    found = looked(here)
    chosen.way = "rollout"
    axis, values = look.on_input(chosen, found.variant)
    assert axis.first == 1 and torch.allclose(values, found.variant.flow_to(0)[0])
    assert "class token" in look.from_words(chosen, found.variant.found[0].queries)


def test_a_picture_is_cut_out_and_turned_to_ink() -> None:
    picture = np.full((60, 80), 255, dtype=np.uint8)
    picture[20:50, 40:44] = 0
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    file.seek(0)
    ink = ink_of(file, (8, 8))
    assert ink.shape == (8, 8) and float(ink[:, 3:5].mean()) > 0.4 and float(ink[:, 0].max()) == 0.0
    file.seek(0)
    inverted = io.BytesIO()
    Image.fromarray(255 - picture).save(inverted, "PNG")
    inverted.seek(0)
    assert torch.allclose(ink_of(inverted, (8, 8)), ink, atol=0.01)


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_a_file_that_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(ExplorerError, match="no picture"):
        ink_of(io.BytesIO(content), (8, 8))


def test_an_empty_picture_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 20), 255, dtype=np.uint8)).save(file, "PNG")
    file.seek(0)
    with pytest.raises(ExplorerError, match="nothing drawn"):
        ink_of(file, (8, 8))


def test_small_maps_show_the_largest_weight_of_a_block() -> None:
    app = opened("attention", model="scene-digits")
    found = looked(session(app))
    layer = found.variant.found[0]
    rows = layer.weights[0, 0]
    small = attention_heads._thumb(layer, rows)
    assert max(small.shape) <= attention_heads.THUMBNAIL and small.max() == pytest.approx(1.0)
    assert small[0, 0] == pytest.approx(float(rows[:2, :2].max() / rows.max()), abs=1e-6)


def test_a_new_look_has_chosen_nothing() -> None:
    assert Look().place is None and Look().way == "head"


@pytest.mark.parametrize(
    ("sample", "text", "answer"),
    [
        ("scene-vqa", "how many ?", "know the word"),
        ("scene-vqa", "is there a six ?", ""),
        ("dates-seq2seq", "3 March 1994", "1994-03-03"),
    ],
)
def test_questions_and_dates_of_ones_own(sample: str, text: str, answer: str) -> None:
    app = opened("attention", model=sample)
    app.text_input(key=key(app, "look-typed")).set_value(text).run()
    if sample == "scene-vqa" and answer:
        assert answer in (session(app).message or "") and look_of(session(app)).own is None
        return
    found = looked(session(app))
    assert f"Your own: {text}" in words(app) and (not answer or found.before[0].answers[0][0] == answer)


def test_a_row_is_edited_and_asked_again() -> None:
    app = opened("attention", model="cancer-tab")
    here = session(app)
    before = looked(here).before[0].answers[0]
    row = here.bench.subject.rows(looked(here).inputs).T
    row.columns = ["value"]
    row.loc["mean area", "value"] = 2000.0
    attention_example._row(here, row)
    after = looked(here)
    assert look_of(here).own_note == "Your own row" and after.before[0].answers[0] != before
    assert float(here.bench.subject.rows(after.inputs)["mean area"].iloc[0]) == pytest.approx(2000.0, rel=1e-4)


def test_drift_is_measured_for_the_recipe_on_screen_and_leads_to_a_head() -> None:
    app = opened("attention", model="negation-text", recipe="prune,sparsity=0.6")
    app.button(key="drift-start").click().run()
    recipe, job = session(app).trail.drift
    job.wait(120)
    app.run()
    assert recipe == session(app).recipe.active() and job.error is None
    assert job.value.sentence()[1:] in words(app).replace("&gt;", ">")
    data, places = attention_guides.drift_data(job.value)
    assert places[2] == (LAYER, 0) and data["rows"][1]["cells"][0]["text"].endswith(
        f"{float(job.value.divergence[LAYER][0]):.3f}"
    )
    assert not app.exception


def test_nothing_changed_has_no_drift() -> None:
    app = opened("attention", model="negation-text")
    assert "nothing to compare" in words(app) and app.button(key="drift-start").disabled


def test_the_least_important_heads_are_found_and_removed() -> None:
    app = opened("attention", model="negation-text")
    app.button(key="heads-start").click().run()
    job = session(app).trail.heads_job
    assert job is not None
    job.wait(200)
    app.run()
    table = job.table
    assert job.error is None and table is not None and len(table.rows) == 4
    ranked = table.ranked("cost")
    assert (ranked[0].layer, ranked[0].head) == ("encoder.layers.0.self_attn", 0)  # the one that costs least
    app.number_input(key=key(app, "heads-count")).set_value(2).run()
    app.button(key="heads-remove").click().run()
    (step,) = session(app).recipe
    assert step == table.least(2, by="cost")
    assert not app.exception


def test_gains_are_searched_and_become_a_step() -> None:
    app = opened("attention", model="negation-text")
    app.button(key="gains-start").click().run()
    job = session(app).trail.gains_job
    job.wait(200)
    app.run()
    assert job.error is None and job.tuned is not None
    app.button(key="gains-use").click().run()
    (step,) = session(app).recipe
    assert session(app).recipe == job.tuned.recipe and isinstance(step, EditAttention) and step.edit == "gain"
    assert not app.exception and "could not be drawn" not in words(app)


@pytest.mark.parametrize("sample", ["digits-vit", "negation-text", "digits-cbam"])
def test_every_figure_to_save_can_be_made(sample: str) -> None:
    app = opened("attention", model=sample, recipe="prune,sparsity=0.5")
    here = session(app)
    makers = attention_figures.makers_of(here, looked(here))
    assert {"All heads, dense", "All heads, this variant", "One head, both"} <= set(makers)
    for make in makers.values():
        assert make("", True).layout.title.text


def test_the_twin_is_measured_beside_the_sample() -> None:
    app = opened("model", model="digits-cbam")
    app.button(key="twin-start").click().run()
    dense_job("digits-cnn").wait(60)
    session(app).dense.wait(60)
    app.run()
    sizes = [workbench(name).dense.size.parameters for name in ("digits-cnn", "digits-cbam")]
    assert ratio_text(sizes[0] / sizes[1]) in words(app)
    assert "digit 99.1 %" in words(app) and "99.6 %" in words(app) and "could not be drawn" not in words(app)
