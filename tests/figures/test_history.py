"""Where you have been."""

from __future__ import annotations

from explorer.figures.history import Visit, history_figure
from explorer.figures.palette import LIGHT

DENSE = Visit(545_000, 0.98, "dense")
VISITS = [Visit(500_000, 0.97, "prune 10 %"), Visit(300_000, None, "prune 50 %"), Visit(150_000, 0.2, "<prune>")]


def test_measured_visits_are_dots_that_know_their_place() -> None:
    figure = history_figure(VISITS, dense=DENSE, current=2)
    dots = next(trace for trace in figure.data if trace.name == "visits")
    assert list(dots.customdata) == [0, 2]
    assert list(dots.x) == [500, 150] and list(dots.y) == [97, 20]
    assert dots.marker.line.color[1] == LIGHT.text and dots.marker.size[1] > dots.marker.size[0]
    assert "&lt;prune&gt;" in dots.text[1]


def test_dense_is_a_slate_square_and_the_first_of_the_path() -> None:
    figure = history_figure(VISITS, dense=DENSE, current=-1)
    dense = next(trace for trace in figure.data if trace.name == "dense")
    assert dense.marker.color == LIGHT.dense and dense.marker.symbol == "square"
    assert list(figure.data[0].x) == [545, 500, 150]


def test_the_size_axis_starts_at_nothing() -> None:
    low, high = history_figure(VISITS, dense=DENSE).layout.xaxis.range
    assert low == 0 and high > 545


def test_before_anything_is_measured() -> None:
    figure = history_figure([], dense=Visit(545_000, None, "dense"))
    assert "nothing is measured yet" in figure.layout.meta["alt"]


def test_estimates_say_so() -> None:
    visit = Visit(100, 0.5, "x", low=0.4, high=0.6, partial="on 96 of 540")
    dots = next(trace for trace in history_figure([visit], dense=DENSE).data if trace.name == "visits")
    assert "50.0 % (40.0–60.0 %), on 96 of 540" in dots.text[0]
