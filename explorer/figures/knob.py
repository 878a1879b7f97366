"""The accuracy curve of a knob that has no histogram or spectrum of its own: a sparsity in each matrix, N of N:M."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.curve import Point, add_curve
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed
from explorer.figures.words import metric_label, number_text


def knob_figure(
    curve: Sequence[Point],
    at: float | None,
    *,
    axis: str,
    span: tuple[float, float],
    dense: float | None = None,
    primary: str = "accuracy",
    title: str | None = None,
    caption: str = "",
    height: int = 300,
    dark: bool = False,
) -> go.Figure:
    """What the model scores wherever the knob may stand.

    Parameters
    ----------
    curve: points measured with this knob; may be empty while nothing is measured yet.
    at: where the knob stands. axis: what it turns, with the unit. span: from where to where.
    """
    figure = ExplorerFigure(make_subplots(rows=1, cols=1))
    add_curve(figure, curve, primary=primary, dense=dense, span=span, row=1, dark=dark)
    if at is not None:
        figure.add_vline(x=at, line={"color": palette(dark).text, "width": 2})
    room = 0.02 * (span[1] - span[0])
    figure.update_xaxes(title_text=axis, range=[span[0] - room, span[1] + room], showgrid=False)
    heading = title if title is not None else f"{metric_label(primary)} wherever this knob stands"
    stands = "" if at is None else f" It stands at {number_text(at)}."
    alt = f"{heading}: {len(curve)} measured points over {axis}.{stands}"
    return dressed(figure, title=heading, alt=alt, caption=caption, height=height, dark=dark)
