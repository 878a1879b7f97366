"""Whole numbers and booleans packed into bytes, at a fixed width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def packed_length(count: int, width: int) -> int:
    """How many bytes `count` numbers of `width` bits take."""
    return (count * width + 7) // 8


def pack(numbers: NDArray[np.integer], width: int) -> bytes:
    """Numbers below 2**width, one after the other, the lowest bit first."""
    if width == 0:
        return b""
    shifts = np.arange(width, dtype=np.uint64)
    bits = (numbers.astype(np.uint64).reshape(-1, 1) >> shifts) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()


def unpack(data: NDArray[np.uint8], count: int, width: int) -> NDArray[np.int64]:
    """The `count` numbers of `width` bits in `data`."""
    if width == 0:
        return np.zeros(count, dtype=np.int64)
    bits = np.unpackbits(data, count=count * width, bitorder="little").reshape(count, width)
    return (bits.astype(np.int64) << np.arange(width, dtype=np.int64)).sum(axis=1)
