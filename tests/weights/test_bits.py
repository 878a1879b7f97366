"""Numbers packed into bits come back as they were, at the length that was foretold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.weights.bits import pack, packed_length, unpack


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 20))
def test_numbers_come_back(data: st.DataObject, width: int) -> None:
    numbers = np.array(data.draw(st.lists(st.integers(0, 2**width - 1), max_size=50)), dtype=np.int64)
    packed = pack(numbers, width)
    assert len(packed) == packed_length(len(numbers), width) == -(-len(numbers) * width // 8)
    assert np.array_equal(unpack(np.frombuffer(packed, dtype=np.uint8), len(numbers), width), numbers)


def test_the_lowest_bit_comes_first() -> None:
    assert pack(np.array([1, 0, 3]), 2) == bytes([0b11_00_01])
    assert pack(np.array([0x123]), 12) == bytes([0x23, 0x01])


@pytest.mark.parametrize(("count", "width", "length"), [(0, 7, 0), (1, 0, 0), (8, 1, 1), (9, 1, 2), (3, 3, 2)])
def test_lengths(count: int, width: int, length: int) -> None:
    assert packed_length(count, width) == length
