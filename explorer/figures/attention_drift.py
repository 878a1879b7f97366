"""How far attention has moved, as a grid of layers and heads between noise and a random model."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from explorer.drift import AttentionDrift
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import number_text, shortened

ROW_PIXELS = 34
MOST_WRITTEN = 200


def drift_figure(found: AttentionDrift, *, title: str = "", caption: str = "", dark: bool = False) -> go.Figure:
    """A row for each layer, a cell for each head: colour is the place between noise (0) and a random model (1).

    The number is the divergence (of gates the mean absolute difference); hovering tells noise and random model.
    """
    title = title or "How far attention has moved"
    if not found.layers:
        return empty_figure(title, "there is nothing to compare", dark=dark)
    colours, place = palette(dark), found.place()
    most = max(len(moved) for moved in found.change.values())
    shades: list[list[float | None]] = []
    texts: list[list[str]] = []
    hovers: list[list[str]] = []
    for name, moved in found.change.items():
        shade: list[float | None] = []
        text, hover = [], []
        for head in range(most):
            value = float(moved[head]) if head < len(moved) else math.nan
            at = float(place[name][head]) if head < len(moved) else math.nan
            shade.append(None if math.isnan(at) else min(1.0, max(0.0, at)))
            flag = found.flags[name][head] if name in found.flags and head < len(moved) else ""
            text.append("" if head >= len(moved) else flag if math.isnan(value) else number_text(value))
            low, high = (
                float(bound[name][head]) if head < len(moved) else math.nan for bound in (found.floor, found.ceiling)
            )
            words = f"{name}, head {head}: {number_text(value)}<br>noise {number_text(low)}, random {number_text(high)}"
            hover.append(f"{words}{f'<br>{flag}' if flag else ''}" if head < len(moved) else "")
        shades.append(shade)
        texts.append(text)
        hovers.append(hover)
    names = list(found.change)
    figure = ExplorerFigure(
        go.Heatmap(
            z=shades,
            x=[f"head {head}" for head in range(most)],
            y=names,
            zmin=0,
            zmax=1,
            colorscale=[(0.0, colours.card), (1.0, colours.less)],
            xgap=2,
            ygap=2,
            text=texts,
            texttemplate="%{text}" if most * len(names) <= MOST_WRITTEN else None,
            textfont_size=11,
            customdata=hovers,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            colorbar={
                "title": {
                    "text": "noise (0) to random model (1)",
                    "side": "right",
                    "font": {"size": 12, "color": colours.quiet},
                },
                "thickness": 12,
                "outlinewidth": 0,
                "tickfont": {"size": 11, "color": colours.quiet},
            },
        )
    )
    figure.update_yaxes(
        autorange="reversed",
        type="category",
        tickmode="array",
        tickvals=names,
        ticktext=[plain(shortened(name)) for name in names],
        tickfont={"color": colours.text, "size": 12},
        showgrid=False,
    )
    figure.update_xaxes(type="category", showgrid=False)
    told = f"Jensen-Shannon divergence, base 2, on {found.examples} {found.split} examples: a difference, not a loss"
    caption = caption or f"{found.model}: from {found.before} to {found.after}"
    height = 170 + ROW_PIXELS * len(names)
    alt = f"{title}: {found.sentence()}."
    return dressed(figure, title=title, subtitle=told, alt=alt, caption=caption, height=height, dark=dark)
