"""Asking for attributions: bad inputs, what is kept, progress and stopping."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import explorer as ex
from tests.attribution.test_methods import first, linear, sample
from tests.toys import bench


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"method": "grad"}, 'no attribution method called "grad"'),
        ({"target": 3}, "no output 3.*0 to 2"),
        ({"target": -1}, "no output -1"),
        ({"target": [0, 1]}, "no target"),
        ({"target": 0.5}, "no target"),
        ({"target": "cat"}, "no target"),
        ({"baseline": torch.zeros(5)}, "shape"),
        ({"baseline": "blur"}, "no baseline here"),
        ({"baseline": {"pixels": "zero"}}, 'no part "pixels"'),
        ({"layer": "0"}, "looks at no layer"),
        ({"layer": "nine", "method": "layer-integrated-gradients"}, 'no layer "nine"'),
        ({"samples": 0}, "no number of samples"),
        ({"seed": -1}, "no seed"),
        ({"head": "colour"}, 'no head "colour"'),
        ({"method": "attention-x-gradient"}, "no attention"),
        ({"method": "layer-gradcam"}, "needs a picture"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], match: str) -> None:
    wb = linear()
    with pytest.raises(ex.ExplorerError, match=match):
        wb.dense.attribute(first(wb), progress=False, **settings)
    assert wb.dense.attribute(first(wb), progress=False).values.shape == (3, 6)  # nothing is lost


def test_bad_inputs_are_told() -> None:
    wb = linear()
    with pytest.raises(ex.ExplorerError, match="no example"):
        wb.dense.attribute(torch.zeros(0, 6), progress=False)
    with pytest.raises(ex.ExplorerError, match="NaN"):
        wb.dense.attribute(torch.full((2, 6), torch.nan), progress=False)
    with pytest.raises(ex.ExplorerError, match="cannot be run"):
        wb.dense.attribute(torch.zeros(2, 5), progress=False)
    dates = sample("dates-seq2seq")
    with pytest.raises(ex.ExplorerError, match="no position 10"):
        dates.dense.attribute(first(dates), position=10, progress=False)


def test_the_same_question_is_answered_once() -> None:
    wb = bench()
    x = first(wb)
    once = wb.dense.attribute(x, progress=False)
    assert wb.dense.attribute(x.clone(), "integrated-gradients", progress=False) is once
    others: list[dict[str, Any]] = [{"target": 1}, {"baseline": "zero"}, {"samples": 20}, {"method": "saliency"}]
    for settings in others:
        assert wb.dense.attribute(x, progress=False, **settings) is not once
    assert wb.dense.attribute(x + 1, progress=False) is not once
    pruned = wb.compress(ex.Prune(sparsity=0.5))
    assert not torch.equal(pruned.attribute(x, progress=False).values, once.values)
    tensors = [wb.dense.attribute(x, baseline=torch.full((6,), v), progress=False).values for v in (0.0, 1.0)]
    assert not torch.equal(*tensors)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.attributing.KEPT_BYTES", 1)
    wb = bench()
    once = wb.dense.attribute(first(wb), progress=False)
    wb.dense.attribute(first(wb), "saliency", progress=False)
    assert wb.dense.attribute(first(wb), progress=False) is not once


def test_progress_is_told_and_an_answer_of_false_stops() -> None:
    wb = bench()
    shares: list[float] = []
    wb.dense.attribute(first(wb), "kernel-shap", samples=40, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1) and len(shares) > 5
    with pytest.raises(ex.ExplorerError, match="stopped"):
        wb.dense.attribute(first(wb), "lime", samples=40, progress=lambda share: False)
    assert wb.dense.attribute(first(wb), "lime", samples=40, progress=False).values.shape == (3, 6)


def test_raw_examples_and_their_words() -> None:
    wb = sample("negation-text")
    found = wb.dense.attribute("the film is not bad", progress=False)
    assert [label for label in found.axis.labels[0] if label] == ["the", "film", "is", "not", "bad"]
    assert {label for _, label, _ in found.strongest(0, 2)} <= {"the", "film", "is", "not", "bad"}


def test_columns_have_their_names() -> None:
    wb = sample("cancer-tab")
    assert "mean radius" in wb.dense.attribute(first(wb), progress=False).axis.labels[0]


def test_an_attribution_of_the_empty_recipe_is_that_of_the_dense_model() -> None:
    wb = sample("digits-vit")
    x = first(wb)
    same = wb.compress(ex.Prune(sparsity=0.0)).attribute(x, progress=False)
    assert torch.equal(same.values, wb.dense.attribute(x, progress=False).values)
