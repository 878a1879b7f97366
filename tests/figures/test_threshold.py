"""The histogram with its threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.figures.palette import LIGHT
from explorer.figures.threshold import threshold_figure
from tests.figures.standins import Point, Scores

SCORES = Scores(np.linspace(0, 1, 11), np.arange(10, 0, -1), beyond=3)


def bars(figure: Any) -> dict[str, Any]:
    """The bar traces by name."""
    return {trace.name: trace for trace in figure.data if trace.type == "bar"}


def test_below_goes_above_stays() -> None:
    both = bars(threshold_figure(SCORES, 0.4))
    removed, kept = both["removed"], both["kept"]
    assert removed.marker.color == LIGHT.removed and kept.marker.color == LIGHT.variant
    assert list(removed.y) == [10, 9, 8, 7]
    assert list(kept.y) == [6, 5, 4, 3, 2, 1, 3]


def test_a_cut_bar_stands_on_both_sides() -> None:
    both = bars(threshold_figure(SCORES, 0.45))
    edges = {name: np.asarray(trace.customdata) for name, trace in both.items()}
    assert edges["removed"][-1].tolist() == pytest.approx([0.4, 0.45])
    assert edges["kept"][0].tolist() == pytest.approx([0.45, 0.5])


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 3))
def test_both_sides_cover_everything_once(threshold: float) -> None:
    both = bars(threshold_figure(SCORES, threshold))
    widths = sum(float(np.diff(np.asarray(trace.customdata)).sum()) for trace in both.values())
    assert widths == pytest.approx(1.1)


def test_the_label_tells_exact_counts() -> None:
    figure = threshold_figure(SCORES, 0.055, removed=66_926, total=131_712)
    words = " ".join(note.text for note in figure.layout.annotations)
    assert "|w| &lt; 0.055 goes" in words and "66,926 of 131,712 weights · 50.8 %" in words
    assert "66,926 of 131,712" in figure.layout.meta["alt"]


def test_without_a_threshold_all_is_kept() -> None:
    figure = threshold_figure(SCORES)
    assert list(bars(figure)) == ["kept"] and not figure.layout.annotations


def test_the_curve_stands_above_on_the_same_axis() -> None:
    points = [Point(0.5, 0.6, 0.5, 0.7), Point(0.0, 0.98, 0.96, 0.99)]
    figure = threshold_figure(SCORES, 0.4, curve=points, dense=0.98)
    line = next(trace for trace in figure.data if trace.mode == "lines+markers")
    assert list(line.x) == [0.0, 0.5] and list(line.y) == pytest.approx([98, 60])
    assert figure.layout.xaxis.matches == "x2" or figure.layout.xaxis2.matches == "x"
    assert "dense 98.0 %" in [note.text for note in figure.layout.annotations]
    assert figure.layout.yaxis.title.text == "Accuracy" and figure.layout.yaxis2.title.text == "Weights"


def test_what_lies_beyond_is_labelled() -> None:
    assert threshold_figure(SCORES, 0.4).layout.xaxis2.ticktext[-1] == "1 +"


def test_other_units() -> None:
    figure = threshold_figure(SCORES, 0.4, removed=3, total=10, units="rows", symbol="score", axis="Score of a row")
    assert figure.layout.yaxis2.title.text == "Rows"
    assert "3 of 10 rows" in figure.layout.meta["alt"]
