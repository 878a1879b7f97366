"""How the weights of a matrix are distributed: all of them in slate, what a variant keeps of them in teal."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.figures.matrix import as_numbers
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed
from explorer.figures.words import count_text, number_text, share_text, shortened


def distribution_figure(
    weight: Any,
    *,
    name: str,
    variant: Any = None,
    bins: int = 61,
    title: str | None = None,
    caption: str = "",
    height: int = 300,
    dark: bool = False,
) -> go.Figure:
    """A histogram of signed weights.

    Parameters
    ----------
    weight: the dense matrix (a tensor or an array of any shape).
    variant: the matrix as the variant runs it; its zeros are left out and counted in the subtitle.
    bins: how many bars; they are symmetrical around zero and reach to the largest weight.
    """
    colours = palette(dark)
    dense = as_numbers(weight).ravel()
    reach = float(np.abs(dense).max()) if dense.size else 1.0
    changed = None if variant is None else as_numbers(variant).ravel()
    if changed is not None and changed.size:
        reach = max(reach, float(np.abs(changed).max()))
    edges = np.linspace(-(reach or 1.0), reach or 1.0, bins + 1)
    centres, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    figure = ExplorerFigure()
    mean, spread = number_text(float(dense.mean()), 2), number_text(float(dense.std()), 2)
    facts = f"{count_text(dense.size)} weights · mean {mean} · standard deviation {spread}"
    counts = np.histogram(dense, edges)[0]
    if changed is None:
        _add_bars(figure, centres, counts, width, "dense", colours.dense)
    else:
        left = changed[changed != 0]
        _add_bars(figure, centres, np.histogram(left, edges)[0], width, "variant", colours.variant)
        _add_outline(figure, edges, counts, "dense", colours.dense)
        share = share_text(left.size / changed.size)
        facts = f"{count_text(left.size)} of {count_text(changed.size)} are not zero ({share})"
    heading = title if title is not None else f"Weights of {shortened(name, 40)}"
    figure.update_xaxes(title_text="Value of a weight", showgrid=False)
    figure.update_yaxes(title_text="Weights", rangemode="tozero", nticks=5, tickformat=",d")
    figure.update_layout(
        barmode="overlay",
        bargap=0.06,
        showlegend=changed is not None,
        legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top"},
    )
    return dressed(
        figure,
        title=heading,
        subtitle=facts,
        alt=f"Histogram of the weights of {name}: {facts}.",
        caption=caption,
        height=height,
        dark=dark,
    )


def _add_outline(figure: go.Figure, edges: np.ndarray, counts: np.ndarray, name: str, colour: str) -> None:
    figure.add_trace(
        go.Scatter(
            x=edges,
            y=np.append(counts, counts[-1]),
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hv"},
            name=name,
            hoverinfo="skip",
        )
    )


def _add_bars(figure: go.Figure, centres: np.ndarray, counts: np.ndarray, width: float, name: str, colour: str) -> None:
    figure.add_trace(
        go.Bar(
            x=centres,
            y=counts,
            width=width,
            name=name,
            marker={"color": colour, "line_width": 0},
            hovertemplate="around %{x:.3~g}: %{y:,} weights<extra>" + name + "</extra>",
        )
    )
