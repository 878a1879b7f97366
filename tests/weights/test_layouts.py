"""Layouts of codes: each gives back what was written, at the length that was foretold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from explorer.weights.layouts import (
    GAP_LIMIT,
    gap_bytes,
    gap_entries,
    layout_length,
    layouts_of,
    places_of,
    read_codes,
    write_codes,
)

Codes = NDArray[np.uint8]


def asked(layout: str, width: int) -> tuple[str, dict[str, int]]:
    name, *fields = layout.split(",")
    return name, {"width": width, **{key: int(value) for key, value in (field.split("=") for field in fields)}}


def check(codes: Codes, zero: Codes, width: int, rows_removed: NDArray[np.bool_] | None = None) -> dict[str, int]:
    """Write and read every layout on offer; returns their sizes."""
    sizes = layouts_of(codes != zero, width, rows_removed)
    for layout, size in sizes.items():
        written = write_codes(codes, zero, layout, width, rows_removed)
        assert len(written) == size, layout
        name, fields = asked(layout, width)
        data = np.frombuffer(written + b"\x07" * 3, dtype=np.uint8)
        assert layout_length(data, name, fields, codes.shape) == size, layout
        found, kept, rows = read_codes(data[:size], name, fields, zero)
        assert found.dtype == np.uint8 and np.array_equal(found, codes), layout
        if name in ("bitmask", "gaps"):
            assert kept is not None and np.array_equal(kept, codes != zero)
        if name == "rows":
            assert rows is not None and rows_removed is not None and np.array_equal(rows, rows_removed)
    return sizes


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 60), st.integers(1, 8), st.sampled_from([0, 0.002, 0.1, 0.5, 1]),
    st.booleans(), st.booleans(), st.integers(0, 9999),
)  # fmt: skip
@example(20, 60, 4, 0.002, True, False, 1)
def test_every_layout_gives_back_what_was_written(
    rows: int, columns: int, width: int, density: float, affine: bool, by_rows: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 2**width, (rows, columns)).astype(np.uint8)
    points = draw.integers(0, 2**width, (rows, 1)) if affine else np.full((rows, 1), 2 ** (width - 1))
    zero = np.broadcast_to(points.astype(np.uint8), codes.shape)
    removed = draw.random(rows) < 0.5 if by_rows else None
    gone = draw.random((rows, columns)) >= density
    if removed is not None:
        gone |= removed[:, None]
    check(np.where(gone, zero, codes), zero, width, removed)


def test_nothing_but_zeros() -> None:
    zero = np.full((3, 300), 5, dtype=np.uint8)
    sizes = check(zero.copy(), zero, 3, np.ones(3, dtype=bool))
    assert sizes["gaps,k=0"] == 0 and sizes["rows"] == 1


def test_no_zero_leaves_only_the_plain_list() -> None:
    assert layouts_of(np.ones((4, 5), dtype=bool), 3, None) == {"packed": 8}


def test_one_shared_value_needs_no_bits() -> None:
    assert layouts_of(np.zeros((4, 5), dtype=bool), 0, None)["packed"] == 0
    check(np.zeros((4, 5), dtype=np.uint8), np.zeros((4, 5), dtype=np.uint8), 0)


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 1000])
def test_long_gaps_need_entries_of_their_own(gap: int) -> None:
    codes = np.zeros((1, gap + 3), dtype=np.uint8)
    codes[0, gap], codes[0, gap + 1] = 9, 200
    sizes = check(codes, np.zeros_like(codes), 8)
    entries = 2 + gap // GAP_LIMIT
    assert sizes[f"gaps,k={entries}"] == 2 * entries


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 3000), max_size=30))
def test_gaps_say_where_their_entries_stand(places: set[int]) -> None:
    wanted = np.array(sorted(places), dtype=np.int64)
    gaps, ends = gap_bytes(wanted)
    assert len(gaps) == gap_entries(wanted) and gaps.dtype == np.uint8
    assert np.array_equal(places_of(gaps)[ends], wanted)


def test_an_unknown_layout_is_refused() -> None:
    fields: Any = {"width": 2}
    with pytest.raises(ValueError, match="unknown layout"):
        layout_length(np.zeros(3, dtype=np.uint8), "spiral", fields, (2, 2))
