"""Order statistics by counting equal those by sorting, with ties, negatives, huge counts and all-equal scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from explorer.compression.order import ScoreIndex, removed_count

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
FEW = st.sampled_from([0.0, -0.0, 0.5, 0.5000001, 1.0, -1.0, 3.0, 1e-42, 1e38])  # ties, subnormal, near the end
LISTS = st.lists(FLOATS | FEW, min_size=1, max_size=60) | st.lists(FEW, min_size=1, max_size=60)


def tensors(values: list[float], cuts: list[int]) -> list[Tensor]:
    """The values as a few tensors, as scores of several matrices come."""
    whole = torch.tensor(values, dtype=torch.float32)
    edges = sorted({min(cut, len(values)) for cut in cuts} | {0, len(values)})
    return [whole[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def sorted_floats(values: list[float]) -> NDArray[np.float32]:
    return np.sort(np.array(values, dtype=np.float32))


CUTS = st.lists(st.integers(0, 60), max_size=3)


@settings(max_examples=70, deadline=None)
@given(LISTS, CUTS, FLOATS | FEW)
def test_counts_and_positions_are_those_of_a_sorted_list(values: list[float], cuts: list[int], border: float) -> None:
    index, wanted = ScoreIndex(tensors(values, cuts)), sorted_floats(values)
    assert index.total == len(values)
    assert [index.score_at(at) for at in range(len(values))] == wanted.tolist()
    for threshold in (border, *values[:5], 0.0):
        below = int(np.searchsorted(wanted, np.float32(threshold), side="left"))
        assert index.count_below(threshold) == below
        assert index.sparsity_at(threshold) == below / len(values)


@settings(max_examples=70, deadline=None)
@given(LISTS, CUTS, st.data())
@example([2.0, 2.0, 2.0], [], None)
def test_exactly_as_many_go_as_were_asked_ties_or_not(
    values: list[float], cuts: list[int], data: st.DataObject | None
) -> None:
    count = 2 if data is None else data.draw(st.integers(0, len(values)))
    scores = tensors(values, cuts)
    kept = ScoreIndex(scores).keep(count)
    assert [mask.shape for mask in kept] == [score.shape for score in scores]
    together, flat = torch.cat(kept), torch.tensor(values, dtype=torch.float32)
    assert int((~together).sum()) == count
    if 0 < count < len(values):  # nothing that stays scores lower than what goes; of equal ones the first go
        assert flat[~together].max() <= flat[together].min()
        tied = (flat == flat[~together].max()).nonzero().reshape(-1)
        assert together[tied].int().tolist() == sorted(together[tied].int().tolist())


@settings(max_examples=70, deadline=None)
@given(LISTS, st.data())
def test_threshold_and_count_are_inverse(values: list[float], data: st.DataObject) -> None:
    index, wanted = ScoreIndex(tensors(values, [])), sorted_floats(values)
    count = data.draw(st.integers(0, len(values)))
    threshold = index.threshold_for(count)
    below = index.count_below(threshold)
    assert below <= count
    if count == 0 or count == len(values) or wanted[count - 1] < wanted[count]:
        assert below == count
    else:  # a tie at the border: all of it stays
        assert below == int(np.searchsorted(wanted, wanted[count], side="left"))
    kept = torch.cat(index.keep_from(threshold))
    assert int((~kept).sum()) == below
    assert torch.equal(kept, torch.tensor(values, dtype=torch.float32) >= torch.tensor(threshold))


def test_the_threshold_stands_half_way() -> None:
    index = ScoreIndex([torch.tensor([1.0, 2.0, 4.0, 8.0])])
    assert [index.threshold_for(count) for count in range(5)][:4] == [0.0, 1.5, 3.0, 6.0]
    assert index.threshold_for(4) > 8.0


def test_between_neighbouring_numbers_there_is_no_half_way() -> None:
    for last in (1.0, 1.5, 3.0):
        first = float(np.nextafter(np.float32(last), np.float32(9)))
        index = ScoreIndex([torch.tensor([first, last])])
        assert index.count_below(index.threshold_for(1)) == 1


def test_a_threshold_for_a_share_is_one_that_a_recipe_may_hold() -> None:
    """Scores below zero mark what an earlier step removed; a recipe's threshold is never negative."""
    index = ScoreIndex([torch.tensor([-1e-38, -1e-38, 0.5, 1.0])])
    assert [index.threshold_at(share) >= 0 for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [True] * 5
    assert index.sparsity_at(index.threshold_at(0.5)) == index.sparsity_at(0.0) == 0.5
    assert index.sparsity_at(index.threshold_at(0.75)) == 0.75
    assert index.sparsity_at(index.threshold_at(1.0)) == 1.0


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_when_all_are_equal(value: float) -> None:
    index = ScoreIndex([torch.full((5, 4), value), torch.full((3,), value)])
    assert index.count_below(value) == 0 and index.count_below(value + 1) == 23
    assert [sum(int((~mask).sum()) for mask in index.keep(k)) for k in range(24)] == list(range(24))
    assert index.count_below(index.threshold_for(12)) == 0
    assert index.count_below(index.threshold_for(23)) == 23


def test_numbers_close_together_share_a_bin_and_are_still_told_apart() -> None:
    values = (1.0 + torch.arange(20_000, dtype=torch.float64) * 2**-23).float()[torch.randperm(20_000)]
    index = ScoreIndex([values])
    assert index.score_at(12_345) == float(values.sort().values[12_345])
    assert int((~index.keep(777)[0]).sum()) == 777
    assert torch.equal(~index.keep(777)[0], values < values.sort().values[777])


def test_many_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(1000, 1000, generator=generator).abs(), torch.rand(500_000, generator=generator)]
    index = ScoreIndex(scores)
    flat = np.sort(np.concatenate([score.reshape(-1).numpy() for score in scores]))
    for position in (0, 1, 123_456, 750_000, 1_499_999):
        assert index.score_at(position) == flat[position]
    for threshold in (0.01, 0.3, 0.9999, 3.0):
        assert index.count_below(threshold) == np.searchsorted(flat, np.float32(threshold))
    assert sum(int((~mask).sum()) for mask in index.keep(1_234_567)) == 1_234_567


def test_no_scores_at_all() -> None:
    for index in (ScoreIndex([]), ScoreIndex([torch.zeros(0, 3)])):
        assert index.total == 0 == index.count_below(1.0)
        assert index.sparsity_at(1.0) == 0.0 == index.threshold_at(0.5)
        assert index.histogram(4).counts.tolist() == [0, 0, 0, 0]


def test_thresholds_beyond_any_score() -> None:
    index = ScoreIndex([torch.tensor([1.0, 2.0])])
    assert index.count_below(1e300) == index.count_below(math.inf) == 2
    assert index.count_below(-math.inf) == index.count_below(math.nan) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_any_type_are_compared_as_float32(dtype: torch.dtype) -> None:
    scores = torch.tensor([0.1, 0.2, 0.3]).to(dtype)
    index = ScoreIndex([scores])
    assert index.count_below(float(scores[1].float())) == 1
    assert index.keep_from(float(scores[1].float()))[0].tolist() == [False, True, True]


# -- shares -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sparsity", "total", "count"),
    [(0.0, 7, 0), (1.0, 7, 7), (0.5, 5, 2), (0.5, 7, 4), (0.25, 10, 2), (0.35, 10, 4), (0.1, 3, 0)],
)
def test_shares_are_rounded_half_to_even(sparsity: float, total: int, count: int) -> None:
    assert removed_count(sparsity, total) == count


# -- histograms ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=80), st.integers(1, 20))
def test_histograms_count_every_score_once(values: list[float], bins: int) -> None:
    index = ScoreIndex(tensors(values, []))
    for histogram in (index.histogram(bins), index.histogram(bins, upper=50.0)):
        assert len(histogram.edges) == bins + 1 and len(histogram.counts) == bins
        assert (histogram.counts >= 0).all() and histogram.beyond >= 0
        assert int(histogram.counts.sum()) + histogram.beyond == len(values)
        edges = histogram.edges.astype(np.float32)
        for a, b, count in zip(edges, edges[1:], histogram.counts, strict=False):
            assert count == sum(a <= np.float32(value) < b for value in values)


def test_a_histogram_leaves_the_far_tail_out_and_says_how_much() -> None:
    scores = torch.cat([torch.rand(10_000, generator=torch.Generator().manual_seed(0)), torch.tensor([1e6])])
    histogram = ScoreIndex([scores]).histogram()
    assert histogram.edges[-1] <= 1.0 and 1 <= histogram.beyond <= 12


def test_what_an_earlier_step_removed_stands_in_the_first_bar() -> None:
    scores = torch.cat([torch.full((50,), -torch.finfo(torch.float32).tiny), torch.linspace(0.1, 1, 50)])
    histogram = ScoreIndex([scores]).histogram(10)
    assert histogram.edges[0] == pytest.approx(0, abs=1e-30) and histogram.counts[0] >= 50
