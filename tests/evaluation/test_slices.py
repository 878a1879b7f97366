"""Slices: groups of examples, each with the numbers of exactly its examples."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch

from explorer.evaluation.intervals import of_paired_shares
from explorer.evaluation.quality import Change, Quality
from explorer.evaluation.slices import (
    Slice,
    by_slice,
    class_groups,
    groups_of,
    halves,
    judged_together,
    verdict_of,
    within,
)
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
    assert (first.examples, first.before) == (3, 1.0) and first.after == pytest.approx(2 / 3)
    assert second.after == pytest.approx(1 / 3) and second.change.broken == 2
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


def changed(low: float, high: float) -> Change:
    return Change((low + high) / 2, low, high, 0, 0, 10)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.2, -0.01, "loss"),
        (0.01, 0.2, "gain"),
        (-0.02, 0.01, "same"),
        (0.0, 0.0, "same"),
        (-0.08, 0.08, "cannot tell"),
        (-0.08, 0.001, "cannot tell"),
        (float("-inf"), float("inf"), "cannot tell"),
        (float("-inf"), -1.0, "cannot tell"),
    ],
)
def test_a_verdict_says_what_the_interval_shows(low: float, high: float, verdict: str) -> None:
    assert verdict_of(changed(low, high)) == verdict


def test_what_cannot_be_told_names_the_number_of_examples() -> None:
    told = Slice("8", 54, 0.9, 0.9, changed(-0.08, 0.08)).sentence()
    assert told == "8: cannot tell, 54 examples"
    assert Slice("8", 1, 1.0, 0.5, changed(-0.8, -0.1)).sentence() == "8: 1.000 to 0.500, loss"


def test_classes_are_groups_by_their_names() -> None:
    groups = class_groups(torch.tensor([2, 0, 2, -100]), ["a", "b"])
    assert {name: group.tolist() for name, group in groups.items()} == {
        "a": [False, True, False, False], "2": [True, False, True, False],
    }  # fmt: skip


def test_halves_lie_up_to_the_median_and_above() -> None:
    halved = halves("contrast", torch.tensor([4.0, 1.0, 3.0, 2.0]))
    assert {name: group.tolist() for name, group in halved.items()} == {
        "contrast: low": [False, True, False, True], "contrast: high": [True, False, True, False],
    }  # fmt: skip
    mostly = halves("length", torch.tensor([5, 5, 5, 1]))
    assert mostly["length: high"].tolist() == [True, True, True, False]
    assert halves("length", torch.tensor([5, 5, 5])) == {}


def test_groups_judged_together_have_the_intervals_of_a_higher_confidence() -> None:
    before, after = quality([True] * 6), quality([True, False, True, False, True, True])
    group = torch.tensor([True, True, True, True, False, False])
    groups = {"first": group, "rest": ~group}
    single, both = by_slice(before, after, groups)[0].change, judged_together(before, after, groups)[0].change
    assert (both.delta, both.broken) == (single.delta, 2)
    assert (both.low, both.high) == of_paired_shares(2, 0, 4, 0.975)
    assert both.low < single.low and both.high > single.high
    alone = judged_together(before, after, {"first": group})[0].change
    assert (alone.low, alone.high) == (single.low, single.high)


def test_intervals_of_numbers_widen_by_the_normal_distribution() -> None:
    draw = torch.Generator().manual_seed(0)
    wanted = torch.randn(40, generator=draw)
    sides = []
    for noise in (0.1, 0.5):
        judged = judge("regression", wanted + noise * torch.randn(40, generator=draw), wanted)
        sides.append(Quality("regression", "r2", "tune", 40, np.arange(40), judged))
    group = torch.arange(40) < 20
    groups = {"first": group, "rest": ~group}
    single, both = by_slice(*sides, groups)[0].change, judged_together(*sides, groups)[0].change  # type: ignore[arg-type, call-arg]
    wider = NormalDist().inv_cdf(1 - 0.025 / 2) / NormalDist().inv_cdf(0.975)
    assert (both.high - both.low) / (single.high - single.low) == pytest.approx(wider)
    assert both.high + both.low == pytest.approx(2 * both.delta)
