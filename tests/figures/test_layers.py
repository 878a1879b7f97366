"""What is left of each matrix."""

from __future__ import annotations

from explorer.figures.layers import layers_figure
from explorer.figures.palette import LIGHT
from tests.figures.standins import Kept


def kept(*items: Kept) -> dict[str, Kept]:
    """By name."""
    return {item.name: item for item in items}


def test_one_bar_a_matrix_in_order() -> None:
    figure = layers_figure(kept(Kept("b"), Kept("a", nonzero=25, rank=3), Kept("c", rows_removed=2, size_bytes=None)))
    assert list(figure.data[1].y) == ["b", "a", "c"]
    assert list(figure.data[1].x) == [50, 25, 50]
    assert [note.text for note in figure.layout.annotations] == ["50 % kept", "rank 3 · 25 %", "50 % kept"]
    assert "2 rows gone" in figure.data[1].customdata[2][0]
    assert figure.layout.meta["alt"].endswith("b 50 % kept; a rank 3 · 25 %; c 50 % kept")


def test_a_matrix_that_grew_warns() -> None:
    figure = layers_figure(kept(Kept("a", nonzero=130)))
    assert list(figure.data[1].marker.color) == [LIGHT.warning]
    assert figure.layout.xaxis.range[1] > 130


def test_long_names_are_shortened_on_the_axis_and_whole_in_the_hover() -> None:
    name = "encoder.layers.11.attention.output.dense.weight"
    figure = layers_figure(kept(Kept(name)))
    assert len(figure.layout.yaxis.ticktext[0]) <= 28 and figure.data[1].y[0] == name


def test_what_is_not_drawn_is_counted() -> None:
    figure = layers_figure(kept(*(Kept(str(n)) for n in range(9))), limit=4, caption="prune")
    assert len(figure.data[1].y) == 4
    assert figure.layout.meta["caption"] == "5 more not drawn · prune"


def test_no_matrix_at_all() -> None:
    assert "no weight matrix" in layers_figure({}).layout.meta["alt"]
