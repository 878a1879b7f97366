"""Where you have been: every recipe a dot, the metric against the bytes of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from explorer.figures.curve import axis_range, in_axis_unit
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, faded, plain
from explorer.figures.words import interval_text, is_share, metric_label, metric_text, size_text


@dataclass(frozen=True)
class Visit:
    """One recipe that was tried.

    Parameters
    ----------
    size_bytes: the length of its file.
    value, low, high: its metric with the 95 % interval; None while nothing is measured yet (then it is not drawn).
    sentence: the recipe in a line.
    partial: "on 96 of 540" while the value is an estimate, else empty.
    """

    size_bytes: int
    value: float | None
    sentence: str
    low: float | None = None
    high: float | None = None
    partial: str = ""


def history_figure(
    visits: Sequence[Visit],
    *,
    dense: Visit,
    current: int | None = None,
    primary: str = "accuracy",
    title: str = "Where you have been",
    caption: str = "",
    height: int = 260,
    dark: bool = False,
) -> go.Figure:
    """Dots in the order of the visits, joined; the dense model in slate, the current recipe ringed.

    The trace named "visits" holds one point a visit with `customdata` = its position in `visits`, for pages where
    a click on a dot brings its recipe back; the dense model is position -1.
    """
    drawn = [(place, visit) for place, visit in enumerate(visits) if visit.value is not None]
    if not drawn and dense.value is None:
        return empty_figure(title, "nothing is measured yet", height=height, dark=dark)
    colours = palette(dark)
    factor, unit = (1e6, "MB") if dense.size_bytes >= 2e6 else (1e3, "kB")
    figure = ExplorerFigure()
    marked = [(-1, dense)] if dense.value is not None else []
    path = marked + drawn
    figure.add_trace(
        go.Scatter(
            x=[visit.size_bytes / factor for _, visit in path],
            y=[in_axis_unit(primary, visit.value or 0.0) for _, visit in path],
            mode="lines",
            line={"color": faded(colours.dense, 0.55), "width": 1.5},
            hoverinfo="skip",
        )
    )
    for name, points, colour, size, symbol in (
        ("dense", marked, colours.dense, 11, "square"),
        ("visits", drawn, colours.variant, 9, "circle"),
    ):
        figure.add_trace(
            go.Scatter(
                x=[visit.size_bytes / factor for _, visit in points],
                y=[in_axis_unit(primary, visit.value or 0.0) for _, visit in points],
                mode="markers",
                name=name,
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "opacity": 1,
                    "size": [size + 5 if place == current else size for place, _ in points],
                    "line": {
                        "color": [colours.text if place == current else colours.card for place, _ in points],
                        "width": [2.5 if place == current else 1 for place, _ in points],
                    },
                },
                customdata=[place for place, _ in points],
                text=[_hover(visit, primary) for _, visit in points],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    _label_dense(figure, dense, factor, primary, colours.dense)
    values = [in_axis_unit(primary, visit.value or 0.0) for _, visit in path]
    suffix = " %" if is_share(primary) else ""
    figure.update_yaxes(
        title_text=metric_label(primary), ticksuffix=suffix, range=axis_range(values, primary), nticks=5
    )
    # From nothing to a little more than the largest: dots do not shift when another one comes.
    largest = max(visit.size_bytes for _, visit in path) / factor
    figure.update_xaxes(title_text=f"Size of the file ({unit})", nticks=6, range=[0, 1.06 * largest])
    figure.update_layout(showlegend=False, hovermode="closest")
    words = "; ".join(
        f"{visit.sentence}: {metric_text(primary, visit.value)}, {size_text(visit.size_bytes)}" for _, visit in path
    )
    return dressed(figure, title=title, alt=f"{title}. {words}", caption=caption, height=height, dark=dark)


def _hover(visit: Visit, primary: str) -> str:
    value = metric_text(primary, visit.value)
    if visit.low is not None:
        value += f" ({interval_text(primary, visit.low, visit.high)})"
    if visit.partial:
        value += f", {visit.partial}"
    return "<br>".join(plain(line) for line in (visit.sentence, value, size_text(visit.size_bytes)))


def _label_dense(figure: go.Figure, dense: Visit, factor: float, primary: str, colour: str) -> None:
    if dense.value is None:
        return
    figure.add_annotation(
        text="dense",
        x=dense.size_bytes / factor,
        y=in_axis_unit(primary, dense.value),
        yanchor="bottom",
        xanchor="right",
        yshift=7,
        showarrow=False,
        font={"size": 11, "color": colour},
    )
