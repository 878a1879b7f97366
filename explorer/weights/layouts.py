"""Layouts: ways to write a matrix of small codes, of which some stand for zero, as bytes.

A layout says where the codes that are not zero stand and then lists these; or it lists all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from explorer.weights.bits import pack, packed_length, unpack

GAP_LIMIT = 255
"""A gap of so many zeros needs an entry of its own."""

Codes = NDArray[np.uint8]
Places = NDArray[np.bool_]


def layouts_of(kept: Places, width: int, rows_removed: Places | None) -> dict[str, int]:
    """The layouts that can hold codes of `width` bits, by name, with the bytes that each takes.

    kept: `[out, in]`, where the codes are not zero. rows_removed: `[out]`, rows that are zero as a whole, if known.
    """
    count, held = kept.size, int(kept.sum())
    sizes = {"packed": packed_length(count, width)}
    if held == count:
        return sizes
    sizes["bitmask"] = packed_length(count, 1) + packed_length(held, width)
    if rows_removed is not None:
        left = kept.shape[0] - int(rows_removed.sum())
        sizes["rows"] = packed_length(kept.shape[0], 1) + packed_length(left * kept.shape[1], width)
    entries = gap_entries(np.flatnonzero(kept))
    sizes[f"gaps,k={entries}"] = entries + packed_length(entries, width)
    return sizes


def layout_length(data: NDArray[np.uint8], layout: str, asked: Mapping[str, int], shape: tuple[int, int]) -> int:
    """How many bytes at the start of `data` belong to codes of that layout; `asked` has "width" and the layout's own.

    Raises `ValueError` for an unknown layout.
    """
    rows, columns = shape
    width = asked["width"]
    if layout == "packed":
        return packed_length(rows * columns, width)
    if layout == "bitmask":
        head = packed_length(rows * columns, 1)
        return head + packed_length(int(np.bitwise_count(data[:head]).sum()), width)
    if layout == "rows":
        head = packed_length(rows, 1)
        return head + packed_length(int(np.bitwise_count(data[:head]).sum()) * columns, width)
    if layout == "gaps":
        return asked["k"] + packed_length(asked["k"], width)
    raise ValueError("an unknown layout")


def write_codes(codes: Codes, zero_codes: Codes, layout: str, width: int, rows_removed: Places | None) -> bytes:
    """The bytes of `codes` `[out, in]` in a layout that `layouts_of` offered; `zero_codes` `[out, in]` mean zero."""
    name, kept = layout.partition(",")[0], codes != zero_codes
    if name == "packed":
        return pack(codes.reshape(-1), width)
    if name == "bitmask":
        return np.packbits(kept.reshape(-1), bitorder="little").tobytes() + pack(codes[kept], width)
    if name == "rows":
        assert rows_removed is not None
        stay = ~rows_removed
        return np.packbits(stay, bitorder="little").tobytes() + pack(codes[stay].reshape(-1), width)
    gaps, _ = gap_bytes(np.flatnonzero(kept))
    listed = codes.reshape(-1)[places_of(gaps)]  # an entry that only bridges a long gap meets the code of zero there
    return gaps.tobytes() + pack(listed, width)


def read_codes(
    data: NDArray[np.uint8], layout: str, asked: Mapping[str, int], zero_codes: Codes
) -> tuple[Codes, Places | None, Places | None]:
    """(codes, kept, rows removed) from bytes; what a layout does not tell is None.

    zero_codes: `[out, in]`, the code that stands for zero at each place.
    """
    shape, width = zero_codes.shape, asked["width"]
    rows, columns = shape
    if layout == "packed":
        return unpack(data, rows * columns, width).astype(np.uint8).reshape(shape), None, None
    codes = zero_codes.copy()
    if layout == "gaps":
        count = asked["k"]
        codes.reshape(-1)[places_of(data[:count])] = unpack(data[count:], count, width).astype(np.uint8)
        return codes, codes != zero_codes, None
    head = packed_length(rows * columns if layout == "bitmask" else rows, 1)
    flags = np.unpackbits(data[:head], count=rows * columns if layout == "bitmask" else rows, bitorder="little")
    stay = flags.astype(bool)
    if layout == "bitmask":
        kept = stay.reshape(shape)
        codes[kept] = unpack(data[head:], int(stay.sum()), width).astype(np.uint8)
        return codes, kept, None
    codes[stay] = unpack(data[head:], int(stay.sum()) * columns, width).astype(np.uint8).reshape(-1, columns)
    return codes, np.broadcast_to(stay[:, None], shape).copy(), ~stay


def gap_entries(places: NDArray[np.integer]) -> int:
    """How many entries the gaps before ascending `places` need: one each, one more for each 255 zeros in a gap."""
    gaps = np.diff(places, prepend=-1) - 1
    return int(len(gaps) + (gaps // GAP_LIMIT).sum())


def gap_bytes(places: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(bytes, which of them end a gap): the number of zeros before each of the ascending `places`, 0 to 254 a byte."""
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps // GAP_LIMIT
    ends = np.cumsum(fillers + 1) - 1
    entries = np.full(int(len(gaps) + fillers.sum()), GAP_LIMIT - 1, dtype=np.uint8)
    entries[ends] = gaps % GAP_LIMIT
    return entries, ends


def places_of(gaps: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where the entries that `gap_bytes` gave stand."""
    return np.cumsum(gaps.astype(np.int64) + 1) - 1
