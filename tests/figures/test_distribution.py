"""The distribution of weights."""

from __future__ import annotations

import numpy as np

from explorer.figures.distribution import distribution_figure
from explorer.figures.palette import LIGHT

WEIGHT = np.linspace(-1, 1, 1001).reshape(7, 143)


def test_all_weights_are_counted() -> None:
    figure = distribution_figure(WEIGHT, name="m")
    assert sum(figure.data[0].y) == 1001 and figure.data[0].marker.color == LIGHT.dense
    assert "1,001 weights" in figure.layout.title.subtitle.text


def test_zeros_of_a_variant_are_left_out() -> None:
    variant = np.where(np.abs(WEIGHT) > 0.5, WEIGHT, 0)
    figure = distribution_figure(WEIGHT, name="m", variant=variant)
    bars, outline = figure.data
    assert sum(bars.y) == np.count_nonzero(variant) and bars.marker.color == LIGHT.variant
    assert outline.line.color == LIGHT.dense
    assert "500 of 1,001 are not zero" in figure.layout.title.subtitle.text


def test_equal_weights() -> None:
    assert sum(distribution_figure(np.zeros((3, 3)), name="m").data[0].y) == 9
