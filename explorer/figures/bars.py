"""Plain bars: the sizes of weight matrices, the metrics of a model, the times of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import plotly.graph_objects as go

from explorer.figures.curve import in_axis_unit
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import (
    count_text,
    counted,
    duration_text,
    interval_text,
    is_share,
    metric_label,
    metric_text,
    number_text,
    shortened,
)

ROW_PIXELS = 24


class Matrix(Protocol):
    """What a bar needs of a weight matrix."""

    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def count(self) -> int: ...


def matrices_figure(
    matrices: Sequence[Matrix], *, title: str = "Weight matrices", caption: str = "", dark: bool = False
) -> go.Figure:
    """How many weights each matrix has, in the order of the model."""
    listed = list(matrices)
    if not listed:
        return empty_figure(title, "this model has no compressible matrix", dark=dark)
    total = sum(matrix.count for matrix in listed)
    facts = f"{counted(len(listed), 'matrix', 'matrices')}, {count_text(total)} weights"
    figure = ExplorerFigure()
    figure.add_trace(
        go.Bar(
            y=[matrix.name for matrix in listed],
            x=[matrix.count for matrix in listed],
            orientation="h",
            width=0.6,
            marker={"color": palette(dark).dense, "line_width": 0},
            customdata=[[matrix.rows, matrix.columns] for matrix in listed],
            hovertemplate="%{y}<br>%{customdata[0]:,} by %{customdata[1]:,}: %{x:,} weights<extra></extra>",
        )
    )
    _name_rows(figure, [matrix.name for matrix in listed], dark)
    figure.update_xaxes(title_text="Weights", tickformat=",d", nticks=6)
    alt = f"{title}: {facts}. " + "; ".join(f"{matrix.name} {matrix.rows} by {matrix.columns}" for matrix in listed)
    height = 124 + ROW_PIXELS * len(listed) + (26 if caption else 0)
    return dressed(figure, title=title, subtitle=facts, alt=alt, caption=caption, height=height, dark=dark)


def quality_figure(
    quality: Any, *, dense: Any = None, title: str = "Quality", caption: str = "", dark: bool = False
) -> go.Figure:
    """The headline metric with its 95 % interval, and the metrics that are counted in the same unit.

    Parameters
    ----------
    quality: a `Quality`. dense: another one to stand beside it, in slate.
    """
    colours = palette(dark)
    primary = quality.primary
    in_percent = is_share(primary)
    drawn = [primary, *(name for name in quality.metrics if in_percent and is_share(name) and name != primary)]
    labels = [f"{metric_label(name)}  {metric_text(name, quality.metrics[name])}" for name in drawn]
    figure = ExplorerFigure()
    sides = [("this variant", quality, colours.variant, "circle")]
    sides += [("dense", dense, colours.dense, "square")] if dense is not None else []
    for name, side, colour, symbol in sides:
        middle, low, high = (in_axis_unit(primary, value) for value in (side.value, side.low, side.high))
        nothing = [0.0] * (len(drawn) - 1)
        figure.add_trace(
            go.Scatter(
                y=labels,
                x=[in_axis_unit(primary, side.metrics[metric]) for metric in drawn],
                mode="markers",
                name=name,
                marker={"color": colour, "size": 11, "symbol": symbol},
                error_x={
                    "type": "data",
                    "array": [high - middle, *nothing],
                    "arrayminus": [middle - low, *nothing],
                    "color": colour,
                    "visible": math.isfinite(high - low),
                },
                hovertemplate=f"%{{y}}<extra>{name}</extra>",
            )
        )
    estimate = "" if quality.complete else "estimate "
    on = f"{estimate}on {count_text(quality.examples)} of {count_text(quality.total)} examples"
    facts = f"95 %: {interval_text(primary, quality.low, quality.high)} · {on}"
    figure.update_yaxes(range=[len(drawn) - 0.4, -0.6], ticks="", tickfont={"color": colours.text}, ticklabelstandoff=8)
    figure.update_xaxes(
        title_text="Percent of the examples" if in_percent else metric_label(primary),
        ticksuffix=" %" if in_percent else "",
        nticks=6,
    )
    figure.update_layout(showlegend=dense is not None)
    values = "; ".join(f"{metric_label(name)} {metric_text(name, value)}" for name, value in quality.metrics.items())
    height = 140 + 30 * len(drawn) + (26 if caption else 0)
    return dressed(
        figure, title=title, subtitle=facts, alt=f"{title}: {values}", caption=caption, height=height, dark=dark
    )


def latency_figure(latency: Any, *, title: str = "Latency", caption: str = "", dark: bool = False) -> go.Figure:
    """The medians of two models timed in turn, with the middle half of their runs.

    Parameters
    ----------
    latency: a `Latency`.
    """
    colours = palette(dark)
    sides = (
        ("dense", latency.dense_ms, latency.dense_spread, colours.dense),
        ("this variant", latency.variant_ms, latency.variant_spread, colours.variant),
    )
    figure = ExplorerFigure()
    for name, middle, (low, high), colour in sides:
        spread = f"{duration_text(low)} to {duration_text(high)}"
        figure.add_trace(
            go.Bar(
                y=[f"{name}  {duration_text(middle)}"],
                x=[middle],
                orientation="h",
                width=0.5,
                marker={"color": colour, "line_width": 0},
                error_x={"type": "data", "array": [high - middle], "arrayminus": [middle - low], "color": colours.text},
                hovertemplate=f"{name}: {duration_text(middle)} ({spread})<extra></extra>",
            )
        )
    verdict = f"{number_text(latency.ratio)} times as fast" if latency.differs else "no difference measured"
    facts = f"{verdict} · batch of {latency.batch} · {latency.runs} runs of each, in turn"
    figure.update_yaxes(
        autorange="reversed", ticks="", tickfont={"color": colours.text}, ticklabelstandoff=8, showgrid=False
    )
    figure.update_xaxes(title_text="Milliseconds a forward pass (median, middle half)", rangemode="tozero")
    figure.update_layout(showlegend=False)
    alt = (
        f"{title}: dense {duration_text(latency.dense_ms)}, this variant {duration_text(latency.variant_ms)}; {facts}."
    )
    height = 210 + (26 if caption else 0)
    return dressed(figure, title=title, subtitle=facts, alt=alt, caption=caption, height=height, dark=dark)


def _name_rows(figure: go.Figure, names: list[str], dark: bool) -> None:
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=names,
        ticktext=[plain(shortened(name, 30)) for name in names],
        tickfont={"color": palette(dark).text, "size": 12},
        ticks="",
        ticklabelstandoff=8,
        showgrid=False,
    )
