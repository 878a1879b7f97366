"""Confusion: both matrices as scikit-learn counts them, and what moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from explorer.errors import ExplorerError
from explorer.evaluation.confusion import confusion_change
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import judge


def quality(said: list[int], targets: list[int]) -> Quality:
    outputs = torch.nn.functional.one_hot(torch.tensor(said), 3).float()
    judged = judge("classification", outputs, torch.tensor(targets))
    return Quality("classification", "accuracy", "tune", len(said), np.arange(len(said)), judged)


def test_both_matrices_agree_with_scikit_learn() -> None:
    truth, first, second = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2], [0, 1, 1, 1, 0, 0]
    found = confusion_change(quality(first, truth), quality(second, truth), ["a", "b", "c"])
    assert np.array_equal(found.before, confusion_matrix(truth, first))
    assert np.array_equal(found.after, confusion_matrix(truth, second))
    assert not found.difference.sum(1).any()
    assert found.most_moved() == [("c", "a", 2), ("a", "b", 1)]
    assert found.sentence() == "most new mistakes: c taken for a (+2)"


def test_the_same_answers_move_nothing() -> None:
    same = quality([0, 1, 2], [0, 2, 2])
    found = confusion_change(same, same)
    assert not found.difference.any() and found.classes == ("0", "1", "2")
    assert "no class" in found.sentence() and found.most_moved() == []


def test_only_repairs_are_no_new_mistake() -> None:
    found = confusion_change(quality([0, 1], [0, 0]), quality([0, 0], [0, 0]))
    assert found.most_moved() == [] and found.sentence() == "no mistake grew"


def test_other_tasks_are_refused() -> None:
    judged = judge("regression", torch.ones(3), torch.zeros(3))
    numbers = Quality("regression", "r2", "tune", 3, np.arange(3), judged)
    with pytest.raises(ExplorerError, match="regression"):
        confusion_change(numbers, numbers)
