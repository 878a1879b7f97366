"""How the search for head gains went, and what it found."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed
from explorer.figures.words import shortened
from explorer.search.gains import TunedHeads

METHODS = {"gradient": "gradient descent", "swarm": "particle swarm"}


def tuning_figure(tuned: TunedHeads, *, caption: str = "", height: int = 400, dark: bool = False) -> go.Figure:
    """The objective and its two parts step by step, above the gain of every head."""
    colours = palette(dark)
    figure = ExplorerFigure(make_subplots(rows=2, cols=1, vertical_spacing=0.24, row_heights=[0.55, 0.45]))
    steps = [entry[0] for entry in tuned.history]
    parts = (
        ("objective", [entry[1] for entry in tuned.history], colours.variant, "solid"),
        ("task loss", [entry[2] for entry in tuned.history], colours.dense, "solid"),
        ("price of gains", [tuned.weight * entry[3] for entry in tuned.history], colours.warning, "dot"),
    )
    for name, values, colour, dash in parts:
        figure.add_trace(
            go.Scatter(
                x=steps, y=values, name=name, mode="lines", line={"color": colour, "width": 2.5, "dash": dash},
                hovertemplate=f"step %{{x}}<br>{name} %{{y:.4f}}<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
    heads = [(layer, head, gain) for layer, gains in tuned.gains.items() for head, gain in enumerate(gains)]
    names = [f"{shortened(layer, 30)}, head {head}" for layer, head, _ in heads]
    figure.add_trace(
        go.Bar(
            x=list(range(len(heads))), y=[gain for _, _, gain in heads], marker_color=colours.variant, showlegend=False,
            customdata=names, hovertemplate="%{customdata}<br>gain %{y:.3f}<extra></extra>",
        ),
        row=2, col=1,
    )  # fmt: skip
    figure.add_hline(y=1.0, line={"color": colours.quiet, "width": 1, "dash": "dot"}, row=2, col=1)
    figure.update_xaxes(title_text="Step", row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title_text="Heads, layer by layer", showticklabels=False, row=2, col=1)
    figure.update_yaxes(title_text="Gain", rangemode="tozero", row=2, col=1)
    figure.update_layout(legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top"})
    title = f"Gains of heads by {METHODS.get(tuned.method, tuned.method)}"
    silent = sum(gain == 0 for _, _, gain in heads)
    subtitle = f"objective {tuned.objective_before:.3f} to {tuned.objective:.3f}; {silent} of {len(heads)} heads silent"
    alt = f"{title}: {subtitle}. {tuned.sentence()}."
    caption = caption or f"{tuned.model}, on {tuned.examples:,} {tuned.split} examples"
    return dressed(figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height, dark=dark)
