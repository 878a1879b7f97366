"""Slices: groups of examples, each with the numbers of exactly its examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from explorer.evaluation.quality import Quality
from explorer.evaluation.slices import by_slice, groups_of, within
from explorer.evaluation.tasks import judge


def quality(right: list[bool], seen: list[int] | None = None) -> Quality:
    """Of two classes, all targets 1; the examples are answered right or wrong as said."""
    outputs = torch.tensor([[0.0, 1.0] if answer else [1.0, 0.0] for answer in right])
    judged = judge("classification", outputs, torch.ones(len(right), dtype=torch.long))
    indices = np.arange(len(right)) if seen is None else np.array(seen)
    return Quality("classification", "accuracy", "tune", 6, indices, judged)


def test_whole_numbers_are_told_value_by_value_and_booleans_once() -> None:
    groups = groups_of({"even": torch.tensor([True, False, True]), "digits": torch.tensor([1, 2, 1])})
    assert {name: group.tolist() for name, group in groups.items()} == {
        "even": [True, False, True], "digits: 1": [True, False, True], "digits: 2": [False, True, False],
    }  # fmt: skip


def test_measurements_and_too_many_values_are_no_groups() -> None:
    assert groups_of({"size": torch.rand(30), "number": torch.arange(30)}) == {}


def test_each_group_has_the_accuracy_of_its_examples() -> None:
    before, after = quality([True] * 6), quality([True, False, True, False, False, True])
    group = torch.tensor([True, True, True, False, False, False])
    first, second = by_slice(before, after, {"first half": group, "rest": ~group})
    assert (first.examples, first.before, first.after) == (3, 1.0, pytest.approx(2 / 3))
    assert (second.after, second.change.broken) == (pytest.approx(1 / 3), 2)
    assert second.change.delta == pytest.approx(-2 / 3)


def test_examples_that_were_not_seen_do_not_count() -> None:
    part = quality([True, False], seen=[5, 0])
    group = torch.tensor([True, False, False, False, False, True])
    inside = within(part, group)
    assert inside is not None and inside.examples == 2 and inside.value == 0.5
    assert within(part, torch.tensor([False, True, True, True, True, False])) is None


def test_a_model_beside_itself_has_not_changed() -> None:
    same = quality([True, False, True, True, True, True])
    (found,) = by_slice(same, same, {"all": torch.ones(6, dtype=torch.bool)})
    assert found.change.delta == 0 and not found.change.is_loss
