"""The accuracy curve of a knob: what the model would score if the knob stood elsewhere.

Drawn above a histogram of scores (`threshold.py`) and above a spectrum (`spectrum.py`), on their axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import plotly.graph_objects as go

from explorer.figures.palette import palette
from explorer.figures.template import faded
from explorer.figures.words import is_share, metric_label, metric_text


class Point(Protocol):
    """One measured point: the knob at `x`, the metric's value and its 95 % interval, on how many examples."""

    @property
    def x(self) -> float: ...
    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def examples(self) -> int: ...


def in_axis_unit(metric: str, value: float) -> float:
    """A metric as its axis counts it: shares in percent."""
    return 100 * value if is_share(metric) else value


def add_curve(
    figure: go.Figure,
    points: Sequence[Point],
    *,
    primary: str,
    dense: float | None,
    span: tuple[float, float],
    row: int,
    dark: bool = False,
) -> None:
    """Draw the measured points, their interval and the dense value into subplot `row`.

    Parameters
    ----------
    points: in any order; may be empty while nothing is measured yet. An endless interval is not drawn.
    primary: the metric's name; decides unit and axis title.
    dense: the dense model's value, a dashed line; None leaves it out.
    span: the first and last x of the row, where the dense line runs.
    """
    colours = palette(dark)
    points = sorted((point for point in points if math.isfinite(point.value)), key=lambda point: point.x)
    xs = [point.x for point in points]
    values, lows, highs = (
        [in_axis_unit(primary, getattr(point, name)) for point in points] for name in ("value", "low", "high")
    )
    unit = " %" if is_share(primary) else ""
    bounded = [place for place in range(len(points)) if math.isfinite(lows[place]) and math.isfinite(highs[place])]
    if dense is not None:
        figure.add_trace(
            go.Scatter(
                x=list(span),
                y=[in_axis_unit(primary, dense)] * 2,
                mode="lines",
                line={"color": colours.dense, "width": 1.5, "dash": "dash"},
                hoverinfo="skip",
                showlegend=False,
            ),
            row=row,
            col=1,
        )
        figure.add_annotation(
            text=f"dense {metric_text(primary, dense)}",
            x=span[1],
            y=in_axis_unit(primary, dense),
            xanchor="right",
            yanchor="bottom",
            showarrow=False,
            font={"size": 11, "color": colours.dense},
            row=row,
            col=1,
        )
    if points:
        figure.add_trace(
            go.Scatter(
                x=[xs[place] for place in bounded] + [xs[place] for place in reversed(bounded)],
                y=[highs[place] for place in bounded] + [lows[place] for place in reversed(bounded)],
                fill="toself",
                fillcolor=faded(colours.variant, 0.16),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            ),
            row=row,
            col=1,
        )
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=values,
                mode="lines+markers",
                line={"color": colours.text, "width": 2},
                marker={"size": 4.5, "color": colours.text},
                customdata=[[low, high, point.examples] for low, high, point in zip(lows, highs, points, strict=True)],
                hovertemplate=(
                    f"{metric_label(primary)} %{{y:.4~g}}{unit}<br>"
                    f"95 %: %{{customdata[0]:.4~g}} to %{{customdata[1]:.4~g}}{unit}<br>"
                    "on %{customdata[2]:,} examples<extra></extra>"
                ),
                showlegend=False,
            ),
            row=row,
            col=1,
        )
    known = values + [side[place] for side in (lows, highs) for place in bounded]
    known += [in_axis_unit(primary, dense)] if dense is not None else []
    figure.update_yaxes(
        title_text=metric_label(primary),
        range=axis_range(known, primary),
        ticksuffix=unit,
        nticks=4,
        row=row,
        col=1,
    )


def axis_range(values: Sequence[float], metric: str) -> list[float] | None:
    """A little more than the values span, with room above for a label; None leaves it to Plotly."""
    if not values:
        return [0, 108] if is_share(metric) else None
    low, high = min(values), max(values)
    room = max(high - low, 4.0 if is_share(metric) else 0.02 * abs(high), 1e-6)
    return [low - 0.08 * room, high + 0.3 * room]
