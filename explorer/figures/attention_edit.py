"""What an edit of attention does: one row before and after, and the work that it would save as sequences grow."""

from __future__ import annotations

from html import unescape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.attention.editing import Edit
from explorer.attention.maps import AttentionMaps
from explorer.attention.work import work_of
from explorer.figures.attention_labels import cut_of
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure
from explorer.figures.words import large_text, shortened, size_text

MOST_KEYS = 14
"""So many keys of a row are drawn: the largest of either."""
LONGEST = 16384


def edit_figure(
    before: AttentionMaps,
    after: AttentionMaps,
    layer: str,
    head: int,
    query: int | None = None,
    *,
    example: int = 0,
    caption: str = "",
    height: int = 380,
    dark: bool = False,
) -> go.Figure:
    """One row of a head: the weights before and after, key by key.

    query: the position whose row it is (the first valid one where that is none). Draws the largest keys, in order.
    """
    first, second = cut_of(before[layer], head, example), cut_of(after[layer], head, example)
    title = f"One row of {shortened(layer, 30)}, head {head}"
    if first.weights.shape != second.weights.shape or not first.weights.size:
        return empty_figure(title, "the two maps have different sizes", dark=dark)
    row = 0 if query is None else min(max(0, query), first.weights.shape[0] - 1)
    old, new = first.weights[row], second.weights[row]
    shown = np.sort(np.argsort(-np.maximum(old, new), kind="stable")[:MOST_KEYS])
    names = [f"{shortened(str(first.keys.names[at]), 22)}" for at in shown]
    colours = palette(dark)
    figure = ExplorerFigure()
    for values, name, colour in ((old, "before", colours.dense), (new, "after", colours.variant)):
        figure.add_trace(
            go.Bar(
                y=list(range(len(shown))), x=values[shown], name=name, orientation="h", marker_color=colour,
                customdata=[str(first.keys.names[at]) for at in shown],
                hovertemplate=f"%{{customdata}}<br>{name} %{{x:.4f}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickmode="array", tickvals=list(range(len(shown))), ticktext=names)
    figure.update_xaxes(title_text="Weight", rangemode="tozero")
    legend = {"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"}
    figure.update_layout(barmode="group", bargap=0.25, legend=legend)
    left = len(old) - len(shown)
    more = f", the {len(shown)} largest of {len(old)} keys" if left else ""
    subtitle = f"query: {unescape(first.queries.names[row])}{more}"
    most = names[int(np.argmax(new[shown]))] if len(shown) else ""
    alt = f"{title}, {subtitle}. The largest weight is {old.max():.3f} before and {new.max():.3f} after (on {most})."
    return dressed(figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height, dark=dark)


def work_figure(edit: Edit, *, caption: str = "", height: int = 380, dark: bool = False) -> go.Figure:
    """MACs and bytes of one self-attention layer as the sequence grows: in full, and what the edit would need."""
    site = edit.site
    lengths = [2**power for power in range(3, LONGEST.bit_length())]
    work = work_of(edit, lengths)
    now = work_of(edit, [site.keys])
    colours = palette(dark)
    figure = ExplorerFigure(make_subplots(rows=1, cols=2, horizontal_spacing=0.16))
    panels = (
        (1, "Multiply-accumulates", work.macs_full, work.macs, now.macs_full[0], now.macs[0]),
        (2, "Bytes of the map", work.bytes_full, work.bytes, now.bytes_full[0], now.bytes[0]),
    )
    for column, axis, full, edited, full_now, edited_now in panels:
        for values, at, name, colour, dash in (
            (full, full_now, "in full", colours.dense, "solid"),
            (edited, edited_now, "with the edit", colours.variant, "dash"),
        ):
            words = [size_text(value) if column == 2 else large_text(value, "MACs") for value in values]
            figure.add_trace(
                go.Scatter(
                    x=lengths, y=[value or None for value in values], mode="lines", name=name, legendgroup=name,
                    showlegend=column == 1, line={"color": colour, "width": 2.5, "dash": dash}, customdata=words,
                    hovertemplate=f"%{{x:,}} positions<br>{name} %{{customdata}}<extra></extra>",
                ),
                row=1, col=column,
            )  # fmt: skip
            if at:
                figure.add_trace(
                    go.Scatter(
                        x=[site.keys], y=[at], mode="markers", showlegend=False, marker={"color": colour, "size": 9},
                        hovertemplate=f"this model: {site.keys:,} positions<extra></extra>",
                    ),
                    row=1, col=column,
                )  # fmt: skip
        figure.update_xaxes(type="log", title_text="Positions", row=1, col=column, dtick=1)
        figure.update_yaxes(type="log", title_text=axis, row=1, col=column, exponentformat="SI")
    figure.update_layout(legend={"x": 0.01, "xanchor": "left", "y": 1, "yanchor": "top"})
    title = "What the edit would need as sequences grow"
    who = f"{len(edit.heads)} of {site.heads} heads edited" if edit.heads else f"{site.heads} heads"
    subtitle = f"{shortened(site.name, 30)}, {who}; here it is computed in full"
    longest = (
        f"At {LONGEST:,} positions {large_text(work.macs[-1], 'MACs')} of {large_text(work.macs_full[-1], 'MACs')}"
    )
    alt = f"{title}: {edit.step.sentence()}. {work.assumes[:1].upper()}{work.assumes[1:]}. {longest}."
    note = caption or f"Assumes: {work.assumes}"
    return dressed(figure, title=title, subtitle=subtitle, alt=alt, caption=note, height=height, dark=dark)
