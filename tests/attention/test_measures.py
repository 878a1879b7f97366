"""Measures of rows against scipy, and what is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, spearmanr
from torch import Tensor

from explorer.attention.measures import divergence, entropies, overlap, rank_correlation


def rows(seed: int, keys: int = 6, ties: bool = False) -> Tensor:
    raw = torch.randn(2, 3, 4, keys, generator=torch.Generator().manual_seed(seed))
    return torch.softmax(raw.round() if ties else raw * 2, -1)


def each(function: object, first: Tensor, second: Tensor) -> Tensor:
    pairs = zip(first.flatten(0, -2).double().numpy(), second.flatten(0, -2).double().numpy(), strict=True)
    found = [function(one, two) for one, two in pairs]  # type: ignore[operator]
    return torch.tensor(np.array(found, dtype=np.float64)).reshape(first.shape[:-1])


def test_entropy_is_scipys() -> None:
    first = rows(0)
    wanted = each(lambda one, two: entropy(one / one.sum()) / math.log(6), first, first)
    assert torch.allclose(entropies(first), wanted, atol=1e-9)
    assert torch.allclose(entropies(first * 0.3), wanted, atol=1e-6)  # by shares


def test_divergence_is_the_square_of_scipys_distance() -> None:
    first, second = rows(1), rows(2)
    wanted = each(lambda one, two: jensenshannon(one, two, base=2) ** 2, first, second)
    assert torch.allclose(divergence(first, second), wanted, atol=1e-9)
    assert torch.equal(divergence(first, first), torch.zeros(2, 3, 4, dtype=torch.float64))
    assert divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert divergence(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0])).isnan()


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys(ties: bool) -> None:
    first, second = rows(3, ties=ties), rows(4, ties=ties)
    wanted = each(lambda one, two: spearmanr(one, two).statistic, first, second)
    assert torch.allclose(rank_correlation(first, second), wanted, atol=1e-9, equal_nan=True)


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_a_row_without_ranking_is_undefined() -> None:
    flat, other = torch.full((1, 5), 0.2), rows(5, keys=5)[0, 0, :1]
    assert rank_correlation(flat, other).isnan().all() and math.isnan(spearmanr(flat[0], other[0]).statistic)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 4))
def test_overlap_is_the_share_of_common_best_keys(seed: int, keys: int, k: int) -> None:
    first, second = rows(seed, keys), rows(seed + 1, keys)
    kept = min(k, keys)
    wanted = each(lambda one, two: len({*np.argsort(-one)[:kept]} & {*np.argsort(-two)[:kept]}) / kept, first, second)
    assert torch.allclose(overlap(first, second, k), wanted)
