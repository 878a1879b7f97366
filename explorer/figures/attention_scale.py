"""The colour scales of attention figures: where they stand, and the cells that they colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.figures.attention_labels import MOST_LABELS, Side
from explorer.figures.palette import palette

BELOW_SUBTITLE = 58
"""Pixels from the upper edge to a colour scale under title and subtitle."""
SCALE_SPACE = 30
"""Pixels above the drawing that a colour scale takes."""


def along_the_top(words: str, dark: bool, length: int = 180, x: float = 0.0) -> dict[str, Any]:
    """A colour bar that lies above the drawing, so that it stays beside a map that is narrower than its place.

    The words stand before its first number. See `scale_placed`.
    """
    quiet = palette(dark).quiet
    return {
        "orientation": "h",
        "x": x,
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "ypad": 4,
        "xpad": 0,
        "len": length,
        "lenmode": "pixels",
        "thickness": 9,
        "outlinewidth": 0,
        "nticks": 5,
        "tickprefix": f"{words.lower()} ",
        "showtickprefix": "first",
        "tickfont": {"size": 11, "color": quiet},
    }


def scale_placed(figure: go.Figure) -> go.Figure:
    """A dressed figure with its colour bar between subtitle and drawing.

    Placed by the drawing it would push the title out of sight, so it is placed by the figure, whose height is known.
    """
    below = 1 - BELOW_SUBTITLE / figure.layout.height
    for trace in figure.data:
        for bar in (getattr(trace, "colorbar", None), getattr(getattr(trace, "marker", None), "colorbar", None)):
            if bar is not None and bar.orientation == "h":
                bar.update(yref="container", y=below, yanchor="top", ypad=0)
    return figure.update_layout(margin_t=64 + SCALE_SPACE)


def cells(
    values: np.ndarray,
    queries: Side,
    keys: Side,
    largest: float,
    dark: bool,
    *,
    difference: bool = False,
    word: str = "",
) -> go.Heatmap:
    """A map `[queries, keys]` as coloured cells that say both labels and the weight when pointed at.

    largest: what the end of the scale stands for; of differences both ends.
    """
    colours = palette(dark)
    gap = 1 if max(values.shape) <= 40 else 0
    number = "%{z:+.4f}" if difference else "%{z:.4f}"
    return go.Heatmap(
        z=values.astype(np.float32),
        x=list(keys.names),
        y=list(queries.names),
        zmin=-largest if difference else 0.0,
        zmax=largest,
        colorscale=colours.difference if difference else colours.weights,
        showscale=False,
        xgap=gap,
        ygap=gap,
        hoverongaps=False,
        hovertemplate=f"query: %{{y}}<br>key: %{{x}}<br>{word or 'weight'} {number}<extra></extra>",
    )


def sides(figure: go.Figure, queries: Side, keys: Side, place: dict[str, Any], most: int = MOST_LABELS) -> None:
    """The axes of a map: keys across, queries down, square cells where the map is not too flat."""
    column = place.get("col", 1)
    axis = {"type": "category", "showgrid": False, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(
        **axis, **keys.ticks(most), range=[-0.5, len(keys) - 0.5], constraintoward="left",
        title_text=f"Keys: {keys.kind} looked at", **place,
    )  # fmt: skip
    figure.update_yaxes(
        **axis, **queries.ticks(most), range=[len(queries) - 0.5, -0.5], constraintoward="top",
        title_text=f"Queries: {queries.kind} that look" if column == 1 else "", **place,
    )  # fmt: skip
    if max(len(queries), len(keys)) <= 6 * min(len(queries), len(keys)):
        figure.update_yaxes(scaleanchor="x" if column == 1 else f"x{column}", **place)
