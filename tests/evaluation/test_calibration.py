"""Calibration: bins and errors by hand, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.evaluation.calibration import calibration_change, calibration_of
from explorer.evaluation.intervals import wilson
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import judge


def quality(outputs: Tensor, targets: Tensor, indices: list[int] | None = None) -> Quality:
    """Of a classification with these logits."""
    seen = np.arange(len(targets)) if indices is None else np.array(indices)
    judged = judge("classification", outputs, targets)
    return Quality("classification", "accuracy", "tune", len(targets), seen, judged)


def drawn(examples: int, sharpness: float = 1.0, seed: int = 0) -> Quality:
    """Answers whose labels are drawn from softmax(logits); `sharpness` other than 1 says too much or too little."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(examples, 4, generator=draw)
    targets = torch.multinomial(logits.softmax(1), 1, generator=draw).squeeze(1)
    return quality(sharpness * logits, targets)


def test_four_answers_by_hand() -> None:
    """Probabilities 0.95, 0.91 (one right), 0.65, 0.62 (both right): (2 |0.93 - 0.5| + 2 |0.635 - 1|) / 4."""
    sure = torch.tensor([0.95, 0.91, 0.65, 0.62])
    outputs = torch.stack([sure, 1 - sure], dim=1).log()
    found = calibration_of(quality(outputs, torch.tensor([0, 1, 0, 0])))
    assert found.ece == pytest.approx((2 * 0.43 + 2 * 0.365) / 4, abs=1e-6)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert found.accuracy[[6, 9]].tolist() == [1.0, 0.5] and np.isnan(found.accuracy[0])
    assert (found.low[9], found.high[9]) == wilson(1, 2)
    assert found.overconfidence == pytest.approx((0.95 + 0.91 + 0.65 + 0.62) / 4 - 0.75, abs=1e-6)


def test_bins_agree_with_scikit_learn() -> None:
    found = drawn(700)
    told = calibration_of(found)
    right, said = calibration_curve(found.judged.score, found.judged.parts["probability"], n_bins=10)
    full = told.counts > 0
    np.testing.assert_allclose(told.accuracy[full], right)
    np.testing.assert_allclose(told.confidence[full], said, atol=1e-6)
    assert told.counts.sum() == 700


def test_a_true_model_is_near_zero_and_a_boastful_one_is_not() -> None:
    true, boastful = calibration_of(drawn(4000)), calibration_of(drawn(4000, sharpness=3.0))
    assert true.ece < 0.03 < 0.1 < boastful.ece_low < boastful.ece < boastful.ece_high
    assert abs(true.overconfidence) < 0.02 and boastful.overconfidence > 0.1


def test_the_change_is_paired() -> None:
    true, boastful = drawn(2000), drawn(2000, sharpness=3.0)
    change = calibration_change(true, boastful)
    assert change.change == pytest.approx(calibration_of(boastful).ece - calibration_of(true).ece)
    assert 0 < change.low < change.change < change.high and "worse" in change.sentence()
    back = calibration_change(boastful, true)
    assert (back.low, back.high) == pytest.approx((-change.high, -change.low))
    same = calibration_change(true, true)
    assert (same.change, same.low, same.high) == (0, 0, 0) and "no change shown" in same.sentence()


def test_only_examples_that_both_have_seen_count() -> None:
    outputs = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    targets = torch.tensor([0, 1, 1])
    first, second = quality(outputs, targets, [0, 1, 2]), quality(outputs[[2, 0]], targets[[2, 0]], [2, 0])
    change = calibration_change(first, second)
    assert change.examples == 2 and change.change == 0


def test_all_heads_count_together_and_missing_labels_do_not() -> None:
    outputs = {"a": torch.tensor([[0.9, 0.1], [0.8, 0.2]]).log(), "b": torch.tensor([[0.7, 0.3], [0.6, 0.4]]).log()}
    judged = judge("multi-task", outputs, torch.tensor([[0, 1], [0, -100]]))
    found = calibration_of(Quality("multi-task", "accuracy", "tune", 2, np.arange(2), judged))
    assert found.counts.sum() == 3
    assert found.overconfidence == pytest.approx((0.9 + 0.8 + 0.7 - 2) / 3, abs=1e-6)


def test_numbers_have_no_calibration() -> None:
    judged = judge("regression", torch.ones(3), torch.zeros(3))
    with pytest.raises(ExplorerError, match="no probability"):
        calibration_of(Quality("regression", "r2", "tune", 3, np.arange(3), judged))


def test_it_prints_the_bins_that_hold_answers() -> None:
    printed = str(calibration_of(drawn(50)))
    assert "calibration error" in printed and "0.9 to 1.0" in printed and "nan" not in printed
