"""What each head is worth: the cost of switching it off, with its interval, beside the other measures."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import is_share, metric_label, shortened
from explorer.search.heads import HeadTable

ROW_PIXELS = 20


def heads_figure(found: HeadTable, *, title: str = "", caption: str = "", dark: bool = False) -> go.Figure:
    """One row a head, most missed first: what the metric loses without it (95 %), and its gradient importance."""
    title = title or "What each head is worth"
    on = [row for row in found.rows if not row.off]
    if not on:
        return empty_figure(title, "all heads are off", dark=dark)
    measured = all(row.cost is not None for row in on)
    ordered = sorted(on, key=lambda row: row.cost or 0.0) if measured else on
    colours, scale = palette(dark), 100 if is_share(found.primary) else 1
    names = [f"{shortened(row.layer, 30)}, head {row.head}" for row in ordered]
    figure = ExplorerFigure(make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06))
    if measured:
        costs = [scale * (row.cost or 0.0) for row in ordered]
        tones = [colours.loss if (row.high or 0.0) < 0 else colours.dense for row in ordered]
        figure.add_trace(
            go.Scatter(
                x=costs,
                y=names,
                mode="markers",
                marker={"color": tones, "size": 9},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "thickness": 1.5,
                    "width": 0,
                    "color": colours.quiet,
                    "array": [scale * ((row.high or 0.0) - (row.cost or 0.0)) for row in ordered],
                    "arrayminus": [scale * ((row.cost or 0.0) - (row.low or 0.0)) for row in ordered],
                },
                hovertemplate="%{y}<br>%{x:+.2f}<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=1,
        )
        figure.add_vline(x=0, line={"color": colours.quiet, "width": 1}, row=1, col=1)
    figure.add_trace(
        go.Bar(
            x=[None if math.isnan(row.gradient) else row.gradient for row in ordered],
            y=names,
            orientation="h",
            marker_color=colours.variant,
            hovertemplate="%{y}<br>gradient %{x:.4f}<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=2,
    )
    unit = ", points" if is_share(found.primary) else ""
    figure.update_xaxes(title_text=f"{metric_label(found.primary)} without it{unit}", row=1, col=1)
    figure.update_xaxes(title_text="Gradient importance", row=1, col=2)
    figure.update_yaxes(
        autorange="reversed",
        type="category",
        tickmode="array",
        tickvals=names,
        ticktext=[plain(name) for name in names],
        tickfont={"color": colours.text, "size": 12},
        showgrid=False,
    )
    caption = (
        caption or f"{found.model}, {found.recipe.sentence()} · gradients on {found.examples} {found.split} examples"
    )
    subtitle = "red: a loss whose 95 % interval excludes zero"
    height = 170 + ROW_PIXELS * len(names)
    alt = f"{title}: {found.sentence()}."
    return dressed(figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height, dark=dark)
