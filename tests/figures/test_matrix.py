"""The picture of a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.figures.matrix import MOST_CELLS_A_SIDE, as_numbers, matrix_figure
from explorer.weights.forms import Dense, Factors, Masked
from tests.figures.standins import Factored, Form


def cells(figure: Any, place: int = 0) -> np.ndarray:
    """The drawn values."""
    return np.asarray(figure.data[place].z, dtype=np.float64)


def test_small_matrices_are_drawn_exactly() -> None:
    weight = np.array([[1.0, -2.0], [0.5, 0.0]])
    figure = matrix_figure(Form(weight, np.array([[True, True], [False, True]])), name="m")
    assert np.array_equal(cells(figure), np.array([[1, -2], [np.nan, 0]]), equal_nan=True)
    assert figure.data[0].zmax == -figure.data[0].zmin == 2  # white stands at zero
    assert "75.0 % kept" in figure.layout.title.subtitle.text


def test_real_forms() -> None:
    weight = torch.randn(6, 4)
    dense = Dense(weight)
    masked = Masked(weight * (weight > 0), weight > 0)
    factors = Factors(Dense(torch.randn(6, 2)), Masked(torch.ones(2, 4), torch.ones(2, 4) > 0))
    assert "nothing removed" in matrix_figure(dense, name="m").layout.title.subtitle.text
    assert cells(matrix_figure(masked, name="m")).shape == (6, 4)
    figure = matrix_figure(factors, name="m")
    assert cells(figure, 0).shape == (6, 2) and cells(figure, 1).shape == (2, 4)
    assert "rank 2: 83.3 % of the numbers" in figure.layout.title.subtitle.text


def test_masked_factors_count_what_is_left() -> None:
    left, right = Form(np.ones((4, 1)), np.array([[True], [False], [False], [False]])), Form(np.ones((1, 4)))
    assert "31.2 % of the numbers" in matrix_figure(Factored(left, right), name="m").layout.title.subtitle.text


def test_large_masked_matrices_show_shares_and_say_so() -> None:
    mask = np.zeros((400, 800), dtype=bool)
    mask[:200] = True
    figure = matrix_figure(Form(np.ones((400, 800)), mask), name="m")
    assert figure.layout.title.subtitle.text == "50.0 % kept · each cell the share kept of 5 × 5 weights"
    assert cells(figure).shape == (80, 160)
    assert cells(figure)[:40].min() == 1 and cells(figure)[40:].max() == 0


def test_large_dense_matrices_show_the_largest_weight_of_a_block() -> None:
    weight = np.zeros((10, 400))
    weight[3, 17] = -5
    figure = matrix_figure(Form(weight), name="m")
    assert "each cell the largest weight of 1 × 3 weights" in figure.layout.title.subtitle.text
    assert cells(figure)[3, 5] == -5


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 700), st.integers(1, 700))
def test_pictures_stay_small_and_show_every_weight_that_is_left(rows: int, columns: int) -> None:
    mask = np.zeros((rows, columns), dtype=bool)
    mask[rows // 2, columns // 3] = True
    picture = cells(matrix_figure(Form(np.ones((rows, columns)), mask), name="m"))
    assert max(picture.shape) <= MOST_CELLS_A_SIDE
    assert (np.nan_to_num(picture) > 0).sum() == 1


def test_an_all_zero_or_all_removed_matrix() -> None:
    assert matrix_figure(Form(np.zeros((3, 3))), name="m").data[0].zmax == 1
    assert matrix_figure(Form(np.ones((3, 3)), np.zeros((3, 3), dtype=bool)), name="m").data[0].zmax == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_number_type(dtype: torch.dtype) -> None:
    assert as_numbers(torch.ones(2, dtype=dtype, requires_grad=True)).dtype == np.float32
