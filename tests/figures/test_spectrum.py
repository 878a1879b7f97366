"""The singular values with their rank."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.figures.palette import LIGHT
from explorer.figures.spectrum import largest_saving_rank, spectrum_figure
from tests.figures.standins import Point


@dataclass(frozen=True)
class Values:
    """A spectrum of ten values."""

    matrix: str = "blocks.0.<mlp>"
    break_even: float = 6.4
    values: np.ndarray = field(default_factory=lambda: np.arange(10.0, 0.0, -1.0))

    @property
    def energy(self) -> np.ndarray:
        squares = self.values**2
        return np.cumsum(squares) / squares.sum()


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_the_largest_rank_that_saves(rows: int, columns: int) -> None:
    best = largest_saving_rank(rows * columns / (rows + columns))
    assert best == 0 or best * (rows + columns) < rows * columns
    assert (best + 1) * (rows + columns) >= rows * columns or math.isclose(
        (best + 1), rows * columns / (rows + columns)
    )


def test_kept_values_are_teal() -> None:
    figure = spectrum_figure(Values(), 4)
    colours = figure.data[0].marker.color
    assert list(colours) == [LIGHT.variant] * 4 + [LIGHT.removed] * 6
    assert list(figure.data[1].y) == pytest.approx(list(100 * Values().energy))


def test_rank_energy_and_break_even_are_marked() -> None:
    figure = spectrum_figure(Values(), 4)
    words = " ".join(note.text for note in figure.layout.annotations)
    assert "rank 4" in words and "of the energy" in words and "break-even 6.4" in words
    assert [shape.x0 for shape in figure.layout.shapes] == [6.4, 4.5]
    assert "fewer numbers" in figure.layout.meta["alt"]
    assert "more numbers" in spectrum_figure(Values(), 7).layout.meta["alt"]


def test_a_name_is_not_read_as_html() -> None:
    assert "&lt;mlp&gt;" in spectrum_figure(Values()).layout.title.text


def test_the_curve_is_on_the_axis_of_ranks() -> None:
    figure = spectrum_figure(Values(), 4, curve=[Point(1, 0.2, 0.1, 0.3), Point(8, 0.9, 0.8, 1.0)], dense=0.95)
    assert len([axis for axis in figure.layout if axis.startswith("xaxis")]) == 2
    assert list(figure.layout.xaxis2.range) == [0.5, 10.5]


def test_a_break_even_beyond_the_last_rank_is_not_drawn() -> None:
    assert not spectrum_figure(Values(break_even=40)).layout.shapes
