"""Patterns: N:M never keeps more than N, with ties and ragged ends; rows live and die as a whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.compression.patterns import n_of_m, row, unstructured
from explorer.weights.forms import spread

SCORES = st.tuples(st.integers(1, 6), st.integers(1, 30), st.integers(0, 999), st.booleans())


def scores_of(rows: int, columns: int, seed: int, ties: bool) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if ties:
        return torch.randint(0, 2, (rows, columns), generator=generator).float()
    return torch.rand(rows, columns, generator=generator)


@settings(max_examples=100, deadline=None)
@given(SCORES, st.integers(1, 12), st.data())
def test_never_more_than_n_of_each_m_and_always_the_highest(
    given_scores: tuple[int, int, int, bool], m: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, m))
    scores = scores_of(*given_scores)
    mask = n_of_m(scores, n, m)
    assert mask.shape == scores.shape and mask.dtype is torch.bool
    for line, kept in zip(scores, mask, strict=True):
        for group, live in zip(line.split(m), kept.split(m), strict=True):
            assert int(live.sum()) == min(n, len(group))  # of a ragged end at most n, too
            if 0 < int(live.sum()) < len(group):
                assert group[live].min() >= group[~live].max()
                tied = live[group == group[live].min()].int().tolist()
                assert tied == sorted(tied, reverse=True)  # of equal ones the first stay


def test_two_of_four_by_hand() -> None:
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 5.0, 6.0, 7.0]])
    assert n_of_m(scores, 2, 4).int().tolist() == [[1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize(("n", "kept"), [(0, 0), (4, 33)])
def test_none_and_all(n: int, kept: int) -> None:
    assert int(n_of_m(torch.rand(3, 11), n, 4).sum()) == kept


def test_a_group_wider_than_the_matrix_is_one_ragged_end() -> None:
    mask = n_of_m(torch.rand(5, 3), 2, 64)
    assert mask.sum(dim=1).tolist() == [2] * 5


def test_groups_are_of_inputs_not_of_outputs() -> None:
    scores = torch.arange(16.0).reshape(4, 4)
    assert n_of_m(scores, 1, 4).int().tolist() == [[0, 0, 0, 1]] * 4


def test_each_weight_is_its_own_unit() -> None:
    scores = torch.rand(3, 4)
    assert unstructured(scores) is scores
    mask = scores > 0.5
    assert spread(mask, 4) is mask


def test_a_row_scores_its_root_mean_square() -> None:
    scores = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(row(scores), torch.tensor([12.5**0.5, 0.0, 1.0]))
    # rows of another length compete fairly: the same weights twice over score the same
    torch.testing.assert_close(row(torch.cat([scores, scores], dim=1)), row(scores))


def test_half_precision_rows_do_not_overflow() -> None:
    scores = torch.full((2, 4), 60_000.0, dtype=torch.float16)
    torch.testing.assert_close(row(scores), torch.full((2,), 60_000.0), rtol=1e-2, atol=0)


def test_rows_spread_over_their_columns() -> None:
    mask = spread(torch.tensor([True, False]), 3)
    assert mask.tolist() == [[True] * 3, [False] * 3] and mask.is_contiguous()
