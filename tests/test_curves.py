"""Accuracy curves: which knob, where it is measured, and the recipe at each place."""

from __future__ import annotations

from typing import Any

import pytest

import explorer as ex
from explorer.curves import own_field, positions, turner
from tests.toys import bench


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (ex.Prune(sparsity=0.5), "sparsity"),
        (ex.Prune(threshold=0.1), "sparsity"),
        (ex.Prune(pattern="n:m"), "n"),
        (ex.LowRank(rank=3), "rank"),
        (ex.LowRank(energy=0.9), "energy"),
    ],
)
def test_a_step_has_a_knob_of_its_own(step: Any, field: str) -> None:
    assert own_field(step) == field


@pytest.mark.parametrize(
    ("step", "field", "value", "turned"),
    [
        (ex.Prune(sparsity=0.5, seed=3), "sparsity", 0.2, ex.Prune(sparsity=0.2, seed=3)),
        (ex.Prune(sparsity=0.5), "threshold", 0.2, ex.Prune(threshold=0.2)),
        (ex.Prune(threshold=0.5, enabled=False), "sparsity", 0.2, ex.Prune(sparsity=0.2)),
        (ex.Prune(pattern="n:m", n=1, m=8), "n", 3.0, ex.Prune(pattern="n:m", n=3, m=8)),
        (ex.LowRank(rank=3, layers=("0",)), "energy", 0.5, ex.LowRank(energy=0.5, layers=("0",))),
        (ex.LowRank(energy=0.5), "rank", 4.0, ex.LowRank(rank=4)),
    ],
)
def test_turning_changes_one_knob_and_lets_its_rival_go(step: Any, field: str, value: float, turned: Any) -> None:
    other = ex.LowRank(energy=0.9)
    recipe = ex.Recipe([other, step])
    assert turner(recipe, 1, field)(value) == ex.Recipe([other, turned])
    assert recipe == ex.Recipe([other, step])


def test_positions_ascend_over_the_whole_range() -> None:
    wb = bench()
    for step, field, first, last in (
        (ex.Prune(sparsity=0.5), "sparsity", 0.0, 1.0),
        (ex.LowRank(energy=0.5), "energy", 0.02, 1.0),
        (ex.LowRank(rank=2), "rank", 1, 6),
        (ex.LowRank(rank=2, layers=("2",)), "rank", 1, 3),
        (ex.Prune(pattern="n:m", n=1, m=3), "n", 0, 3),
    ):
        places = positions(wb, ex.Recipe([step]), 0, field)
        assert list(places) == sorted(set(places))
        assert (places[0], places[-1]) == (first, last)
    thresholds = positions(wb, ex.Recipe([ex.Prune(sparsity=0.5)]), 0, "threshold")
    assert list(thresholds) == sorted(thresholds) and thresholds[0] == 0
    scores = wb.scores(ex.Prune(sparsity=0.5), 0)
    assert [round(40 * scores.sparsity_at(place)) for place in thresholds] == list(range(41))  # even steps of weights
