"""Low rank: the errors that theory foretells, by either way of computing, and spectra that tell what a rank costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.compression.factorising import rank_for_energy
from explorer.compression.lowrank import GRAM_FROM, Singular, Spectrum, svd

SIZES = st.integers(1, 24)


def matrix(rows: int, columns: int, seed: int = 0, rank: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, columns, generator=generator)
    return torch.randn(rows, rank, generator=generator) @ torch.randn(rank, columns, generator=generator)


def tail(found: Singular, rank: int) -> float:
    return float(found.values[rank:].double().square().sum().sqrt())


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(0, 999))
def test_errors_are_those_of_eckart_and_young(rows: int, columns: int, seed: int) -> None:
    weight = matrix(rows, columns, seed)
    found = svd(weight)
    scale = float(found.values[0])
    former = np.inf
    for rank in range(1, len(found.values) + 1):
        left, right = found.truncated(rank)
        assert left.shape == (rows, rank) and right.shape == (rank, columns)
        error = (weight - left @ right).double()
        frobenius = float(error.norm())
        assert frobenius == pytest.approx(tail(found, rank), abs=1e-5 * scale)
        next_value = float(found.values[rank]) if rank < len(found.values) else 0.0
        assert float(torch.linalg.matrix_norm(error, 2)) == pytest.approx(next_value, abs=1e-5 * scale)
        assert frobenius <= former + 1e-6 * scale
        former = frobenius


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES, st.integers(0, 999))
def test_full_rank_gives_the_matrix_back(rows: int, columns: int, seed: int) -> None:
    weight = matrix(rows, columns, seed)
    left, right = svd(weight).truncated(min(rows, columns))
    torch.testing.assert_close(left @ right, weight, rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=[(GRAM_FROM, GRAM_FROM + 40), (GRAM_FROM + 40, GRAM_FROM)], ids=["wide", "tall"])
def large(request: pytest.FixtureRequest) -> tuple[Tensor, Singular, Tensor]:
    """(a matrix whose decomposition goes by Gram, that, the singular values by plain SVD in double precision)."""
    rows, columns = request.param
    weight = matrix(rows, columns) * torch.logspace(0, -3, columns)
    return weight, svd(weight), torch.linalg.svdvals(weight.double())


def test_the_gram_path_has_the_values_of_plain_svd(large: tuple[Tensor, Singular, Tensor]) -> None:
    _, found, values = large
    assert bool((found.values.diff() <= 0).all())
    torch.testing.assert_close(found.values.double(), values, rtol=1e-5, atol=1e-6 * float(values[0]))


def test_the_gram_path_is_exact_at_full_rank(large: tuple[Tensor, Singular, Tensor]) -> None:
    weight, found, _ = large
    left, right = found.truncated(GRAM_FROM)
    torch.testing.assert_close(left @ right, weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 37, 400])
def test_the_gram_path_truncates_as_plain_svd_does(large: tuple[Tensor, Singular, Tensor], rank: int) -> None:
    weight, found, values = large
    left, right = found.truncated(rank)
    error = float((weight - left @ right).double().norm())
    assert error == pytest.approx(float(values[rank:].square().sum().sqrt()), rel=1e-4)


def test_the_gram_path_bears_a_matrix_without_full_rank() -> None:
    """It never divides by a singular value, so that zeros among them do no harm."""
    weight = matrix(GRAM_FROM, GRAM_FROM + 8, rank=3)
    found = svd(weight)
    assert torch.isfinite(found.left).all() and torch.isfinite(found.right).all() and torch.isfinite(found.values).all()
    left, right = found.truncated(3)
    torch.testing.assert_close(left @ right, weight, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (4, 1)])
def test_a_zero_matrix(shape: tuple[int, int]) -> None:
    found = svd(torch.zeros(shape))
    left, right = found.truncated(1)
    assert not (left @ right).any() and not found.values.any()
    assert rank_for_energy(found.values, 0.9) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_decompositions_are_made_in_float32(dtype: torch.dtype) -> None:
    found = svd(matrix(6, 4).to(dtype))
    assert {found.values.dtype, found.left.dtype, found.right.dtype} == {torch.float32}


def test_singular_vectors_do_not_depend_on_the_number_of_threads() -> None:
    weight, before = matrix(120, 90), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = svd(weight)
        torch.set_num_threads(2)
        two = svd(weight)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.left, two.left) and torch.equal(one.right, two.right)


# -- energy -------------------------------------------------------------------------------------------------------


def spectrum(values: list[float], rows: int = 10, columns: int = 8) -> Spectrum:
    return Spectrum("layer", np.array(values, dtype=np.float64), rows, columns)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=30), st.floats(0.001, 1))
def test_the_energy_rank_is_the_smallest_that_keeps_the_share(values: list[float], share: float) -> None:
    values = sorted(values, reverse=True)
    rank = spectrum(values).rank_for(share)
    squares = np.array(values, dtype=np.float64) ** 2
    assert rank_for_energy(torch.tensor(values), share) == rank  # the screen and the engine agree
    assert 1 <= rank <= len(values)
    if squares.sum() > 0:
        assert squares[:rank].sum() >= share * squares.sum() * (1 - 1e-9)
        assert rank == 1 or squares[: rank - 1].sum() < share * squares.sum() * (1 + 1e-9)


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.64, 1), (0.65, 2), (1.0, 2)])
def test_energy_ranks_by_hand(energy: float, rank: int) -> None:
    assert spectrum([4.0, 3.0, 0.0]).rank_for(energy) == rank  # 16 and 9 of 25


def test_all_energy_of_a_matrix_without_full_rank_needs_its_rank_only() -> None:
    values = svd(matrix(20, 16, rank=5)).values
    assert rank_for_energy(values, 1 - 1e-9) == 5


def test_a_spectrum_tells_its_errors() -> None:
    found = spectrum([4.0, 3.0, 0.0])
    assert found.energy.tolist() == pytest.approx([0.64, 1.0, 1.0])
    assert [found.error(rank) for rank in range(4)] == pytest.approx([1.0, 0.6, 0.0, 0.0])
    assert found.break_even == pytest.approx(80 / 18)
    assert spectrum([0.0, 0.0]).error(1) == 0.0 and spectrum([0.0, 0.0]).rank_for(0.9) == 1
    assert "layer" in str(found) and "95% from rank 2" in str(found)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(768, 768, 384), (768, 3072, 614.4), (1000, 2048, 671.9)])
def test_break_even_of_known_shapes(rows: int, columns: int, rank: float) -> None:
    assert spectrum([1.0], rows, columns).break_even == pytest.approx(rank, abs=0.05)
