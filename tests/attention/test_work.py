"""The work of attention by length: closed forms, and never more than the edit is said to need."""

from __future__ import annotations

import pytest

from explorer.attention.sites import Site
from explorer.attention.work import work_of
from explorer.names import EDITS
from explorer.steps import EditAttention

SITE = Site("a", "a", 0, "self", True, heads=3, queries=16, keys=16, width=8)
LENGTHS = (1, 8, 64, 1024)


def test_full_attention_grows_with_the_square() -> None:
    work = work_of(EditAttention(edit="temperature"), SITE, LENGTHS)
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
    work = work_of(step, SITE, [64])
    assert (work.macs[0], work.bytes[0]) == (3 * macs, 3 * 4 * numbers)


@pytest.mark.parametrize("edit", ["window", "linear", "low-rank", "uniform"])
def test_some_edits_grow_with_the_length_alone(edit: str) -> None:
    work = work_of(EditAttention(edit=edit), SITE, [1024, 2048])
    assert work.macs[1] == 2 * work.macs[0]


def test_every_edit_has_its_work_and_says_what_it_assumes() -> None:
    for entry in EDITS:
        work = work_of(EditAttention(edit=entry.name), SITE, LENGTHS)
        assert len(work.macs) == len(LENGTHS) and work.assumes
