"""The work of attention as the sequence grows: in full, and as an edit would need it where code makes use of it.

Counted are the products inside attention of one layer and one example: scores (queries times keys) and the weighted
sum of values, as multiply-accumulates; and the bytes of the map. Projections are left out: no edit changes them. An
edit is applied here to a map that is computed in full, so nothing of this is saved here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from explorer.attention.editing import Edit

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


def work_of(edit: Edit, lengths: Sequence[int]) -> Work:
    """The work of one self-attention layer at sequences of these lengths (queries = keys).

    Heads that the edit does not mean count in full. Where the width of a head is not known, MACs are given for a width
    of 1: their ratio stays true.
    """
    site = edit.site
    width, edited = max(1, site.width), len(edit.heads) or site.heads
    left = site.heads - edited
    full_macs, full_room, _ = _full(edit, width)
    macs, room, assumes = _COUNTS.get(edit.step.edit, _full)(edit, width)
    return Work(
        tuple(lengths),
        tuple(site.heads * full_macs(n) for n in lengths),
        tuple(edited * macs(n) + left * full_macs(n) for n in lengths),
        tuple(site.heads * BYTES * full_room(n) for n in lengths),
        tuple(BYTES * (edited * room(n) + left * full_room(n)) for n in lengths),
        assumes,
    )


Count = Callable[[int], int]
Counted = tuple[Count, Count, str]


def _full(edit: Edit, width: int) -> Counted:
    return lambda n: 2 * n * n * width, lambda n: n * n, "the edit needs every weight, as full attention"


def _off(edit: Edit, width: int) -> Counted:
    return lambda n: 0, lambda n: 0, "a head that gives nothing need not run"


def _uniform(edit: Edit, width: int) -> Counted:
    return lambda n: n * width, lambda n: 0, "one mean of the values for all queries"


def _top_k(edit: Edit, width: int) -> Counted:
    kept = int(edit.step.k or 1)
    return (
        lambda n: n * n * width + n * min(kept, n) * width,
        lambda n: 2 * n * min(kept, n),
        "all scores, then k values a query; a kept weight holds its place, too",
    )


def _window(edit: Edit, width: int) -> Counted:
    reach = 2 * int(edit.step.window or 0) + 1
    first = edit.first if edit.grid is not None else 0  # near to all, and all is near to them

    def entries(n: int) -> int:
        before, others = min(first, n), max(0, n - first)
        near = reach if edit.grid is None else reach * reach
        return before * n + others * (before + min(near, others))

    where = "along the sequence" if edit.grid is None else "on the grid of patches"
    return lambda n: 2 * entries(n) * width, entries, f"only neighbours {where} are scored"


def _causal(edit: Edit, width: int) -> Counted:
    return lambda n: n * (n + 1) * width, lambda n: n * (n + 1) // 2, "only earlier positions are scored"


def _low_rank(edit: Edit, width: int) -> Counted:
    rank = int(edit.step.rank or 1)
    return (
        lambda n: 2 * n * min(rank, n) * width,
        lambda n: 2 * n * min(rank, n),
        "two thin factors of the map are known without it",
    )


def _block_low_rank(edit: Edit, width: int) -> Counted:
    rank, side = int(edit.step.rank or 1), int(edit.step.block or 1)

    def entries(n: int) -> int:
        return 2 * n * -(-n // side) * min(rank, side)

    return lambda n: entries(n) * width, entries, "thin factors of each block are known without the map"


def _linear(edit: Edit, width: int) -> Counted:
    return (
        lambda n: 2 * n * width * width,
        lambda n: width * width,
        "keys and values are summed once for all queries",
    )


_COUNTS: dict[str, Callable[[Edit, int], Counted]] = {
    "off": _off,
    "uniform": _uniform,
    "top-k": _top_k,
    "window": _window,
    "causal": _causal,
    "low-rank": _low_rank,
    "block-low-rank": _block_low_rank,
    "linear": _linear,
}
