"""The work of attention as the sequence grows: in full, and as an edit would need it where code makes use of it.

Counted are the products inside attention of one layer and one example: scores (queries times keys) and the weighted
sum of values, as multiply-accumulates; and the bytes of the map. Projections are left out: no edit changes them. An
edit is applied here to a map that is computed in full, so nothing of this is saved here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from explorer.attention.sites import Site
from explorer.steps.attention import EditAttention

BYTES = 4
"""Bytes of a weight in single precision."""


@dataclass(frozen=True)
class Work:
    """Of one layer: MACs and bytes of the map at each length, for full attention and for the edit."""

    lengths: tuple[int, ...]
    macs_full: tuple[int, ...]
    macs: tuple[int, ...]
    bytes_full: tuple[int, ...]
    bytes: tuple[int, ...]
    assumes: str


def work_of(step: EditAttention, site: Site, lengths: Sequence[int]) -> Work:
    """The work of one layer's heads, all of them edited, at sequences of these lengths (queries = keys).

    Where the width of a head is not known, MACs are given for a width of 1: their ratio stays true.
    """
    width, heads = max(1, site.width), site.heads
    macs, room, assumes = _COUNTS.get(step.edit, _full)(step, width)
    return Work(
        tuple(lengths),
        tuple(heads * 2 * n * n * width for n in lengths),
        tuple(heads * macs(n) for n in lengths),
        tuple(heads * BYTES * n * n for n in lengths),
        tuple(heads * BYTES * room(n) for n in lengths),
        assumes,
    )


Count = Callable[[int], int]
Counted = tuple[Count, Count, str]


def _full(step: EditAttention, width: int) -> Counted:
    return lambda n: 2 * n * n * width, lambda n: n * n, "the edit needs every weight, as full attention"


def _off(step: EditAttention, width: int) -> Counted:
    return lambda n: 0, lambda n: 0, "a head that gives nothing need not run"


def _uniform(step: EditAttention, width: int) -> Counted:
    return lambda n: n * width, lambda n: 0, "one mean of the values for all queries"


def _top_k(step: EditAttention, width: int) -> Counted:
    kept = int(step.k or 1)
    return (
        lambda n: n * n * width + n * min(kept, n) * width,
        lambda n: 2 * n * min(kept, n),
        "all scores, then k values a query; a kept weight holds its place, too",
    )


def _window(step: EditAttention, width: int) -> Counted:
    reach = 2 * int(step.window or 0) + 1
    return (
        lambda n: 2 * n * min(reach, n) * width,
        lambda n: n * min(reach, n),
        "only neighbours along the sequence are scored",
    )


def _causal(step: EditAttention, width: int) -> Counted:
    return lambda n: n * (n + 1) * width, lambda n: n * (n + 1) // 2, "only earlier positions are scored"


def _low_rank(step: EditAttention, width: int) -> Counted:
    rank = int(step.rank or 1)
    return (
        lambda n: 2 * n * min(rank, n) * width,
        lambda n: 2 * n * min(rank, n),
        "two thin factors of the map are known without it",
    )


def _block_low_rank(step: EditAttention, width: int) -> Counted:
    rank, side = int(step.rank or 1), int(step.block or 1)

    def entries(n: int) -> int:
        return 2 * n * -(-n // side) * min(rank, side)

    return lambda n: entries(n) * width, entries, "thin factors of each block are known without the map"


def _linear(step: EditAttention, width: int) -> Counted:
    return (
        lambda n: 2 * n * width * width,
        lambda n: width * width,
        "keys and values are summed once for all queries",
    )


_COUNTS: dict[str, Callable[[EditAttention, int], Counted]] = {
    "off": _off,
    "uniform": _uniform,
    "top-k": _top_k,
    "window": _window,
    "causal": _causal,
    "low-rank": _low_rank,
    "block-low-rank": _block_low_rank,
    "linear": _linear,
}
