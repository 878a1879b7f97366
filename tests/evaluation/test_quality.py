"""Quality: what is known so far, and the change against another's on the very same examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import judge


def _quality(
    given: list[int], targets: list[int], indices: list[int] | None = None, total: int | None = None
) -> Quality:
    judged = judge("classification", torch.eye(3)[given], torch.tensor(targets))
    where = np.array(range(len(given)) if indices is None else indices, dtype=np.int64)
    return Quality("classification", "accuracy", "tune", total or len(given), where, judged)


def test_headline_and_its_parts() -> None:
    quality = _quality([0, 1, 2, 0], [0, 1, 1, 0])
    assert quality.value == quality.metrics["accuracy"] == 0.75
    assert quality.low < 0.75 < quality.high
    assert quality.mistakes == 1 and quality.examples == quality.total == 4 and quality.complete
    assert quality.correct is not None and quality.correct.tolist() == [True, True, False, True]
    assert quality.predictions is not None and quality.predictions.tolist() == [0, 1, 2, 0]


def test_to_dict_is_flat_with_the_promised_keys() -> None:
    flat = _quality([0, 1, 2, 0], [0, 1, 1, 0]).to_dict()
    assert set(flat) == {
        "accuracy", "balanced_accuracy", "f1_macro", "log_loss",
        "accuracy_low", "accuracy_high", "examples", "mistakes",
    }  # fmt: skip
    assert all(isinstance(value, (int, float)) for value in flat.values())


def test_partial_says_on_how_many() -> None:
    quality = _quality([0, 1], [0, 0], indices=[7, 3], total=540)
    assert not quality.complete
    assert "on 2 of 540" in str(quality) and "1 mistakes of 2" in str(quality)
    assert "of 540" not in str(_quality([0, 1], [0, 0]))


def test_regression_has_no_mistakes() -> None:
    judged = judge("regression", torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]))
    quality = Quality("regression", "r2", "tune", 3, np.arange(3), judged)
    assert quality.mistakes is None and quality.correct is None
    assert "mistakes" not in quality.to_dict()
    assert quality.value == quality.to_dict()["r2"]


def test_broken_and_repaired_are_counted_on_examples_that_both_have_seen() -> None:
    targets = [0, 1, 2, 0, 1, 2]
    dense = _quality([0, 1, 2, 0, 0, 0], targets)
    # The variant has seen 5, 1, 0, 4, 3 in that order: 5 repaired, 1 right, 0 broken, 4 wrong as before, 3 broken.
    variant = _quality([2, 1, 1, 2, 1], [2, 1, 0, 1, 0], indices=[5, 1, 0, 4, 3], total=6)
    change = variant.against(dense)
    assert (change.broken, change.repaired, change.examples) == (2, 1, 5)
    assert change.delta == pytest.approx(-1 / 5) and change.low < 0 < change.high and not change.is_loss
    back = dense.against(variant)
    assert (back.broken, back.repaired) == (1, 2) and back.delta == pytest.approx(1 / 5)


def test_a_loss_is_one_only_when_its_interval_excludes_zero() -> None:
    targets = [0] * 400
    dense = _quality([0] * 396 + [1] * 4, targets)
    little, much = _quality([0] * 393 + [1] * 7, targets), _quality([0] * 380 + [1] * 20, targets)
    assert little.against(dense).delta == pytest.approx(-3 / 400)
    assert not little.against(dense).is_loss
    assert much.against(dense).is_loss
    assert not dense.against(much).is_loss


def test_against_itself_nothing_changes() -> None:
    quality = _quality([0, 1, 2, 0], [0, 1, 1, 0])
    change = quality.against(quality)
    assert (change.delta, change.low, change.high, change.broken, change.repaired) == (0, 0, 0, 0, 0)


def test_other_splits_cannot_be_compared() -> None:
    quality = _quality([0, 1], [0, 0])
    with pytest.raises(ExplorerError, match="not measured on the same examples"):
        quality.against(_quality([0, 1, 1], [0, 0, 1]))
