"""Scores as a histogram, with the threshold on it and the accuracy curve of that very knob above, on the same axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.curve import Point, add_curve
from explorer.figures.palette import Palette, palette
from explorer.figures.template import ExplorerFigure, dressed, plain
from explorer.figures.words import count_text, number_text, share_text


class Scores(Protocol):
    """A histogram of scores (see `compression/order.py`)."""

    @property
    def edges(self) -> np.ndarray: ...
    @property
    def counts(self) -> np.ndarray: ...
    @property
    def beyond(self) -> int: ...


def threshold_figure(
    histogram: Scores,
    threshold: float | None = None,
    *,
    removed: int | None = None,
    total: int | None = None,
    curve: Sequence[Point] = (),
    dense: float | None = None,
    primary: str = "accuracy",
    symbol: str = "|w|",
    axis: str = "|w|, magnitude of a weight",
    units: str = "weights",
    title: str = "Which weights go, and what it costs",
    caption: str = "",
    height: int = 420,
    dark: bool = False,
) -> go.Figure:
    """What is below the threshold goes (pale), the rest is kept (teal).

    Parameters
    ----------
    histogram: counts of scores between edges; scores beyond the last edge stand in one bar at the end.
    threshold: where the knob stands, in the unit of the scores; None when the pattern has none.
    removed, total: exact counts of scores below the threshold and of all; shown when both are given.
    curve: points measured with this knob, x in the unit of the scores.
    dense: the dense model's value of `primary`.
    symbol, axis, units: how a score is written, the title of the axis, and what is scored (weights, rows).
    """
    colours = palette(dark)
    edges, counts = np.asarray(histogram.edges, dtype=float), np.asarray(histogram.counts)
    step = float(edges[1] - edges[0])
    end = float(edges[-1]) + (1.6 * step if histogram.beyond else 0.0)
    figure = ExplorerFigure(
        make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.34, 0.66], vertical_spacing=0.06)
    )
    add_curve(figure, curve, primary=primary, dense=dense, span=(float(edges[0]), end), row=1, dark=dark)
    for name, lefts, rights, heights in _two_sides(edges, counts, histogram.beyond, threshold):
        figure.add_trace(
            go.Bar(
                x=(lefts + rights) / 2,
                y=heights,
                width=0.88 * (rights - lefts),
                name=name,
                marker={"color": colours.removed if name == "removed" else colours.variant, "line_width": 0},
                customdata=np.stack([lefts, rights], axis=1),
                hovertemplate="%{customdata[0]:.3~g} to %{customdata[1]:.3~g}: %{y:,} "
                + units
                + "<extra>"
                + name
                + "</extra>",
                showlegend=False,
            ),
            row=2,
            col=1,
        )
    tallest = max(1, int(counts.max(initial=0)), int(histogram.beyond))
    room = 1.05 if threshold is None else 1.4  # above the bars stands what the threshold says
    if threshold is not None:
        _add_threshold(figure, threshold, end, (removed, total), (symbol, units), colours)
    figure.update_xaxes(range=[float(edges[0]), end], showgrid=False)
    figure.update_xaxes(title_text=axis, row=2, col=1)
    if histogram.beyond:
        figure.update_xaxes(**_ticks(float(edges[0]), float(edges[-1]), step), row=2, col=1)
    figure.update_yaxes(
        title_text=units.capitalize(), nticks=4, tickformat=",d", range=[0, room * tallest], row=2, col=1
    )
    figure.update_layout(bargap=0, barmode="overlay")
    words = _alt(threshold, (removed, total), len(curve), (symbol, units))
    figure = dressed(figure, title=title, alt=f"{title}. {words}", caption=caption, height=height, dark=dark)
    figure.update_layout(margin_r=30 if histogram.beyond else 12)  # the last label is as wide as that
    return figure


def _two_sides(
    edges: np.ndarray, counts: np.ndarray, beyond: int, threshold: float | None
) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """The bars below and above the threshold; the bar that it cuts stands in both, each with its own width.

    Both parts of a cut bar keep its height, so that the height stays what its label says: weights a full bar.
    """
    lefts, rights, heights = edges[:-1], edges[1:], counts.astype(float)
    step = edges[1] - edges[0]
    if beyond:
        lefts = np.append(lefts, edges[-1] + 0.6 * step)
        rights = np.append(rights, edges[-1] + 1.6 * step)
        heights = np.append(heights, beyond)
    if threshold is None:
        return [("kept", lefts, rights, heights)]
    below, above = lefts < threshold, rights > threshold
    return [
        ("removed", lefts[below], np.minimum(rights[below], threshold), heights[below]),
        ("kept", np.maximum(lefts[above], threshold), rights[above], heights[above]),
    ]


def _add_threshold(
    figure: go.Figure,
    threshold: float,
    end: float,
    counts: tuple[int | None, int | None],
    words: tuple[str, str],
    colours: Palette,
) -> None:
    (removed, total), (symbol, units) = counts, words
    figure.add_vline(x=min(threshold, end), line={"color": colours.text, "width": 2})
    label = f"<b>{symbol} &lt; {number_text(threshold)} goes</b>"
    if removed is not None and total:
        label += f"<br>{count_text(removed)} of {count_text(total)} {units} · {plain(share_text(removed / total))}"
    on_the_right = threshold < 0.55 * end
    figure.add_annotation(
        text=label,
        x=min(threshold, end),
        y=1,
        yref="y2 domain",
        xref="x2",
        xanchor="left" if on_the_right else "right",
        yanchor="top",
        xshift=8 if on_the_right else -8,
        yshift=-4,
        showarrow=False,
        align="left",
        bgcolor=colours.card,
        bordercolor=colours.line,
        borderpad=6,
        font={"size": 12, "color": colours.text},
    )


def _ticks(start: float, upper: float, step: float) -> dict[str, list[float] | list[str]]:
    """Round ticks up to the last edge, and "0.25 +" under the bar of everything beyond it."""
    rough = (upper - start) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    stride = float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough))
    ticks = [tick for tick in np.arange(0, upper, stride).tolist() if start <= tick < upper - 0.6 * stride]
    return {
        "tickvals": [*ticks, upper + 1.1 * step],
        "ticktext": [*(number_text(tick, 2) for tick in ticks), f"{number_text(upper)} +"],
    }


def _alt(threshold: float | None, counts: tuple[int | None, int | None], points: int, words: tuple[str, str]) -> str:
    (removed, total), (symbol, units) = counts, words
    parts = [f"Histogram of {symbol}."]
    if threshold is not None:
        parts.append(f"The threshold stands at {number_text(threshold)}.")
    if removed is not None and total:
        share = share_text(removed / total)
        parts.append(f"{count_text(removed)} of {count_text(total)} {units} ({share}) are below it.")
    if points:
        parts.append(f"Above it the curve of {points} measured thresholds.")
    return " ".join(parts)
