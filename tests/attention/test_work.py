"""The work of attention by length: closed forms, and never more than the edit is said to need."""

from __future__ import annotations

import pytest

from explorer.attention.editing import Edit
from explorer.attention.sites import Site
from explorer.attention.work import work_of
from explorer.names import EDITS
from explorer.steps import EditAttention

SITE = Site("a", "a", 0, "self", True, heads=3, queries=16, keys=16, width=8)
LENGTHS = (1, 8, 64, 1024)


def test_full_attention_grows_with_the_square() -> None:
    work = work_of(Edit(SITE, EditAttention(edit="temperature")), LENGTHS)
    assert work.macs_full == tuple(3 * 2 * n * n * 8 for n in LENGTHS) == work.macs
    assert work.bytes_full == tuple(3 * 4 * n * n for n in LENGTHS) == work.bytes


@pytest.mark.parametrize(
    ("step", "macs", "numbers"),
    [
        (EditAttention(edit="window", window=2), 2 * 64 * 5 * 8, 64 * 5),
        (EditAttention(edit="top-k", k=4), 64 * 64 * 8 + 64 * 4 * 8, 2 * 64 * 4),
        (EditAttention(edit="low-rank", rank=2), 2 * 64 * 2 * 8, 2 * 64 * 2),
        (EditAttention(edit="block-low-rank", rank=1, block=16), 2 * 64 * 4 * 8, 2 * 64 * 4),
        (EditAttention(edit="linear"), 2 * 64 * 8 * 8, 64),
        (EditAttention(edit="causal"), 64 * 65 * 8, 64 * 65 // 2),
        (EditAttention(edit="off"), 0, 0),
    ],
)
def test_what_an_edit_would_need_at_64_positions(step: EditAttention, macs: int, numbers: int) -> None:
    work = work_of(Edit(SITE, step), [64])
    assert (work.macs[0], work.bytes[0]) == (3 * macs, 3 * 4 * numbers)


@pytest.mark.parametrize("edit", ["window", "linear", "low-rank", "uniform"])
def test_some_edits_grow_with_the_length_alone(edit: str) -> None:
    work = work_of(Edit(SITE, EditAttention(edit=edit)), [1024, 2048])
    assert work.macs[1] == 2 * work.macs[0]


def test_every_edit_has_its_work_and_says_what_it_assumes() -> None:
    for entry in EDITS:
        work = work_of(Edit(SITE, EditAttention(edit=entry.name)), LENGTHS)
        assert len(work.macs) == len(LENGTHS) and work.assumes


def test_heads_that_are_not_edited_work_in_full() -> None:
    one = work_of(Edit(SITE, EditAttention(edit="off"), heads=(1,)), LENGTHS)
    assert one.macs == tuple(full * 2 // 3 for full in one.macs_full)
    assert one.bytes == tuple(full * 2 // 3 for full in one.bytes_full)


@pytest.mark.parametrize(("first", "window"), [(0, 1), (1, 1), (1, 2), (2, 9)])
def test_a_window_on_a_grid_never_needs_less_than_the_pairs_that_it_leaves(first: int, window: int) -> None:
    edit = Edit(SITE, EditAttention(edit="window", window=window), grid=(5, 5), first=first)
    places = first + 25
    left = int((edit.distance(places, places) <= window).sum())
    counted = work_of(edit, [places]).bytes[0] // (3 * 4)
    assert left <= counted <= places**2
    assert counted == first * places + 25 * (first + min((2 * window + 1) ** 2, 25))
