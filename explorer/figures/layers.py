"""What is left of each weight matrix, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import plotly.graph_objects as go

from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import count_text, counted, share_text, shortened, size_text

ROW_PIXELS = 24


class Kept(Protocol):
    """What is left of one matrix (see `Size.kept`)."""

    @property
    def name(self) -> str: ...
    @property
    def total(self) -> int: ...
    @property
    def nonzero(self) -> int: ...
    @property
    def share(self) -> float: ...
    @property
    def rank(self) -> int | None: ...
    @property
    def size_bytes(self) -> int | None: ...
    @property
    def rows_removed(self) -> int: ...


def layers_figure(
    kept: Mapping[str, Kept],
    *,
    limit: int | None = None,
    title: str = "What is left, layer by layer",
    subtitle: str = "",
    caption: str = "",
    dark: bool = False,
) -> go.Figure:
    """One bar a matrix: the share of its numbers that is still not zero, in the order of the model.

    A factored matrix may hold more numbers than the full one had; its bar then runs over 100 % in amber.

    Parameters
    ----------
    kept: as `Size.kept`: matrix name to what is left of it.
    limit: the first so many only, the others counted below; None for all.
    """
    if not kept:
        return empty_figure(title, "no weight matrix can be compressed here", dark=dark)
    colours = palette(dark)
    shown = list(kept.values())[:limit]
    names = [item.name for item in shown]
    shares = [100 * item.share for item in shown]
    widest = max(100.0, *shares)
    figure = ExplorerFigure()
    figure.add_trace(
        go.Bar(
            y=names, x=[100.0] * len(shown), orientation="h", marker_color=colours.removed, hoverinfo="skip", width=0.42
        )
    )
    figure.add_trace(
        go.Bar(
            y=names,
            x=shares,
            orientation="h",
            width=0.42,
            marker={
                "color": [colours.warning if share > 100 else colours.variant for share in shares],
                "line_width": 0,
            },
            customdata=[[plain(_sentence(item))] for item in shown],
            hovertemplate="%{y}<br>%{customdata[0]}<extra></extra>",
        )
    )
    for item in shown:
        figure.add_annotation(
            text=plain(_short(item)),
            y=item.name,
            x=1,
            xref="paper",
            xanchor="right",
            showarrow=False,
            font={"size": 12, "color": colours.quiet},
        )
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=names,
        ticktext=[plain(shortened(name)) for name in names],
        tickfont={"color": colours.text, "size": 12},
        ticks="",
        ticklabelstandoff=8,
        showgrid=False,
    )
    figure.update_xaxes(visible=False, range=[0, widest * 1.38], fixedrange=True)
    figure.update_layout(barmode="overlay", showlegend=False)
    hidden = len(kept) - len(shown)
    if hidden > 0:
        caption = " · ".join(filter(None, (f"{hidden} more not drawn", caption)))
    alt = f"{title}: " + "; ".join(f"{item.name} {_short(item)}" for item in shown)
    height = 60 + (18 if subtitle else 0) + ROW_PIXELS * len(shown) + (34 if caption else 8)
    return dressed(
        figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height, axis_space=0, dark=dark
    )


def _short(item: Kept) -> str:
    share = share_text(item.share, 0)
    return f"rank {item.rank} · {share}" if item.rank is not None else f"{share} kept"


def _sentence(item: Kept) -> str:
    words = f"{count_text(item.nonzero)} of {count_text(item.total)} numbers"
    if item.size_bytes is not None:
        words += f", {size_text(item.size_bytes)}"
    if item.rows_removed:
        words += f", {counted(item.rows_removed, 'row')} gone"
    return words
