"""Attention on the input: over the picture, as shaded words, as bars of features; two models and their difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.attention.maps import AttentionMaps
from explorer.attention.on_input import OnInput
from explorer.errors import ExplorerError
from explorer.figures.attention_labels import cut_of, facts_of
from explorer.figures.attention_scale import cells, sides
from explorer.figures.html import Markup, escaped, view
from explorer.figures.palette import EITHER, Palette, palette
from explorer.figures.pictures import picture_address
from explorer.figures.template import ExplorerFigure, dressed, faded, plain
from explorer.figures.words import number_text, shortened

MOST_BARS = 16
MOST_BESIDE = 10
"""So many labels a side, where three maps stand side by side."""
PANELS = ("before", "after", "difference")


def on_input_figure(found: OnInput, *, caption: str = "", height: int | None = None, dark: bool = False) -> go.Figure:
    """The places of one example with what they get: cells over the picture, or bars of words and features."""
    figure = ExplorerFigure(make_subplots(rows=1, cols=1))
    largest = _largest(found)
    _draw(figure, found, _numbers(found), 1, largest, palette(dark), dark)
    title = f"{found.title}, on the input"
    return _dressed(figure, found, title, found.whose, caption, height, dark)


def beside_figure(
    before: OnInput, after: OnInput, *, caption: str = "", height: int | None = None, dark: bool = False
) -> go.Figure:
    """Two models at one example and their difference; both on one scale, the difference on its own.

    Raises `ExplorerError` for two examples of different lengths.
    """
    if before.values.shape != after.values.shape:
        raise ExplorerError("these are of different places", where="beside", instead="look at one example with both")
    figure = ExplorerFigure(make_subplots(rows=1, cols=3, horizontal_spacing=0.07, subplot_titles=PANELS))
    colours, largest = palette(dark), max(_largest(before), _largest(after))
    change = _numbers(after) - _numbers(before)
    reach = float(np.abs(change[before.shown]).max(initial=0.0)) or 1.0
    order = _order(before, np.maximum(_numbers(before), _numbers(after)))
    for column, (found, values, most) in enumerate(
        ((before, _numbers(before), largest), (after, _numbers(after), largest), (after, change, reach)), start=1
    ):
        _draw(figure, found, values, column, most, colours, dark, signed=column == 3, order=order)
    figure.update_annotations(font={"size": 13, "color": colours.quiet}, selector={"yref": "paper"})
    told = f"{after.whose}; full colour {number_text(largest)}, of the difference ±{number_text(reach)}"
    return _dressed(figure, after, f"{after.title}, before and after", told, caption, height, dark)


def maps_beside_figure(
    before: AttentionMaps,
    after: AttentionMaps,
    layer: str,
    head: int = 0,
    example: int = 0,
    *,
    caption: str = "",
    height: int = 460,
    dark: bool = False,
) -> go.Figure:
    """One head's map in two models and their difference: one scale for both, white at zero for the difference."""
    cuts = [cut_of(maps[layer], head, example) for maps in (before, after)]
    if cuts[0].weights.shape != cuts[1].weights.shape:
        raise ExplorerError("the two maps have different sizes", where=layer, instead="look at one example with both")
    figure = ExplorerFigure(make_subplots(rows=1, cols=3, horizontal_spacing=0.05, subplot_titles=PANELS))
    largest = max(float(cut.weights.max(initial=0.0)) for cut in cuts) or 1.0
    change = cuts[1].weights - cuts[0].weights
    reach = float(np.abs(change).max(initial=0.0)) or 1.0
    for column, values in enumerate((cuts[0].weights, cuts[1].weights, change), start=1):
        signed = column == 3
        trace = cells(values, cuts[0].queries, cuts[0].keys, reach if signed else largest, dark, difference=signed)
        figure.add_trace(trace, row=1, col=column)
        place = {"row": 1, "col": column}
        sides(figure, cuts[0].queries, cuts[0].keys, place, MOST_BESIDE)
        if column > 1:
            figure.update_yaxes(showticklabels=False, **place)
    figure.update_annotations(font={"size": 13, "color": palette(dark).quiet})
    title = f"{shortened(layer, 40)}, head {head}, before and after"
    told = facts_of(after, example, f"full colour {number_text(largest)}, of the difference ±{number_text(reach)}")
    alt = f"{title}: {told}. Before: {before.caption}. After: {after.caption}."
    note = caption or f"{before.caption} | {after.caption}"
    return dressed(
        figure, title=title, subtitle=told, alt=alt, caption=note, height=height, axis_space=110, dark=dark
    ).update_layout(margin_t=90)


def on_input_view(found: OnInput) -> Markup:
    """For a notebook: shaded words, the picture under its cells, or a list of features."""
    largest, values = _largest(found), _numbers(found)
    if found.axis.grid is not None and found.picture is not None:
        body = Markup(f'<img src="{_overlaid(found, values, largest)}" alt="{escaped(str(found))}" '
                      'style="width:256px;image-rendering:pixelated;border-radius:4px">')  # fmt: skip
    elif found.axis.name in ("features", "channels"):
        order = _order(found, values)
        body = Markup("".join(_bar(found.labels[at], float(values[at]), largest) for at in order))
    else:
        words = (_word(found.labels[at], float(values[at]), largest) for at in found.shown)
        body = Markup(f'<div style="line-height:2.1">{" ".join(words)}</div>')
    return view(f"{found.title}, on the input", body, subtitle=f"{found.whose}; full colour {number_text(largest)}")


def _largest(found: OnInput) -> float:
    return float(_numbers(found)[found.shown].max(initial=0.0)) or 1.0


def _numbers(found: OnInput) -> np.ndarray:
    return np.asarray(found.values.detach().float().cpu(), dtype=np.float64)


def _order(found: OnInput, values: np.ndarray) -> list[int]:
    """The places that are drawn as bars: words in their order, of features the largest."""
    if found.axis.name not in ("features", "channels"):
        return list(found.shown)
    return sorted(found.shown, key=lambda at: -values[at])[:MOST_BARS]


def _draw(
    figure: go.Figure,
    found: OnInput,
    values: np.ndarray,
    column: int,
    largest: float,
    colours: Palette,
    dark: bool,
    *,
    signed: bool = False,
    order: list[int] | None = None,
) -> None:
    place: dict[str, Any] = {"row": 1, "col": column}
    number = "%{customdata}: %{z:+.4f}" if signed else "%{customdata}: %{z:.4f}"
    if found.axis.grid is not None:
        rows, columns = found.axis.grid
        patches = values[found.axis.first :].reshape(rows, columns)
        names = np.array(found.labels[found.axis.first :]).reshape(rows, columns)
        scale = [(0.0, faded(colours.variant, 0.0)), (1.0, faded(colours.variant, 0.85))]
        if signed:
            scale = [(0, faded(colours.less, 0.85)), (0.5, faded(colours.less, 0.0)), (1, faded(colours.more, 0.85))]
        if found.picture is not None:
            axis = "" if column == 1 else str(column)
            figure.add_layout_image(
                source=picture_address(np.asarray(found.picture)), x=-0.5, y=-0.5, sizex=columns, sizey=rows,
                xref=f"x{axis}", yref=f"y{axis}", sizing="stretch", layer="below",
            )  # fmt: skip
        low = -largest if signed else 0.0
        figure.add_trace(
            go.Heatmap(z=patches, zmin=low, zmax=largest, colorscale=scale, showscale=False, customdata=names, xgap=1,
                       ygap=1, hovertemplate=f"{number}<extra></extra>"),
            **place,
        )  # fmt: skip
        figure.update_xaxes(visible=False, constrain="domain", **place)
        figure.update_yaxes(
            visible=False, constrain="domain", autorange="reversed", scaleanchor=f"x{'' if column == 1 else column}",
            **place,
        )  # fmt: skip
        return
    chosen = _order(found, values) if order is None else order
    tones = [colours.less if values[at] < 0 else colours.more for at in chosen] if signed else colours.variant
    names_drawn = [plain(shortened(found.labels[at] or str(at + 1), 24)) for at in chosen]
    told = "%{customdata}: %{x:+.4f}" if signed else "%{customdata}: %{x:.4f}"
    figure.add_trace(
        go.Bar(
            x=values[chosen], y=list(range(len(chosen))), orientation="h", marker_color=tones, showlegend=False,
            customdata=[plain(found.labels[at]) for at in chosen], hovertemplate=f"{told}<extra></extra>",
        ),
        **place,
    )  # fmt: skip
    reach = 1.05 * largest
    figure.update_xaxes(range=[-reach, reach] if signed else [0, reach], **place)
    figure.update_yaxes(
        autorange="reversed", tickmode="array", tickvals=list(range(len(chosen))), ticktext=names_drawn,
        showticklabels=column == 1, **place,
    )  # fmt: skip


def _dressed(
    figure: go.Figure, found: OnInput, title: str, told: str, caption: str, height: int | None, dark: bool
) -> go.Figure:
    bars = 0 if found.axis.grid is not None else len(_order(found, _numbers(found)))
    drawn = height or (420 if found.axis.grid is not None else 150 + 22 * max(6, bars))
    alt = f"{title}: {found}."
    return dressed(
        figure, title=title, subtitle=told, alt=alt, caption=caption or found.caption, height=drawn, dark=dark
    ).update_layout(margin_t=90)


def _overlaid(found: OnInput, values: np.ndarray, largest: float) -> str:
    """The picture with teal laid over its patches, as a data address."""
    assert found.axis.grid is not None
    rows, columns = found.axis.grid
    picture = np.asarray(found.picture, dtype=np.float64)
    coloured = np.stack([picture] * 3, -1) if picture.ndim == 2 else picture
    tall, wide = coloured.shape[0] // rows, coloured.shape[1] // columns
    patches = np.clip(values[found.axis.first :].reshape(rows, columns) / largest, 0, 1)
    share = 0.85 * np.kron(patches, np.ones((tall, wide)))[..., None]
    teal = np.array([int(EITHER.variant[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    drawn = coloured[: rows * tall, : columns * wide]
    return picture_address(drawn * (1 - share) + teal * share)


def _word(label: str, value: float, largest: float) -> Markup:
    alpha = max(0.0, min(1.0, value / largest))
    shade = f"rgba(20,160,148,{0.7 * alpha:.3f})"
    shown = escaped(label) if label.strip() else Markup("&nbsp;")
    style = f"background:{shade};border-radius:4px;padding:2px 5px"
    return Markup(f'<span title="{number_text(value)}" style="{style}">{shown}</span>')


def _bar(label: str, value: float, largest: float) -> Markup:
    width = 100 * max(0.0, min(1.0, value / largest))
    style = f"display:block;height:9px;width:{width:.1f}%;border-radius:4px;background:{EITHER.variant}"
    bar = f'<span style="background:{EITHER.removed};border-radius:4px"><i style="{style}"></i></span>'
    return Markup(
        '<div style="display:grid;grid-template-columns:180px 220px 60px;gap:8px;align-items:center">'
        f"<span>{escaped(label)}</span>{bar}<span>{number_text(value)}</span></div>"
    )
