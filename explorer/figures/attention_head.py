"""One attention head, large: queries down, keys across; or one gate: its channels as bars, its places as a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.figures.attention_labels import Cut, cut_of, facts_of
from explorer.figures.attention_scale import SCALE_SPACE, along_the_top, cells, scale_placed, sides
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed
from explorer.figures.words import number_text, shortened

SIDE_PIXELS = 400
"""How high the map itself is drawn, about."""
MOST_BESIDE = 12
"""Of a layer's heads so many stand side by side; the overview shows all."""
BESIDE = 4


def head_figure(
    maps: AttentionMaps,
    layer: str,
    head: int = 0,
    example: int = 0,
    window: int = 0,
    *,
    title: str | None = None,
    caption: str | None = None,
    height: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """One head's map at one example without padding; pointing at a cell says its query, its key and the weight.

    head: its original number. Of a gate: bars of its channels, or the grid of its places. Raises `ExplorerError` for a
    layer, head, example or window that is not there.
    """
    found = maps[layer]
    caption = maps.caption if caption is None else caption
    cut = cut_of(found, head, example, window)
    name = shortened(found.name, 40)
    if found.site.is_gate:
        return _gate(maps, found, cut, example, title or f"{name}, {found.kind}", caption, height, dark)
    largest = float(cut.weights.max(initial=0.0))
    figure = ExplorerFigure(cells(cut.weights, cut.queries, cut.keys, largest or 1.0, dark))
    figure.update_traces(showscale=True, colorbar=along_the_top("Attention weight", dark))
    sides(figure, cut.queries, cut.keys, {})
    title = title or f"{name}, head {head}"
    subtitle = facts_of(maps, example, f"{found.kind} attention", cut.window, *_rows_told(cut))
    alt = f"{title}: {subtitle}. {strongest(cut)}"
    dressed(
        figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height or drawn_height(cut, caption),
        axis_space=label_space(cut), dark=dark,
    )  # fmt: skip
    return scale_placed(figure)


def layer_figure(
    maps: AttentionMaps,
    layer: str,
    example: int = 0,
    window: int = 0,
    *,
    title: str | None = None,
    caption: str | None = None,
    height: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """The heads of one layer side by side, on one scale."""
    found = maps[layer]
    if found.site.is_gate or len(found.heads) == 1:
        return head_figure(
            maps, layer, 0 if found.site.is_gate else found.heads[0], example, window, title=title, caption=caption,
            height=height, dark=dark,
        )  # fmt: skip
    caption = maps.caption if caption is None else caption
    shown = found.heads[:MOST_BESIDE]
    cuts = [cut_of(found, head, example, window) for head in shown]
    largest = max(float(cut.weights.max(initial=0.0)) for cut in cuts) or 1.0
    across = min(BESIDE, len(shown))
    down = -(-len(shown) // across)
    figure = ExplorerFigure(
        make_subplots(
            rows=down, cols=across, subplot_titles=[f"head {head}" for head in shown], horizontal_spacing=0.03,
            vertical_spacing=0.16 / down,
        )
    )  # fmt: skip
    figure.update_annotations(font={"size": 12, "color": palette(dark).quiet})
    for at, cut in enumerate(cuts):
        place: dict[str, Any] = {"row": at // across + 1, "col": at % across + 1}
        figure.add_trace(cells(cut.weights, cut.queries, cut.keys, largest, dark), **place)
        number = at + 1
        figure.update_xaxes(
            type="category", showgrid=False, showticklabels=False, ticks="", constrain="domain", **place
        )
        figure.update_yaxes(
            type="category", showgrid=False, showticklabels=False, ticks="", constrain="domain", autorange="reversed",
            scaleanchor="x" if number == 1 else f"x{number}", **place,
        )  # fmt: skip
    figure.update_yaxes(title_text=f"Queries: {cuts[0].queries.kind}", row=1, col=1)
    figure.update_xaxes(title_text=f"Keys: {cuts[0].keys.kind}", row=down, col=1)
    figure.data[0].update(showscale=True, colorbar=along_the_top("Attention weight", dark))
    title = title or f"{shortened(found.name, 40)}, {len(found.heads)} heads"
    left = len(found.heads) - len(shown)
    more = f"the first {len(shown)} heads: {left} more are there" if left else ""
    subtitle = facts_of(maps, example, f"{found.kind} attention", "one scale for all", cuts[0].window, more)
    alt = f"{title}: {subtitle}. " + " ".join(
        f"Head {head}: {strongest(cut)}" for head, cut in zip(shown, cuts, strict=True)
    )
    dressed(
        figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height or 170 + 220 * down, dark=dark
    )
    return scale_placed(figure).update_layout(margin_t=64 + SCALE_SPACE + 24)


def _gate(
    maps: AttentionMaps, layer: LayerMaps, cut: Cut, example: int, title: str, caption: str, height: int | None,
    dark: bool,
) -> go.Figure:  # fmt: skip
    """A gate's values: 1 lets all through, 0 nothing."""
    colours, values = palette(dark), cut.weights[0]
    low, high = (number_text(float(value)) for value in (values.min(), values.max()))
    subtitle = facts_of(maps, example, f"values from {low} to {high}", "1 lets all through, 0 nothing")
    dress: dict[str, Any] = {
        "title": title, "subtitle": subtitle, "alt": f"{title}: {subtitle}.", "caption": caption, "dark": dark,
    }  # fmt: skip
    if cut.keys.grid is not None:
        rows, columns = cut.keys.grid
        figure = ExplorerFigure(
            go.Heatmap(
                z=values.reshape(rows, columns), x=list(range(1, columns + 1)), y=list(range(1, rows + 1)),
                zmin=0, zmax=max(1.0, float(values.max())), colorscale=colours.weights, xgap=1, ygap=1,
                colorbar=along_the_top("Gate value", dark),
                hovertemplate="row %{y}, column %{x}: %{z:.4f}<extra></extra>",
            )
        )  # fmt: skip
        axis = {"showgrid": False, "ticks": "", "constrain": "domain"}
        figure.update_xaxes(**axis, dtick=1 if columns <= 20 else None, constraintoward="left", title_text="Column")
        figure.update_yaxes(
            **axis, dtick=1 if rows <= 20 else None, autorange="reversed", scaleanchor="x", title_text="Row"
        )
        dressed(figure, height=height or 460, **dress)
        return scale_placed(figure)
    figure = ExplorerFigure(
        go.Bar(
            x=[at + 1 for at in cut.keys.positions], y=values, marker={"color": colours.positive, "line_width": 0},
            hovertemplate="channel %{x}: %{y:.4f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="Channel", showgrid=False)
    figure.update_yaxes(title_text="Gate value", range=[0, max(1.0, 1.05 * float(values.max()))])
    figure.update_layout(bargap=0.15)
    return dressed(figure, height=height or 340, **dress)


def strongest(cut: Cut) -> str:
    """The largest weight in words, for those who do not see the figure."""
    if not cut.weights.size or not cut.weights.max() > 0:
        return "All weights are zero."
    row, column = np.unravel_index(int(cut.weights.argmax()), cut.weights.shape)
    return (
        f"The largest weight is {number_text(float(cut.weights[row, column]))}, "
        f"of {cut.queries.names[row]} on {cut.keys.names[column]}."
    )


def _rows_told(cut: Cut) -> list[str]:
    if not cut.weights.max(initial=0.0) > 0:
        return ["the head is silent: all weights are zero"]
    sums = cut.weights.sum(1)
    return [] if np.allclose(sums, 1.0, atol=1e-3) else ["rows do not sum to one: an edit changed them"]


def drawn_height(cut: Cut, caption: str) -> int:
    """Pixels of a figure with one map."""
    rows, columns = cut.weights.shape
    side = SIDE_PIXELS if max(rows, columns) <= 50 else SIDE_PIXELS + 160
    drawing = min(side, max(120, round(side * rows / max(1, columns))))
    return drawing + 64 + SCALE_SPACE + label_space(cut) + 8 + (26 if caption else 0)


def label_space(cut: Cut) -> int:
    """Pixels that the labels of the keys and the axis title take: long ones stand upright."""
    longest = max((len(text) for text in cut.keys.ticks()["ticktext"]), default=1)
    return 46 if longest <= 3 and len(cut.keys) <= 20 else 40 + min(100, 6 * longest)
