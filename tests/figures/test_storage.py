"""Where the bytes are."""

from __future__ import annotations

from typing import Any

import pytest

from explorer.figures.storage import bytes_figure, encoding_label, family
from tests.figures.standins import Stored

MANY = [Stored(f"t{n}", ["raw", "bitmask", "gaps,k=7"][n % 3], 3000 + n, 6000) for n in range(30)]


def drawn(figure: Any) -> float:
    """The sum of all bars that show what the file holds, in kB."""
    return float(sum(sum(trace.x) for trace in figure.data[1:]))


@pytest.mark.parametrize("limit", [3, 18, 29, 30, 100])
def test_bars_add_up_to_the_file(limit: int) -> None:
    figure = bytes_figure(MANY, header_bytes=500, limit=limit)
    assert drawn(figure) == pytest.approx(sum(entry.size_bytes for entry in MANY) / 1000)
    assert sum(figure.data[0].x) == pytest.approx(180)
    assert "90.9 kB in all" in figure.layout.meta["alt"]


def test_the_rest_is_stacked() -> None:
    figure = bytes_figure(MANY, limit=3)
    last = [
        (base, x)
        for trace in figure.data[1:]
        for base, x, y in zip(trace.base, trace.x, trace.y, strict=True)
        if "smaller" in y
    ]
    reached = 0.0
    for base, length in last:
        assert base == pytest.approx(reached)
        reached += length
    assert len(last) == 3


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("raw", "untouched"),
        ("bitmask", "bit mask + values"),
        ("group,n=2,m=4", "2:4 groups"),
        ("gaps,k=31", "index gaps + values"),
        ("factors,r=16|dense|dense", "two thin factors of rank 16"),
        ("factors,r=4|bitmask|bitmask", "two thin factors of rank 4 (both bit mask + values)"),
        ("factors,r=4|dense|bitmask", "two thin factors of rank 4 (dense, bit mask + values)"),
        ("codebook,b=3", "codebook"),
    ],
)
def test_encodings_have_names(encoding: str, name: str) -> None:
    assert encoding_label(encoding) == name


def test_families() -> None:
    assert family("factors,r=4|dense|bitmask") == "factors"
    names = {trace.name for trace in bytes_figure(MANY).data}
    assert names == {"in the dense model", "untouched", "bit mask + values", "index gaps + values"}


def test_units_and_nothing() -> None:
    assert bytes_figure([Stored("a", "raw", 3_000_000, 3_000_000)]).layout.xaxis.title.text == "Size in the file (MB)"
    assert bytes_figure([Stored("a", "raw", 10, 10)]).layout.xaxis.title.text == "Size in the file (bytes)"
    assert "no tensors" in bytes_figure([]).layout.meta["alt"]
