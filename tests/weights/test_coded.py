"""Coded forms: what codes stand for, by hand, and zeros that are exactly zero whatever is removed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.weights.coded import Codebook, Coded, Quantised
from explorer.weights.forms import Zeros

CODES = torch.tensor([[0, 1, 2], [3, 2, 1]], dtype=torch.uint8)


def random_mask(rows: int, columns: int, seed: int) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.5


def coded(kind: str, rows: int, columns: int, seed: int) -> Coded:
    """A form with random codes: a grid around zero, one with its own zero points, or a full table."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 256, (rows, columns), generator=draw)
    if kind.startswith("table"):
        size = int(kind.removeprefix("table"))
        return Codebook((codes % size).to(torch.uint8), table=torch.linspace(-1, 1.1, size))
    scale = torch.rand(rows, 1, generator=draw) + 0.1
    if kind == "symmetric":
        return Quantised(codes.to(torch.uint8), scale=scale)
    points = torch.randint(0, 256, (rows, 1), generator=draw).to(torch.uint8)
    return Quantised(codes.to(torch.uint8), scale=scale, points=points)


def test_a_grid_around_zero_by_hand() -> None:
    form = Quantised(CODES, scale=torch.tensor([[0.5], [2.0]]), bits=2)
    assert form.decode().tolist() == [[-1.0, -0.5, 0.0], [2.0, 0.0, -2.0]]
    assert (form.shape, form.entries, form.nonzero, form.width) == ((2, 3), 6, 4, 2)


def test_a_grid_with_zero_points_by_hand() -> None:
    points = torch.tensor([[0], [3]], dtype=torch.uint8)
    form = Quantised(CODES, scale=torch.tensor([[0.5]]), bits=2, points=points)
    assert form.decode().tolist() == [[0.0, 0.5, 1.0], [0.0, -0.5, -1.0]]
    assert form.zero_codes.tolist() == [[0], [3]]


def test_a_table_by_hand() -> None:
    form = Codebook(CODES, table=torch.tensor([0.0, 0.25, -1.0, 7.0]))
    assert form.decode().tolist() == [[0.0, 0.25, -1.0], [7.0, -1.0, 0.25]]
    assert (form.width, form.nonzero) == (2, 5)


@pytest.mark.parametrize(("size", "width"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5), (256, 8)])
def test_an_index_is_as_wide_as_the_table_needs(size: int, width: int) -> None:
    assert Codebook(CODES % 1, table=torch.arange(size).float()).width == width


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_number_type_stays(dtype: torch.dtype) -> None:
    assert Quantised(CODES, scale=torch.ones(1, 1, dtype=dtype)).decode().dtype == dtype
    assert Codebook(CODES, table=torch.ones(4, dtype=dtype)).decode().dtype == dtype


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["symmetric", "affine", "table3", "table16", "table255", "table256"]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 999),
)
def test_what_is_removed_is_exactly_zero_and_stays_so(kind: str, rows: int, columns: int, seed: int) -> None:
    form = coded(kind, rows, columns, seed)
    first, second = random_mask(rows, columns, seed + 1), random_mask(rows, columns, seed + 2)
    once = form.masked(Zeros(first))
    twice = once.masked(Zeros(second))
    assert once.decode()[~first].eq(0).all() and twice.decode()[~(first & second)].eq(0).all()
    assert twice.zeros is not None and torch.equal(twice.zeros.mask, first & second)
    assert type(twice) is type(form)
    if kind != "table256":  # there one value has to give its place to zero
        assert torch.equal(once.decode()[first], form.decode()[first])
    assert torch.equal(twice.decode()[first & second], once.decode()[first & second])


def test_of_a_full_table_the_value_nearest_to_zero_gives_its_place() -> None:
    table = torch.cat([torch.linspace(-2, -1, 100), torch.tensor([0.5]), torch.linspace(1, 2, 155)])
    codes = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    mask = torch.ones(16, 16, dtype=torch.bool)
    mask[0, 0] = False
    found = Codebook(codes, table=table).masked(Zeros(mask))
    assert isinstance(found, Codebook) and len(found.table) == 256 and found.width == 8
    wanted = table.clone()
    wanted[0], wanted[100] = 0.0, 0.0
    assert torch.equal(found.decode().reshape(-1), wanted)


def test_groups_and_rows_of_zeros_stay_known() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    form = coded("table4", 2, 3, 0).masked(Zeros(mask, rows=torch.tensor([False, True]))).masked(Zeros(mask, (1, 2)))
    assert form.zeros is not None and form.zeros.group == (1, 2)
    assert form.zeros.rows is not None and form.zeros.rows.tolist() == [False, True]
