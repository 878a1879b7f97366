"""The accuracy curve above a histogram or spectrum."""

from __future__ import annotations

import math

import pytest
from plotly.subplots import make_subplots

from explorer.figures.curve import add_curve, axis_range, in_axis_unit
from explorer.figures.knob import knob_figure
from tests.figures.standins import Point


def test_shares_are_drawn_in_percent() -> None:
    assert in_axis_unit("accuracy", 0.5) == 50
    assert in_axis_unit("perplexity", 1.4) == 1.4


def test_nothing_measured_yet_is_an_empty_row() -> None:
    figure = make_subplots(rows=1, cols=1)
    add_curve(figure, [], primary="accuracy", dense=None, span=(0, 1), row=1)
    assert not figure.data and list(figure.layout.yaxis.range) == [0, 108]


def test_endless_intervals_are_left_out() -> None:
    figure = make_subplots(rows=1, cols=1)
    points = [Point(0, 0.5, -math.inf, math.inf), Point(1, 0.7, 0.6, 0.8), Point(2, math.nan, 0, 0)]
    add_curve(figure, points, primary="score", dense=0.7, span=(0, 2), row=1)
    band = next(trace for trace in figure.data if trace.fill == "toself")
    assert list(band.x) == [1, 1] and list(band.y) == [0.8, 0.6]
    line = next(trace for trace in figure.data if trace.mode == "lines+markers")
    assert list(line.x) == [0, 1]
    assert all(math.isfinite(end) for end in figure.layout.yaxis.range)


def test_an_axis_range_holds_its_values() -> None:
    low, high = axis_range([20.0, 98.0], "accuracy") or (0, 0)
    assert low < 20 and high > 98
    assert axis_range([], "perplexity") is None


def test_a_knob_without_a_histogram() -> None:
    figure = knob_figure([Point(0, 0.9, 0.8, 1)], 0.5, axis="Sparsity of each matrix", span=(0, 1), dense=0.98)
    assert figure.layout.xaxis.title.text == "Sparsity of each matrix"
    assert figure.layout.shapes[0].x0 == 0.5
    assert figure.layout.xaxis.range[0] < 0 < 1 < figure.layout.xaxis.range[1]
    assert figure.layout.meta["alt"].endswith("It stands at 0.5.")
    assert knob_figure([], None, axis="N", span=(0, 4)).layout.yaxis.range == pytest.approx((0, 108))
