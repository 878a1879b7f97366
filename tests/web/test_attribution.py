"""The Attribution page as a script: what an answer rests on, for every kind of sample."""

from __future__ import annotations

import pytest

from explorer.web.attribution_page import asked, panels_data, told
from tests.web.test_pages import key, opened, session, words

SAMPLES = (
    "digits-vit", "negation-text", "cancer-tab", "story-lm", "dates-seq2seq", "scene-vqa", "digits-cbam", "digits-cnn",
)  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_sample_explains_its_answer(sample: str) -> None:
    app = opened("attribution", model=sample, recipe="prune,sparsity=0.5")
    before, after = asked(session(app))
    before.wait(60)
    after.wait(60)
    app.run()
    assert before.error is None and after.error is None, before.error or after.error
    assert told(after.value).split(";")[0] in words(app)
    assert "could not be drawn" not in words(app) and not app.exception


def test_dense_and_variant_share_a_scale_around_zero() -> None:
    app = opened("attribution", model="cancer-tab", recipe="prune,sparsity=0.6")
    before, after = asked(session(app))
    before.wait(60)
    after.wait(60)
    name = next(iter(after.value.parts))
    data = panels_data(session(app), before.value[name], after.value[name], same=False)
    dense, variant, change = data["panels"]
    assert dense["note"] == variant["note"] and max(map(abs, [*dense["shades"], *variant["shades"]])) == 1.0
    numbers = [[float(value) for value in panel["values"]] for panel in (dense, variant, change)]
    assert numbers[1][3] - numbers[0][3] == pytest.approx(numbers[2][3], abs=2e-3)


def test_a_method_that_cannot_be_right_is_refused_with_its_reason() -> None:
    app = opened("attribution", model="digits-vit")
    app.selectbox(key=key(app, "why-method")).set_value("deeplift").run()
    before, _ = asked(session(app))
    before.wait(60)
    app.run()
    assert before.error is not None and "layer_norm has no rule" in words(app)
    assert not app.exception


def test_methods_are_measured_beside_random() -> None:
    app = opened("attribution", model="cancer-tab")
    app.button(key="believe-start").click().run()
    _, job = session(app).trail.believed
    job.wait(300)
    app.run()
    assert job.error is None and "Random" in words(app) and job.value.sentence()[:20] in words(app)
